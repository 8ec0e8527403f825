"""What people see of the state of the loop: tables in, the figures, rows and sentences of a report out. Pure.

What reviewing found is said in reviewing.py; drawing is in charts.py, the page in html.py.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from evalpipe.pages import counted
from evalpipe.quality.coverage import CoverageFigures, coverage_figures, latest_coverage, latest_quality
from evalpipe.report.completeness import COMPLETENESS
from evalpipe.report.releases import RELEASES
from evalpipe.report.reviewing import Found, agreement_table, prevalence_table, queue_found
from evalpipe.review.agreement import ceiling_of
from evalpipe.settings import Settings
from evalpipe.tables import (
    AGREEMENT,
    CANDIDATES,
    COVERAGE,
    EVALUATOR_QUALITY,
    EVALUATORS,
    GATE_RESULTS,
    GATE_RUNS,
    ISSUE_PROPOSALS,
    ISSUE_RATES,
    ISSUES,
    LABELS,
    PREVALENCE,
    QUEUE_YIELD,
    TRACKED,
)

_SPLITS = ("held_out", "prospective", "in_sample")
_UNMEASURED = "not measured yet: run evalpipe run"
_MAX_ALIKE = 4  # next steps of one sort, the most harmful first: the table has the rest


@dataclass(frozen=True)
class ReportTables:
    """The tables a report is made from, with their whole history; those not given are empty."""

    issues: pl.DataFrame = field(default_factory=ISSUES.empty)
    evaluators: pl.DataFrame = field(default_factory=EVALUATORS.empty)
    quality: pl.DataFrame = field(default_factory=EVALUATOR_QUALITY.empty)
    coverage: pl.DataFrame = field(default_factory=COVERAGE.empty)
    labels: pl.DataFrame = field(default_factory=LABELS.empty)
    candidates: pl.DataFrame = field(default_factory=CANDIDATES.empty)
    queue_yield: pl.DataFrame = field(default_factory=QUEUE_YIELD.empty)
    prevalence: pl.DataFrame = field(default_factory=PREVALENCE.empty)
    agreement: pl.DataFrame = field(default_factory=AGREEMENT.empty)
    proposals: pl.DataFrame = field(default_factory=ISSUE_PROPOSALS.empty)
    rates: pl.DataFrame = field(default_factory=ISSUE_RATES.empty)
    releases: pl.DataFrame = field(default_factory=RELEASES.to_frame)  # the first day of each
    gate_runs: pl.DataFrame = field(default_factory=GATE_RUNS.empty)
    gate_results: pl.DataFrame = field(default_factory=GATE_RESULTS.empty)
    completeness: pl.DataFrame = field(default_factory=COMPLETENESS.to_frame)  # completeness.py, of recent traces


class Step(NamedTuple):
    """Something a person should do next. urgency: bad, warn or info."""

    urgency: str
    what: str
    detail: str


class LastGate(NamedTuple):
    """The newest gate: its GATE_RUNS row and its GATE_RESULTS rows, what failed first."""

    run: dict[str, Any]
    results: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Summary:
    """Everything a report says, in reading order."""

    generated_at: datetime
    headline: str
    figures: CoverageFigures
    steps: tuple[Step, ...]
    issues: tuple[dict[str, Any], ...]  # rows of `issue_table`
    others: tuple[dict[str, Any], ...]  # ISSUES rows of the other states
    proposals: tuple[dict[str, Any], ...]  # ISSUE_PROPOSALS rows
    prevalence: tuple[dict[str, Any], ...]  # rows of `prevalence_table`
    queue: Found
    agreement: tuple[dict[str, Any], ...]  # rows of `agreement_table`
    n_disputed: int  # labels that wait for one more opinion
    last_gate: LastGate | None
    services: tuple[dict[str, Any], ...]  # rows of completeness.py


def summarise(tables: ReportTables, *, now: datetime, settings: Settings) -> Summary:
    """The state of the loop as of `now`."""
    rows = issue_table(tables)
    figures = coverage_figures(rows)
    gate = last_gate(tables.gate_runs, tables.gate_results)
    return Summary(
        generated_at=now,
        headline=_headline(figures),
        figures=figures,
        steps=_steps(tables, rows, gate, settings),
        issues=tuple(rows.iter_rows(named=True)),
        others=tuple(
            tables.issues.filter(~pl.col("state").is_in(TRACKED))
            .sort("state", "n_failures", "issue_id", descending=[False, True, False])
            .iter_rows(named=True)
        ),
        proposals=tuple(tables.proposals.iter_rows(named=True)),
        prevalence=tuple(prevalence_table(tables.prevalence, tables.issues).iter_rows(named=True)),
        queue=queue_found(tables.queue_yield),
        agreement=tuple(agreement_table(tables.agreement).iter_rows(named=True)),
        n_disputed=int(tables.labels["is_disputed"].sum()),
        last_gate=gate,
        services=tuple(tables.completeness.iter_rows(named=True)),
    )


def issue_table(tables: ReportTables) -> pl.DataFrame:
    """The tracked issues with their evaluators, most harmful first.

    ISSUES columns; the last COVERAGE figures (is_covered, evaluator_id, version, status, n_occurrences,
    occurrence_share, traffic_share, prevalence, harm, lacks); kind; mcc, mcc_lower, mcc_upper, tp, fp, tn, fn,
    n_sessions, confidence of each split, with the suffixes _prospective and _in_sample (held-out has none); and the
    columns of `ceiling_of`, of which n_traces and is_own as n_read_twice and is_ceiling_own.
    """
    # What an issue is called, how bad it is and how often it was seen, it says itself.
    last = latest_coverage(tables.coverage).drop(
        "measured_at", "name", "severity", "mcc", "mcc_lower", "occurrence_share", "n_occurrences"
    )
    rows = (
        tables.issues.filter(pl.col("state").is_in(TRACKED))
        .join(last, on="issue_id", how="left")
        .join(tables.evaluators.select("evaluator_id", "version", "kind"), on=["evaluator_id", "version"], how="left")
    )
    for split in _SPLITS:
        rows = rows.join(_of_split(tables.quality, split), on=["evaluator_id", "version"], how="left")
    ceilings = ceiling_of(tables.agreement, rows["issue_id"])
    rows = rows.join(ceilings.rename({"n_traces": "n_read_twice", "is_own": "is_ceiling_own"}), on="issue_id")
    n_failures = pl.col("n_failures")
    return rows.with_columns(
        pl.when(pl.col("is_covered").is_null()).then(pl.lit(_UNMEASURED)).otherwise("lacks").alias("lacks"),
        pl.col("is_covered").fill_null(False),
        n_occurrences=n_failures,
        occurrence_share=(n_failures / n_failures.sum()).fill_nan(0.0),
    ).sort("harm", "n_failures", "issue_id", descending=[True, True, False], nulls_last=True)


def last_gate(runs: pl.DataFrame, results: pl.DataFrame) -> LastGate | None:
    """The gate that was decided last; None before the first."""
    if runs.is_empty():
        return None
    run = runs.sort("decided_at", "gate_id").row(-1, named=True)
    severity = pl.col("outcome").replace_strict({"failed": 0, "abstained": 1, "passed": 2}, default=3)
    role = pl.col("role").replace_strict({"blocking": 0, "monitoring": 1}, default=2)
    rows = results.filter(pl.col("gate_id") == run["gate_id"]).sort(severity, role, "evaluator_id")
    return LastGate(run, tuple(rows.iter_rows(named=True)))


def _of_split(quality: pl.DataFrame, split: str) -> pl.DataFrame:
    figures = ("mcc", "mcc_lower", "mcc_upper", "tp", "fp", "tn", "fn", "n_sessions", "confidence")
    suffix = "" if split == "held_out" else f"_{split}"
    return latest_quality(quality, split).select(
        "evaluator_id", "version", *(pl.col(name).alias(name + suffix) for name in figures)
    )


def _headline(figures: CoverageFigures) -> str:
    if figures.n_active == 0:
        return "No issue is tracked yet: annotate the review queue, and the first failure modes become issues."
    issues = counted(figures.n_active, "active issue")
    if figures.n_covered == 0:
        return f"None of {issues} is covered yet by an evaluator that can be trusted."
    covered = "is covered" if figures.n_covered == 1 else "are covered"
    blocks = {0: "none of them may block a release yet", 1: "one of them may block a release"}
    said = blocks.get(figures.n_blocking, f"{figures.n_blocking} of them may block a release")
    return f"{figures.n_covered} of {issues} {covered} by an evaluator that can be trusted; {said}."


def _steps(tables: ReportTables, rows: pl.DataFrame, gate: LastGate | None, settings: Settings) -> tuple[Step, ...]:
    steps: list[Step] = []
    if gate is not None and gate.run["decision"] != "pass":
        release = f"release {gate.run['release']}" if gate.run["release"] else "the last gated release"
        word = "Fix" if gate.run["decision"] == "block" else "Look at"
        steps.append(Step("bad", f"{word} {release}", gate.run["reasons"][0] if gate.run["reasons"] else ""))
    uncovered = rows.filter(~pl.col("is_covered")).head(_MAX_ALIKE).iter_rows(named=True)
    steps += [Step("warn", f"Cover “{row['name']}”", str(row["lacks"])) for row in uncovered]
    belied = rows.filter("is_covered", pl.col("mcc_prospective") < settings.quality.monitor_mcc)
    steps += [
        Step(
            "warn",
            f"Check the evaluator of “{row['name']}”",
            f"on annotations made after it, its MCC is {row['mcc_prospective']:.2f}; held out it was {row['mcc']:.2f}",
        )
        for row in belied.head(_MAX_ALIKE).iter_rows(named=True)
    ]
    unclear = rows.filter("is_ceiling_own", pl.col("ceiling") < settings.quality.block_mcc)
    steps += [
        Step(
            "warn",
            f"Agree on what counts as “{row['name']}”",
            f"people differ so much that an evaluator without a fault would reach an MCC of {row['ceiling']:.2f}; "
            f"blocking takes {settings.quality.block_mcc:.2f}",
        )
        for row in unclear.head(_MAX_ALIKE).iter_rows(named=True)
    ]
    n_disputed = int(tables.labels["is_disputed"].sum())
    if n_disputed:
        said = "annotators disagree about whether the failure is present; the next queue asks for one more opinion"
        steps.append(Step("warn", f"Settle {counted(n_disputed, 'disputed label')}", said))
    steps += [
        Step(
            "info",
            f"Say whether “{row['name']}” and “{row['into_name']}” are one issue",
            f"evalpipe issues merge {row['issue_id']} {row['into_issue_id']}, or keep-apart instead of merge",
        )
        for row in tables.proposals.head(_MAX_ALIKE).iter_rows(named=True)
    ]
    waiting = _waiting(tables)
    if waiting is not None:
        steps.append(waiting)
    watching = rows.filter(pl.col("status") == "monitoring", pl.col("lacks").is_not_null())
    steps += [
        Step("info", f"Strengthen “{row['name']}”", f"it only monitors: {row['lacks']}")
        for row in watching.head(_MAX_ALIKE).iter_rows(named=True)
    ]
    return tuple(steps)


def _waiting(tables: ReportTables) -> Step | None:
    if tables.candidates.is_empty():
        return None
    cycle = tables.candidates["cycle"].max()
    queue = tables.candidates.filter((pl.col("cycle") == cycle) & (pl.col("status") == "queued"))
    n = queue.join(tables.labels, on="trace_id", how="anti")["trace_id"].n_unique()
    if n == 0:
        return None
    return Step(
        "info",
        f"Review {counted(n, 'trace')}",
        f"the queue of {cycle} waits at /review of evalpipe up, or: evalpipe queue export",
    )
