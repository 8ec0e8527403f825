"""Generate: per issue, an evaluator that agrees with people on traces it did not see."""

from typing import Any

import dagster as dg
import polars as pl

from evalpipe.defs.partitions import BY_ISSUE
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.retries import asset
from evalpipe.defs.spec import spec
from evalpipe.defs.tell import told
from evalpipe.generation.on_lake import generate_for_issue
from evalpipe.tables import EVALUATORS, ISSUES, LABELS


@asset(
    **spec(EVALUATORS, "generate", {"gepa", "scikitlearn"}, is_alone=False),
    partitions_def=BY_ISSUE,
    deps=[ISSUES.name, LABELS.name],
)
def evaluators(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made = generate_for_issue(
        opened.lake, opened.artifacts, context.partition_key, settings=opened.settings, now=home.now()
    )
    context.log.info("%s: %s", context.partition_key, made.reason)
    rows = opened.lake.read(EVALUATORS, pl.col("issue_id") == context.partition_key)
    figures: dict[str, Any] = {"status": made.status, "reason": made.reason, "replaces": made.replaces}
    for row in made.quality.filter(pl.col("split") == "held_out").iter_rows(named=True):
        figures |= {name: row[name] for name in ("mcc", "mcc_lower", "mcc_upper", "tp", "fp", "tn", "fn")}
    return dg.MaterializeResult(metadata=told(opened, EVALUATORS, rows.drop("artifact"), **figures))
