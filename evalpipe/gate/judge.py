"""Judge traces with the suite of generated evaluators and decide: TRACES in, GATE_RUNS and GATE_RESULTS out.

The decision itself is decide.py; where cases come from and where decisions are kept is on_lake.py.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import polars as pl

from evalpipe.errors import InputError
from evalpipe.evaluators.catalog import load
from evalpipe.evaluators.run import fields_of, run_evaluators
from evalpipe.evaluators.view import evaluator_view
from evalpipe.gate.decide import Decision, EvaluatorRun, GatePolicy, decide, role_of
from evalpipe.ids import GateId, content_hash
from evalpipe.settings import Settings
from evalpipe.tables import GATE_RESULTS, GATE_RUNS

_MAX_FAILING_IDS = 50  # what a person looks through; the counts are whole


@dataclass(frozen=True)
class GateOutcome:
    """One gate: the decision, as it is kept, and what each evaluator said of each case."""

    run: pl.DataFrame  # GATE_RUNS, one row
    results: pl.DataFrame  # GATE_RESULTS, by evaluator_id
    decision: Decision
    verdicts: pl.DataFrame  # as run_evaluators gives them; trace_id is the case id


def judge_cases(
    traces: pl.DataFrame,
    suite: pl.DataFrame,
    issues: pl.DataFrame,
    *,
    features: pl.DataFrame | None = None,
    earlier_runs: pl.DataFrame,
    earlier_results: pl.DataFrame,
    source: Literal["cases", "release"],
    release: str | None,
    settings: Settings,
    now: datetime,
) -> GateOutcome:
    """May a release that answered with these TRACES ship?

    `suite` is EVALUATORS rows of current versions with their held-out mcc, mcc_lower, tp and fn (null when never
    measured), as evaluators/on_lake.standing gives them; `issues` is ISSUES; `features` are TRACE_FEATURES of traces
    whose sessions are known. Evaluators that have no role are not run.
    `earlier_runs` and `earlier_results` (GATE_RUNS, GATE_RESULTS) tell a new regression from a known open issue. Where
    `release` is None and all cases state one version, that is the release. The gate_id is a hash of the cases, the
    suite with its standing, the policy and the release: the same question has the same id. Raises InputError without
    traces, ArtifactError for an artifact that is not what its row says.
    """
    if traces.is_empty():
        raise InputError("no cases: a gate without cases decides nothing. Give at least one case.")
    versions = traces["service_version"].unique().to_list()
    release = release or (versions[0] if len(versions) == 1 else None)
    policy = GatePolicy(gate=settings.gate, quality=settings.quality)
    runs = _standing(suite, issues)
    gate_id = _gate_id(traces, runs, suite, policy, release)
    asked = [run.evaluator_id for run in runs if role_of(run, policy) != "skipped"]
    rows = suite.filter(pl.col("evaluator_id").is_in(asked)).sort("evaluator_id")
    artifacts = [load(*row) for row in rows.select("artifact", "artifact_sha256").iter_rows()]
    view = evaluator_view(traces, features, fields=fields_of(artifacts))
    verdicts = run_evaluators(artifacts, view, llm=settings.llm)
    previous = _previous_outcomes(earlier_runs, earlier_results, gate_id, release)
    decision = decide(_counted(runs, verdicts, previous), policy)
    run = pl.DataFrame(
        {
            "gate_id": [gate_id],
            "decided_at": [now],
            "decision": [decision.decision],
            "reasons": [list(decision.reasons)],
            "release": pl.Series([release], dtype=pl.String),
            "source": [source],
            "n_cases": [traces.height],
            "n_evaluators": [decision.n_ran],
            "suite_pass_rate": pl.Series([decision.suite_pass_rate], dtype=pl.Float64),
        }
    )
    return GateOutcome(GATE_RUNS.conform(run), _result_frame(gate_id, decision), decision, verdicts)


def _standing(suite: pl.DataFrame, issues: pl.DataFrame) -> list[EvaluatorRun]:
    states = issues.select("issue_id", issue_state="state")
    rows = suite.join(states, on="issue_id", how="left").sort("evaluator_id")
    return [
        EvaluatorRun(
            evaluator_id=row["evaluator_id"],
            version=row["version"],
            issue_id=row["issue_id"],
            failure_mode=row["failure_mode"],
            kind=row["kind"],
            issue_state=row["issue_state"] or "active",
            mcc=row["mcc"],
            mcc_lower=row["mcc_lower"],
            n_positives=(row["tp"] or 0) + (row["fn"] or 0),
            demotion=row.get("demotion"),
        )
        for row in rows.iter_rows(named=True)
    ]


def _gate_id(
    traces: pl.DataFrame, runs: Sequence[EvaluatorRun], suite: pl.DataFrame, policy: GatePolicy, release: str | None
) -> GateId:
    # Rows as lines of JSON are hashed in one go; a canonical form built in Python costs ten times that.
    cases = io.BytesIO()
    traces.select("trace_id", "service_name", "transcript").sort("trace_id").write_ndjson(cases)
    standing = [
        [run.evaluator_id, run.version, run.issue_state, run.mcc, run.mcc_lower, run.n_positives, run.demotion]
        for run in runs
    ]
    question: list[Any] = [
        hashlib.sha256(cases.getvalue()).hexdigest(),
        standing,
        suite.sort("evaluator_id")["artifact_sha256"].to_list(),
        policy.gate.model_dump(),
        policy.quality.model_dump(),
        release,
    ]
    return GateId("gate_" + content_hash(question))


def _counted(runs: Sequence[EvaluatorRun], verdicts: pl.DataFrame, previous: dict[str, str]) -> list[EvaluatorRun]:
    is_fail, is_fault = pl.col("outcome") == "fail", pl.col("outcome") == "fault"
    counts = verdicts.group_by("evaluator_id").agg(
        n_pass=(pl.col("outcome") == "pass").sum(),
        n_fail=is_fail.sum(),
        n_fault=is_fault.sum(),
        failing=pl.col("trace_id").filter(is_fail).sort().head(_MAX_FAILING_IDS),
        fault_reason=pl.col("explanation").filter(is_fault).drop_nulls().sort().first(),
    )
    counted_of = {row["evaluator_id"]: row for row in counts.iter_rows(named=True)}
    return [
        replace(run, previous_outcome=previous.get(run.evaluator_id), **_counts(counted_of.get(run.evaluator_id)))
        for run in runs
    ]


def _counts(row: dict[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return {}
    counts = {name: row[name] for name in ("n_pass", "n_fail", "n_fault", "fault_reason")}
    return counts | {"failing_case_ids": tuple(row["failing"])}


def _previous_outcomes(runs: pl.DataFrame, results: pl.DataFrame, gate_id: str, release: str | None) -> dict[str, str]:
    """For each evaluator, passed or failed: what it last said, of another release where the release is known."""
    others = runs.filter(pl.col("gate_id") != gate_id)
    if release is not None:
        others = others.filter(pl.col("release").is_null() | (pl.col("release") != release))
    last = (
        results.filter(pl.col("outcome").is_in(["passed", "failed"]))
        .join(others.select("gate_id", "decided_at"), on="gate_id")
        .sort("decided_at", "gate_id")
        .group_by("evaluator_id")
        .agg(pl.col("outcome").last())
    )
    return dict(last.iter_rows())


def _result_frame(gate_id: str, decision: Decision) -> pl.DataFrame:
    rows = [
        {
            "gate_id": gate_id,
            "evaluator_id": result.run.evaluator_id,
            "version": result.run.version,
            "issue_id": result.run.issue_id,
            "failure_mode": result.run.failure_mode,
            "kind": result.run.kind,
            "role": result.role,
            "outcome": result.outcome,
            "n_pass": result.run.n_pass,
            "n_fail": result.run.n_fail,
            "n_fault": result.run.n_fault,
            "pass_rate": result.pass_rate,
            "pass_rate_lower": result.interval.lower if result.interval else None,
            "pass_rate_upper": result.interval.upper if result.interval else None,
            "mcc": result.run.mcc,
            "mcc_lower": result.run.mcc_lower,
            "link": result.link,
            "failing_case_ids": list(result.run.failing_case_ids),
            "reason": result.reason,
        }
        for result in decision.results
    ]
    return GATE_RESULTS.conform(pl.DataFrame(rows, schema=GATE_RESULTS.schema))
