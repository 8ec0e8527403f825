"""Quality over time: has the traffic shifted, does each evaluator still hold, and which have outlived their use."""

import dagster as dg
import polars as pl

from evalpipe.defs.resources import HomeResource
from evalpipe.defs.retries import asset
from evalpipe.defs.spec import OWNERS, WHEN_INPUTS_CHANGE, spec
from evalpipe.defs.tell import preview, told
from evalpipe.evaluators.health import health_of_all
from evalpipe.plan import WHOLE, expected
from evalpipe.pruning import prune
from evalpipe.signals.on_lake import traffic_drift as drift_now
from evalpipe.tables import (
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    ISSUES,
    LABELS,
    TRACE_FEATURES,
    TRACES,
    TRAFFIC_DRIFT,
    VERDICTS,
)


# Made every night, not with each trace that arrives: it compares weeks.
@asset(**spec(TRAFFIC_DRIFT, "iterate"), deps=[TRACES.name, TRACE_FEATURES.name])
def traffic_drift(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "traffic_drift", home.now()).get(WHOLE)
    rows = drift_now(opened.lake, opened.settings.monitor, opened.settings.generation.seed)
    opened.lake.replace(TRAFFIC_DRIFT, rows, made_from=made_from)
    worst = rows.group_by("service_name").agg(pl.col("psi").max()).drop_nulls().sort("service_name")
    figures = {f"psi: {service}": float(psi) for service, psi in worst.iter_rows()}
    n_shifted = int(rows["has_shifted"].sum())
    return dg.MaterializeResult(metadata=told(opened, TRAFFIC_DRIFT, rows, n_shifted=n_shifted, **figures))


@asset(
    **spec(EVALUATOR_HEALTH, "iterate"),
    deps=[EVALUATOR_QUALITY.name, TRAFFIC_DRIFT.name],
    automation_condition=WHEN_INPUTS_CHANGE,
)
def evaluator_health(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "evaluator_health", home.now()).get(WHOLE)
    rows = health_of_all(opened.lake, opened.settings)
    opened.lake.replace(EVALUATOR_HEALTH, rows, made_from=made_from)
    n_demoted = int(rows["is_demoted"].sum())
    return dg.MaterializeResult(metadata=told(opened, EVALUATOR_HEALTH, rows, n_demoted=n_demoted))


@asset(
    description="Evaluators that have outlived their use retired, each with its reason; a person can take it back.",
    group_name="iterate",
    kinds={"polars", "deltalake"},
    owners=OWNERS,
    code_version="1",
    deps=[EVALUATORS.name, EVALUATOR_QUALITY.name, ISSUES.name, LABELS.name, VERDICTS.name],
    pool="evaluator_pruning",
)
def evaluator_pruning(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    retired = prune(opened.lake, opened.settings.monitor, home.now())
    reasons = {f"retired: {evaluator}": reason for evaluator, reason in retired.select("evaluator_id", "reason").rows()}
    metadata = {"n_retired": retired.height, "retired": preview(retired, n_rows=max(1, retired.height)), **reasons}
    return dg.MaterializeResult(metadata=metadata)
