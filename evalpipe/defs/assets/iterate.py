"""Iterate: verdicts on traffic, agreement with people over time, coverage and its report, and the gate."""

from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from evalpipe.defs.partitions import BY_DAY, EVALUATORS_OF_ALL_ISSUES
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.retries import asset
from evalpipe.defs.spec import OWNERS, REPORT_FRESH, VERDICTS_FRESH, WHEN_INPUTS_CHANGE, spec
from evalpipe.defs.tell import each_partition, preview, share, told
from evalpipe.evaluators.on_lake import judging, loaded, quality_of_all, verdicts_on
from evalpipe.gate.on_lake import export, gate
from evalpipe.gate.render.links import Links
from evalpipe.gate.render.markdown import markdown
from evalpipe.gate.request import GateRequest
from evalpipe.plan import CODE_VERSIONS, WHOLE, expected, verdicts_expected
from evalpipe.quality.coverage import coverage_figures
from evalpipe.report.on_lake import coverage_now, write_coverage_report
from evalpipe.tables import (
    AGREEMENT,
    COVERAGE,
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    GATE_RUNS,
    ISSUE_PROPOSALS,
    ISSUE_RATES,
    ISSUES,
    LABELS,
    PREVALENCE,
    QUEUE_YIELD,
    TRACE_FEATURES,
    TRACES,
    VERDICT_COUNTS,
    VERDICTS,
)


class VerdictsRequest(dg.Config):
    """Whose evaluators judge: those of these issues; of all without any."""

    issues: list[str] = Field(default_factory=list)


@asset(
    **spec(VERDICTS, "iterate"),
    **BY_DAY,
    deps=[TRACES.name, TRACE_FEATURES.name, EVALUATORS_OF_ALL_ISSUES],
    freshness_policy=VERDICTS_FRESH,
)
def verdicts(context: dg.AssetExecutionContext, config: VerdictsRequest, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    should_be = verdicts_expected(opened, context.partition_keys, config.issues)
    suite = loaded(judging(opened.lake, opened.settings.quality, config.issues))

    def make(key: str) -> dict[str, Any]:
        found = verdicts_on(opened.lake, date.fromisoformat(key), suite, opened.settings)
        opened.lake.replace(VERDICTS, found.rows, partition=key, made_from=should_be.get(key))
        outcome = found.rows["outcome"]
        return told(
            opened,
            VERDICTS,
            found.rows,
            n_evaluators=len(suite),
            n_judged=found.n_judged,
            n_reused=found.n_reused,
            share_judged=found.share_judged,
            n_faults=int((outcome == "fault").sum()),
            fail_share=share(outcome == "fail"),
            fault_share=share(outcome == "fault"),
        )

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


@asset(
    **spec(EVALUATOR_QUALITY, "iterate"), deps=[LABELS.name, EVALUATORS.name], automation_condition=WHEN_INPUTS_CHANGE
)
def evaluator_quality(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "evaluator_quality", home.now()).get(WHOLE)
    rows = quality_of_all(opened.lake, opened.settings, home.now())
    opened.lake.append_new(EVALUATOR_QUALITY, rows, made_from=made_from)
    names = opened.lake.read(ISSUES).select("issue_id", "name")
    held_out = rows.filter(pl.col("split") == "held_out").join(names, on="issue_id").select("name", "mcc").drop_nulls()
    figures = {f"mcc: {name}": float(mcc) for name, mcc in held_out.iter_rows()}
    return dg.MaterializeResult(metadata=told(opened, EVALUATOR_QUALITY, rows, **figures))


@asset(
    **spec(COVERAGE, "iterate"),
    deps=[
        ISSUES.name,
        EVALUATOR_QUALITY.name,
        EVALUATOR_HEALTH.name,
        PREVALENCE.name,
        ISSUE_RATES.name,
        VERDICT_COUNTS.name,
    ],
    automation_condition=WHEN_INPUTS_CHANGE,
)
def coverage(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "coverage", home.now()).get(WHOLE)
    rows = coverage_now(opened.lake, opened.settings, home.now())
    opened.lake.append_new(COVERAGE, rows, made_from=made_from)
    found = coverage_figures(rows)
    figures = {
        "issue_coverage": found.issue_share,
        "occurrence_coverage": found.occurrence_share,
        "traffic_coverage": found.traffic_share,
        "n_blocking": found.n_blocking,
        "n_monitoring": found.n_monitoring,
    }
    return dg.MaterializeResult(metadata=told(opened, COVERAGE, rows, **figures))


@asset(
    description="The page that people look at: what is covered, how far each evaluator can be trusted, what is next.",
    group_name="iterate",
    kinds={"html"},
    owners=OWNERS,
    code_version=CODE_VERSIONS["coverage_report"],
    freshness_policy=REPORT_FRESH,
    deps=[COVERAGE.name, QUEUE_YIELD.name, PREVALENCE.name, AGREEMENT.name, ISSUE_PROPOSALS.name, ISSUE_RATES.name],
    automation_condition=WHEN_INPUTS_CHANGE,
)
def coverage_report(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "coverage_report", home.now()).get(WHOLE, 0)
    written = write_coverage_report(
        opened.lake, opened.coverage_report, opened.settings, made_from=made_from, now=home.now()
    )
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.path(str(written.path)),
            "n_covered": written.n_covered,
            "n_active_issues": written.n_active,
            "mcc_over_time": dg.MetadataValue.md(written.chart_markdown),
        }
    )


# Dagster's configuration has enumerations and no Literal; it takes them by name.
class Policy(Enum):
    default = "default"
    article = "article"


class OnAbstain(Enum):
    block = "block"
    warn = "warn"


class GateQuestion(dg.Config):
    """What the gate judges: a file of cases, or the traces of a release, of a replay by CI, or of both."""

    cases: str = ""
    release: str = ""
    gate_ref: str = ""
    strict: bool = False
    policy: Policy | None = None  # without it the setting
    on_abstain: OnAbstain | None = None
    by: str = "dagster"
    commit: str = ""

    def request(self) -> GateRequest:
        return GateRequest(
            cases=Path(self.cases) if self.cases else None,
            release=self.release or None,
            gate_ref=self.gate_ref or None,
            is_strict=self.strict,
            policy=None if self.policy is None else self.policy.value,
            on_abstain=None if self.on_abstain is None else self.on_abstain.value,
            by=self.by,
            commit=self.commit or None,
        )


# Gates of CI runs must not wait for one another, and never write the same keys.
@asset(**spec(GATE_RUNS, "iterate", is_alone=False), deps=[EVALUATORS.name, EVALUATOR_QUALITY.name])
def gate_runs(context: dg.AssetExecutionContext, config: GateQuestion, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    outcome = gate(opened.lake, opened.artifacts, config.request(), settings=opened.settings, now=home.now())
    if exported := export(opened.lake, outcome, opened.settings):
        (context.log.warning if exported.problem else context.log.info)(exported.in_words)
    metadata: dict[str, Any] = {
        "gate_id": outcome.gate_id,
        "decision": outcome.decision.decision,
        "suite_pass_rate": outcome.decision.suite_pass_rate,
        "summary": dg.MetadataValue.md(markdown(outcome, links=Links(opened.settings.alerts.base_url))),
        "results": preview(outcome.results),
    }
    if outcome.decision.exit_code:
        # The run's status is what a CI that launches the job sees, so a release that may not ship fails it.
        raise dg.Failure("; ".join(outcome.decision.reasons), metadata=metadata, allow_retries=False)
    return dg.MaterializeResult(metadata=metadata)
