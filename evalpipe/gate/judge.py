"""Judge cases with the suite of generated evaluators and decide: TRACES in, GATE_RUNS, GATE_RESULTS and GATE_CASES out.

The decision itself is decide.py; where cases come from and where decisions are kept is on_lake.py.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple

import polars as pl

from evalpipe.errors import InputError
from evalpipe.evaluators.catalog import load
from evalpipe.evaluators.ledger import total_cost
from evalpipe.evaluators.run import fields_of, run_evaluators
from evalpipe.evaluators.view import evaluator_view
from evalpipe.gate.baseline import baseline_of, baseline_run, compare, is_own, last_outcomes
from evalpipe.gate.cases import ABOUT, Cases, Refused
from evalpipe.gate.decide import Decision, EvaluatorRun, GatePolicy, decide, role_of
from evalpipe.gate.members import Member
from evalpipe.ids import GateId, content_hash
from evalpipe.quality.comparison import effective_n
from evalpipe.settings import Settings
from evalpipe.tables import GATE_CASES, GATE_RESULTS, GATE_RUNS

_MAX_FAILING_IDS = 50  # what a person looks through; the counts are whole


class History(NamedTuple):
    """What was gated before: GATE_RUNS, GATE_RESULTS, and GATE_CASES, of which those of one gate are read."""

    runs: pl.DataFrame = GATE_RUNS.empty()
    results: pl.DataFrame = GATE_RESULTS.empty()
    cases: pl.LazyFrame = GATE_CASES.empty().lazy()


class Asked(NamedTuple):
    """Who asks for which release: what is kept with the decision beside what was found."""

    source: Literal["cases", "release"]
    release: str | None = None
    by: str = "cli"  # cli, dagster, pytest, or the name of the webhook's secret
    commit: str | None = None  # of the application


@dataclass(frozen=True)
class GateOutcome:
    """One gate: the decision, as it is kept, and what each evaluator said of each case."""

    run: pl.DataFrame  # GATE_RUNS, one row
    results: pl.DataFrame  # GATE_RESULTS, by evaluator_id
    cases: pl.DataFrame  # GATE_CASES, by case_id
    decision: Decision
    verdicts: pl.DataFrame  # as run_evaluators gives them; trace_id is the case id
    traces: pl.DataFrame  # TRACES that were judged; trace_id is the case id
    refused: tuple[Refused, ...] = ()  # cases that were not judged, and why
    about: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ABOUT))  # of the cases, as cases.py says
    history: History = field(default_factory=History)  # what was gated before

    @property
    def gate_id(self) -> GateId:
        return GateId(self.run["gate_id"][0])

    def said_by(self, evaluator_id: str) -> pl.DataFrame:
        """What one evaluator said: its `verdicts`."""
        return self._said.get(evaluator_id, self.verdicts.clear())

    @cached_property
    def _said(self) -> Mapping[str, pl.DataFrame]:
        return by_evaluator(self.verdicts)


def by_evaluator(verdicts: pl.DataFrame) -> Mapping[str, pl.DataFrame]:
    """What each evaluator said, by evaluator_id."""
    parts = verdicts.partition_by("evaluator_id", maintain_order=True, as_dict=True)
    return {str(evaluator_id): said for (evaluator_id,), said in parts.items()}


def judge_cases(
    cases: Cases,
    suite: Sequence[Member],
    *,
    asked: Asked,
    settings: Settings,
    now: datetime,
    features: pl.DataFrame | None = None,
    history: History | None = None,
) -> GateOutcome:
    """May a release that answered so ship?

    `features` are TRACE_FEATURES of traces whose sessions are known. Evaluators that have no role are not run. The last
    release is found in `history`. Where no release is asked for and all cases state one
    version, that is the release. The gate_id is a hash of the cases, the suite with its standing, the policy, the
    release and the baseline: the same question has the same id. Raises InputError without cases, ArtifactError for an
    artifact that is not what its row says.
    """
    traces, history = cases.traces, history or History()
    if traces.is_empty():
        raise InputError("no cases: a gate without cases decides nothing. Give at least one case.")
    versions = traces["service_version"].unique().to_list()
    release = asked.release or (versions[0] if len(versions) == 1 else None)
    policy = GatePolicy(gate=settings.gate, quality=settings.quality)
    question_id = _question_id(cases, suite, policy, release)
    last = baseline_run(history.runs, question_id, release)
    baseline = None if last is None else baseline_of(last, history.results, history.cases)
    gate_id = GateId("gate_" + content_hash([question_id, None if baseline is None else baseline.gate_id]))

    verdicts = _verdicts(traces, suite, policy, features, settings)
    kept = _case_frame(cases, verdicts, gate_id, now)
    own = _own_cases(kept)
    said, nothing = by_evaluator(verdicts), verdicts.clear()
    runs = [_counted(member.run, own, said.get(member.run.evaluator_id, nothing)) for member in suite]
    outcomes = last_outcomes(history.runs, history.results, baseline, _not_before(history.runs, question_id, release))
    worth = {run.evaluator_id: _worth(run, kept) for run in runs if run.n_pass + run.n_fail}
    compared = {} if baseline is None else compare(runs, kept, worth, baseline, settings.gate)
    runs = [
        replace(
            run,
            previous_outcome=outcomes.get(run.evaluator_id),
            **(compared[run.evaluator_id]._asdict() if run.evaluator_id in compared else {}),
        )
        for run in runs
    ]
    decision = decide(runs, policy, n_cases=traces.height, n_refused=len(cases.refused))
    run = {
        "gate_id": gate_id,
        "decided_at": now,
        "decision": decision.decision,
        "reasons": list(decision.reasons),
        "release": release,
        "source": asked.source,
        "n_cases": traces.height,
        "n_evaluators": decision.n_ran,
        "suite_pass_rate": decision.suite_pass_rate,
        "question_id": question_id,
        "n_refused": len(cases.refused),
        "policy": settings.gate.policy,
        "baseline_gate_id": None if baseline is None else baseline.gate_id,
        "baseline_release": None if baseline is None else baseline.release,
        "asked_by": asked.by,
        "commit": asked.commit,
        "cost_usd": _cost_usd(suite, verdicts),
    }
    return GateOutcome(
        GATE_RUNS.conform(pl.DataFrame([run], schema=GATE_RUNS.schema)),
        _result_frame(gate_id, decision, worth),
        GATE_CASES.conform(kept),
        decision,
        verdicts,
        traces,
        cases.refused,
        cases.about,
        history,
    )


def _question_id(cases: Cases, suite: Sequence[Member], policy: GatePolicy, release: str | None) -> str:
    # Rows as lines of JSON are hashed in one go; a canonical form built in Python costs ten times that.
    lines = io.BytesIO()
    about = cases.about.select("trace_id", "issue_ids")
    judged = cases.traces.select("trace_id", "service_name", "transcript").join(about, on="trace_id", how="left")
    judged.sort("trace_id").write_ndjson(lines)
    standing = ("evaluator_id", "version", "issue_state", "has_returned", "mcc", "mcc_lower", "n_positives", "demotion")
    question: list[Any] = [
        hashlib.sha256(lines.getvalue()).hexdigest(),
        [[*(getattr(member.run, name) for name in standing), member.artifact_sha256] for member in suite],
        policy.gate.model_dump(exclude={"otlp_endpoint"}),
        policy.quality.model_dump(),
        release,
        len(cases.refused),
    ]
    return content_hash(question)


def _not_before(runs: pl.DataFrame, question_id: str, release: str | None) -> list[str]:
    """Gates that say nothing of an earlier release: of this question, and of this release."""
    same = pl.col("question_id") == question_id
    if release is not None:
        same |= pl.col("release") == release
    return runs.filter(same)["gate_id"].to_list()


def _verdicts(
    traces: pl.DataFrame,
    suite: Sequence[Member],
    policy: GatePolicy,
    features: pl.DataFrame | None,
    settings: Settings,
) -> pl.DataFrame:
    asked = [member for member in suite if role_of(member.run, policy) != "skipped"]
    artifacts = [load(member.artifact, member.artifact_sha256) for member in asked]
    view = evaluator_view(traces, features, fields=fields_of(artifacts))
    return run_evaluators(artifacts, view, llm=settings.llm)


def _cost_usd(suite: Sequence[Member], verdicts: pl.DataFrame) -> float | None:
    """What the verdicts of judges cost; a fault costs what nobody knows, and is passed over."""
    judges = [member.run.evaluator_id for member in suite if member.run.kind == "judge"]
    given = verdicts.filter(pl.col("evaluator_id").is_in(judges), pl.col("outcome") != "fault")
    return total_cost(given["cost_usd"].to_list())


def _case_frame(cases: Cases, verdicts: pl.DataFrame, gate_id: str, now: datetime) -> pl.DataFrame:
    """GATE_CASES columns and issue_ids, by case_id."""
    texts = pl.List(pl.String)
    said = {"passed": "pass", "failed": "fail", "faulted": "fault"}
    evaluator = pl.col("evaluator_id")
    by_case = verdicts.group_by("trace_id").agg(
        evaluator.filter(pl.col("outcome") == outcome).alias(name) for name, outcome in said.items()
    )
    known = (
        cases.traces.select("trace_id", "session_id", input_hash=input_hashes(cases.traces))
        .join(cases.about, on="trace_id", how="left")
        .join(by_case, on="trace_id", how="left")
        .sort("trace_id")
    )
    return known.select(
        pl.lit(gate_id).alias("gate_id"),
        pl.col("trace_id").alias("case_id"),
        pl.lit(now.date()).alias("day"),
        "input_hash",
        "session_id",
        "line",
        *(pl.col(name).fill_null(pl.lit([], texts)) for name in said),
        pl.col("issue_ids").fill_null(pl.lit([], texts)),
    )


def input_hashes(traces: pl.DataFrame) -> pl.Series:
    """For each of the TRACES rows a hash of what its user said: the same input has it whatever was answered."""
    message = pl.element().struct
    said = pl.when(message.field("role") == "user").then(message.field("content"))
    inputs = traces.select(said=pl.col("transcript").list.eval(said).list.drop_nulls().list.join("\x1e"))["said"]
    hashes = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16] for text in inputs.fill_null("")]
    return pl.Series("input_hash", hashes, dtype=pl.String)


def _own_cases(kept: pl.DataFrame) -> Mapping[str, pl.Series]:
    """For each issue that a case names, those cases."""
    named = kept.select("case_id", issue_id="issue_ids").explode("issue_id").drop_nulls()
    return {str(issue): rows["case_id"] for (issue,), rows in named.group_by("issue_id")}


def _counted(run: EvaluatorRun, own: Mapping[str, pl.Series], said: pl.DataFrame) -> EvaluatorRun:
    """What the evaluator counted, over the cases that name its issue where there are such, else over all."""
    if said.is_empty():
        return run
    mine = own.get(run.issue_id or "")
    is_mine = pl.lit(True) if mine is None else pl.col("trace_id").is_in(mine.implode())
    counted, rest = said.filter(is_mine), said.filter(~is_mine)
    if counted.is_empty():
        counted, rest, mine = said, counted, None
    outcomes = dict(counted["outcome"].value_counts().iter_rows())
    failing, faults = counted.filter(pl.col("outcome") == "fail"), counted.filter(pl.col("outcome") == "fault")
    reasons = faults["explanation"].drop_nulls().sort()
    return replace(
        run,
        n_pass=outcomes.get("pass", 0),
        n_fail=outcomes.get("fail", 0),
        n_fault=outcomes.get("fault", 0),
        failing_case_ids=tuple(failing["trace_id"].sort().head(_MAX_FAILING_IDS)),
        fault_reason=reasons[0] if len(reasons) else None,
        n_own=None if mine is None else counted.height,
        n_fail_elsewhere=rest.filter(pl.col("outcome") == "fail").height,
    )


def _worth(run: EvaluatorRun, kept: pl.DataFrame) -> float:
    """How many independent cases the judged ones are worth: those of one session are alike."""
    me = run.evaluator_id
    is_fail = pl.col("failed").list.contains(me)
    judged = kept.filter(is_own(run), is_fail | pl.col("passed").list.contains(me))
    if judged["session_id"].null_count() == judged.height:
        return float(judged.height)
    by_session = judged.group_by(pl.coalesce("session_id", "case_id")).agg(is_fail.sum(), n=pl.len())
    return effective_n({str(unit): (fails, n) for unit, fails, n in by_session.iter_rows()})


def _result_frame(gate_id: str, decision: Decision, worth: Mapping[str, float]) -> pl.DataFrame:
    rows = []
    for result in decision.results:
        run, compared = result.run, result.run.comparison
        row = {
            "gate_id": gate_id,
            "evaluator_id": run.evaluator_id,
            "version": run.version,
            "issue_id": run.issue_id,
            "failure_mode": run.failure_mode,
            "kind": run.kind,
            "role": result.role,
            "outcome": result.outcome,
            "n_pass": run.n_pass,
            "n_fail": run.n_fail,
            "n_fault": run.n_fault,
            "pass_rate": result.pass_rate,
            "pass_rate_lower": result.interval.lower if result.interval else None,
            "pass_rate_upper": result.interval.upper if result.interval else None,
            "mcc": run.mcc,
            "mcc_lower": run.mcc_lower,
            "link": result.link,
            "failing_case_ids": list(run.failing_case_ids),
            "reason": result.reason,
            "pass_rate_asked": result.pass_rate_asked,
            "n_own": run.n_own,
            "n_fail_elsewhere": None if run.n_own is None else run.n_fail_elsewhere,
            "n_effective": worth.get(run.evaluator_id),
        }
        if compared is not None:
            row |= {
                "compared": compared.way,
                "baseline_pass_rate": compared.pass_rate,
                "n_compared": compared.n,
                "pass_rate_change": compared.change,
                "p_worse": compared.p_worse,
                "is_regression": compared.is_regression,
            }
        rows.append(row)
    return GATE_RESULTS.conform(pl.DataFrame(rows, schema=GATE_RESULTS.schema))
