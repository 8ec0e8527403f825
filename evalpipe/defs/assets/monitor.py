"""Monitor: what the verdicts on traffic add up to, hour by hour and week by week."""

from datetime import date
from typing import Any

import dagster as dg

from evalpipe.defs.partitions import BY_DAY
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.retries import asset
from evalpipe.defs.spec import WHEN_INPUTS_CHANGE, spec
from evalpipe.defs.tell import each_partition, told
from evalpipe.evaluators.on_lake import counts_on, rates_now
from evalpipe.plan import WHOLE, expected
from evalpipe.tables import EVALUATOR_QUALITY, ISSUE_RATES, ISSUES, TRACES, VERDICT_COUNTS, VERDICTS


@asset(**spec(VERDICT_COUNTS, "iterate"), **BY_DAY, deps=[VERDICTS.name, TRACES.name])
def verdict_counts(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    should_be = expected(opened, "verdict_counts", home.now())

    def make(key: str) -> dict[str, Any]:
        rows = counts_on(opened.lake, date.fromisoformat(key))
        opened.lake.replace(VERDICT_COUNTS, rows, partition=key, made_from=should_be.get(key))
        return told(opened, VERDICT_COUNTS, rows, n_judged=rows["n_judged"].sum(), n_flagged=rows["n_flagged"].sum())

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


@asset(
    **spec(ISSUE_RATES, "iterate"),
    deps=[VERDICT_COUNTS.name, EVALUATOR_QUALITY.name],
    automation_condition=WHEN_INPUTS_CHANGE,
)
def issue_rates(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "issue_rates", home.now()).get(WHOLE)
    rows = rates_now(opened.lake, opened.settings.monitor)
    opened.lake.replace(ISSUE_RATES, rows, made_from=made_from)
    newest = rows.sort("first_day").group_by("issue_id").last().join(opened.lake.read(ISSUES), on="issue_id")
    shares = newest.select("name", "prevalence").drop_nulls().sort("name")
    figures = {f"prevalence: {name}": float(found) for name, found in shares.iter_rows()}
    return dg.MaterializeResult(metadata=told(opened, ISSUE_RATES, rows, **figures))
