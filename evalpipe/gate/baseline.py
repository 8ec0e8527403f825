"""The last release that was gated, and how far each evaluator fell since: on the same inputs where there are such.

The statistics are quality/comparison.py; what a fall leads to is decide.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.gate.decide import EvaluatorRun
from evalpipe.quality.comparison import Comparison, fisher_test, sign_test
from evalpipe.settings import GateSettings
from evalpipe.tables import GATE_CASES

_MIN_PAIRED = 0.5  # of the cases judged now: with fewer partners the others would go unheard
_SILENT, _PASSED, _FAILED = -1, 0, 1  # what an evaluator said of a case


class Baseline(NamedTuple):
    """A gate of another release: its GATE_RESULTS, and its GATE_CASES where they are known, else none."""

    gate_id: str
    release: str | None
    results: pl.DataFrame
    cases: pl.DataFrame = GATE_CASES.empty()


def baseline_run(runs: pl.DataFrame, question_id: str, release: str | None) -> Mapping[str, Any] | None:
    """The GATE_RUNS row of the last release, which this one is compared with; None without one.

    The newest gate of another release that may ship, else the newest of another. A question that was asked before has
    the baseline that it had then, so that its answer stays the same.
    """
    asked = runs.filter(pl.col("question_id") == question_id).sort("decided_at", "gate_id")
    if asked.height:
        before = runs.filter(pl.col("gate_id") == asked["baseline_gate_id"][0])
        return before.row(0, named=True) if before.height else None
    others = runs.filter(pl.col("decision") != "abstain")
    if release is not None:
        others = others.filter(pl.col("release").is_null() | (pl.col("release") != release))
    may_ship = pl.col("decision") == "pass"
    ordered = others.sort(may_ship, "decided_at", "gate_id")
    return ordered.row(-1, named=True) if ordered.height else None


def last_outcomes(
    runs: pl.DataFrame, results: pl.DataFrame, baseline: Baseline | None, gate_ids: Sequence[str]
) -> dict[str, str]:
    """For each evaluator, passed or failed: what it said in the baseline, else what it last said in another release.

    `gate_ids` are gates that do not count: those of this release, and of this question.
    """
    said = pl.col("outcome").is_in(["passed", "failed"])
    others = runs.filter(~pl.col("gate_id").is_in(list(gate_ids)))
    earlier = results.filter(said).join(others.select("gate_id", "decided_at"), on="gate_id")
    last = earlier.sort("decided_at", "gate_id").group_by("evaluator_id").agg(pl.col("outcome").last())
    outcomes = dict(last.iter_rows())
    if baseline is not None:
        outcomes |= dict(baseline.results.filter(said).select("evaluator_id", "outcome").iter_rows())
    return outcomes


class Compared(NamedTuple):
    """An evaluator beside itself in the last release, or why that cannot be."""

    comparison: Comparison | None
    not_compared: str | None = None


def compare(
    runs: Sequence[EvaluatorRun],
    cases: pl.DataFrame,
    n_effective: Mapping[str, float],
    baseline: Baseline,
    settings: GateSettings,
) -> dict[str, Compared]:
    """Each evaluator that judged, compared with the baseline, by evaluator_id.

    `cases` are GATE_CASES rows of this gate with `issue_ids`, those that each names; `n_effective` is what the judged
    cases of each evaluator are worth. The chance of calling an unchanged release worse is shared by all of them.
    """
    return compare_counted(runs, turns(runs, cases, baseline.cases), n_effective, baseline, settings)


class Turned(NamedTuple):
    """An evaluator on inputs that it judged both now and then. Cases of one session turn together: they are a unit."""

    n: int  # cases
    n_then: int  # of them those that failed then,
    n_now: int  # and now
    n_worse: int  # units in which more cases fail than then
    n_better: int  # units in which fewer do


def compare_counted(
    runs: Sequence[EvaluatorRun],
    turned: Mapping[str, Turned],
    n_effective: Mapping[str, float],
    baseline: Baseline,
    settings: GateSettings,
) -> dict[str, Compared]:
    """`compare`, of what `turns` has counted."""
    judged = [run for run in runs if run.n_pass + run.n_fail]
    chance = settings.regression_chance / max(1, len(judged))
    before_of = {row["evaluator_id"]: row for row in baseline.results.iter_rows(named=True)}
    compared: dict[str, Compared] = {}
    for run in judged:
        before = before_of.get(run.evaluator_id)
        if before is None or before["n_pass"] + before["n_fail"] == 0:
            continue
        if before["version"] != run.version:
            changed = f"its evaluator changed since, from version {before['version']} to {run.version}"
            compared[run.evaluator_id] = Compared(None, changed)
            continue
        found = _of_pairs(run, turned) or _of_shares(run, n_effective, before)
        if found is None:
            compared[run.evaluator_id] = Compared(None, "other cases were counted there")
            continue
        is_regression = found.p_worse <= chance and -found.change >= settings.regression_margin
        compared[run.evaluator_id] = Compared(
            Comparison(release=baseline.release, level=chance, is_regression=is_regression, **found._asdict())
        )
    return compared


def turns(runs: Sequence[EvaluatorRun], cases: pl.DataFrame, before: pl.DataFrame) -> dict[str, Turned]:
    """By evaluator_id, of the cases with the same input in both gates; what none has judged both times is not there."""
    pairs = _paired(cases, before)
    if pairs.is_empty():
        return {}
    place = {run.evaluator_id: number for number, run in enumerate(runs)}
    now, then = _said(pairs, "", place), _said(pairs, "_before", place)
    unit = pairs.select(pl.col("unit").rank("dense") - 1).to_series().to_numpy()
    turned: dict[str, Turned] = {}
    for run in runs:
        number = place[run.evaluator_id]
        is_both = (now[number] != _SILENT) & (then[number] != _SILENT)
        if run.n_own is not None:
            is_both &= pairs.select(is_own(run)).to_series().to_numpy()
        fails_now, fails_then = now[number][is_both] == _FAILED, then[number][is_both] == _FAILED
        if len(fails_now):
            net = np.bincount(unit[is_both], weights=fails_now.astype(np.float64) - fails_then)
            turned[run.evaluator_id] = Turned(
                len(fails_now), int(fails_then.sum()), int(fails_now.sum()), int((net > 0).sum()), int((net < 0).sum())
            )
    return turned


def is_own(run: EvaluatorRun) -> pl.Expr:
    """Of cases with `issue_ids`: those that the evaluator counts."""
    return pl.lit(True) if run.n_own is None else pl.col("issue_ids").list.contains(run.issue_id)


class _Found(NamedTuple):
    """What is counted of an evaluator in both releases; the fields are Comparison's."""

    way: Literal["paired", "unpaired"]
    pass_rate: float
    n: int
    change: float
    p_worse: float


def _said(pairs: pl.DataFrame, suffix: str, place: Mapping[str, int]) -> NDArray[np.int8]:
    """What each evaluator (by its place, a row) said of each case (a column)."""
    said = np.full((len(place), pairs.height), _SILENT, dtype=np.int8)
    for outcome, code in (("passed", _PASSED), ("failed", _FAILED)):
        found = (
            pairs.select(case=pl.int_range(pl.len()), evaluator_id=f"{outcome}{suffix}")
            .explode("evaluator_id")
            .select("case", row=pl.col("evaluator_id").replace_strict(place, default=None, return_dtype=pl.Int64))
            .drop_nulls()
        )
        said[found["row"].to_numpy(), found["case"].to_numpy()] = code
    return said


def _paired(cases: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Cases with the same input in both, the first with the first and so on."""
    place = pl.int_range(pl.len()).over("input_hash").alias("place")
    then = before.sort("case_id").select("input_hash", place, passed_before="passed", failed_before="failed")
    now = cases.sort("case_id").select(
        "input_hash", place, "passed", "failed", "issue_ids", unit=pl.coalesce("session_id", "case_id")
    )
    return now.join(then, on=["input_hash", "place"])


def _of_pairs(run: EvaluatorRun, turned: Mapping[str, Turned]) -> _Found | None:
    """On the same inputs; None where too few of the cases have a partner."""
    both = turned.get(run.evaluator_id)
    if both is None or both.n < _MIN_PAIRED * (run.n_pass + run.n_fail):
        return None
    return _Found(
        way="paired",
        pass_rate=1 - both.n_then / both.n,
        n=both.n,
        change=(both.n_then - both.n_now) / both.n,
        p_worse=sign_test(both.n_worse, both.n_better),
    )


def _of_shares(run: EvaluatorRun, n_effective: Mapping[str, float], before: Mapping[str, Any]) -> _Found | None:
    """On other inputs; None where one counted its own cases alone and the other did not."""
    if (before["n_own"] is None) != (run.n_own is None):
        return None
    n, n_before = run.n_pass + run.n_fail, before["n_pass"] + before["n_fail"]
    share, share_before = run.n_fail / n, before["n_fail"] / n_before
    worth = max(1, round(n_effective.get(run.evaluator_id, n)))
    worth_before = max(1, round(before["n_effective"] or n_before))
    return _Found(
        way="unpaired",
        pass_rate=1 - share_before,
        n=n_before,
        change=share_before - share,
        p_worse=fisher_test(round(share * worth), worth, round(share_before * worth_before), worth_before),
    )


def baseline_of(run: Mapping[str, Any], results: pl.DataFrame, cases: pl.LazyFrame) -> Baseline:
    """The baseline that a GATE_RUNS row is, from GATE_RESULTS and GATE_CASES; of these its day alone is read."""
    of_gate = pl.col("gate_id") == run["gate_id"]
    of_day = pl.col("day") == run["decided_at"].date()
    return Baseline(run["gate_id"], run["release"], results.filter(of_gate), cases.filter(of_day, of_gate).collect())
