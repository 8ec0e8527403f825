"""Asset checks: keys unique and never null, spans whose parent is missing, traffic that stopped, issues that alarm."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl

from evalpipe.defs.resources import HomeResource
from evalpipe.defs.tell import preview
from evalpipe.issues.alarms import alarms
from evalpipe.plan import TRANSITIONS
from evalpipe.tables import (
    ANNOTATIONS,
    CANDIDATES,
    EVALUATOR_QUALITY,
    EVALUATORS,
    ISSUE_EVENTS,
    ISSUES,
    LABELS,
    SESSIONS,
    SPANS,
    TRACE_SIGNALS,
    TRACES,
    VERDICT_COUNTS,
    VERDICTS,
    Table,
)

MAX_ORPHAN_SHARE = 0.05  # some children outlive a lost parent; more than this and an exporter drops spans
MAX_SILENCE = timedelta(days=3)  # a long weekend


def _key_check(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table.name,
        name="key_is_unique_and_never_null",
        blocking=True,
        description=f"No two rows share {', '.join(table.key)}, and none lacks it.",
    )
    def check(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
        keys = _made_in_this_run(context, home, table).select(table.key)
        is_incomplete = pl.any_horizontal(pl.col(name).is_null() for name in table.key)
        n_rows, n_nulls = keys.select(pl.len(), nulls=is_incomplete.sum()).collect().row(0)
        n_distinct = keys.unique().select(pl.len()).collect().item()
        return dg.AssetCheckResult(
            passed=n_rows == n_distinct and n_nulls == 0,
            metadata={"n_rows": n_rows, "n_duplicates": n_rows - n_distinct, "n_nulls": n_nulls},
        )

    return check


@dg.asset_check(asset=SPANS.name, description="Few spans name a parent that never arrived.")
def few_orphans(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
    spans = _made_in_this_run(context, home, SPANS).select("trace_id", "span_id", "parent_span_id")
    children = spans.filter(pl.col("parent_span_id").is_not_null())
    orphans = children.join(spans, left_on=["trace_id", "parent_span_id"], right_on=["trace_id", "span_id"], how="anti")
    n_orphans, n_children = (frame.select(pl.len()).collect().item() for frame in (orphans, children))
    orphan_share = n_orphans / n_children if n_children else 0.0
    return dg.AssetCheckResult(
        passed=orphan_share <= MAX_ORPHAN_SHARE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"orphan_share": orphan_share, "n_orphans": n_orphans, "limit": MAX_ORPHAN_SHARE},
    )


@dg.asset_check(asset="raw_otlp", description="Something has landed lately.")
def traffic_is_fresh(home: HomeResource) -> dg.AssetCheckResult:
    landing = home.open().landing
    newest = landing.ledger_of(landing.days()[-1])["landed_at"].max() if landing.days() else None
    silence = datetime.now(UTC) - newest if isinstance(newest, datetime) else None
    return dg.AssetCheckResult(
        passed=silence is not None and silence <= MAX_SILENCE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"silent_for_h": silence.total_seconds() / 3_600} if silence else {"landed": "nothing yet"},
    )


@dg.asset_check(asset=TRANSITIONS, description="No issue escalates, and no solved one has returned.")
def no_issue_is_alarming(home: HomeResource) -> dg.AssetCheckResult:
    found = alarms(home.open().lake.read(ISSUE_EVENTS), home.now())
    counts = {f"n_{flag}": found.filter(pl.col("flag") == flag).height for flag in ("escalating", "regressed")}
    return dg.AssetCheckResult(
        passed=found.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={**counts, "issues": preview(found, n_rows=max(1, found.height))},
    )


_KEYED = (
    SPANS,
    TRACES,
    SESSIONS,
    TRACE_SIGNALS,
    CANDIDATES,
    ANNOTATIONS,
    LABELS,
    ISSUES,
    ISSUE_EVENTS,
    EVALUATORS,
    VERDICTS,
    VERDICT_COUNTS,
    EVALUATOR_QUALITY,
)

CHECKS = [*map(_key_check, _KEYED), few_orphans, traffic_is_fresh, no_issue_is_alarming]


def _made_in_this_run(context: dg.AssetCheckExecutionContext, home: HomeResource, table: Table) -> pl.LazyFrame:
    """The rows that the run made: a check costs what the run cost, not what the history holds."""
    rows = home.open().lake.scan(table)
    run = context.op_execution_context
    if not run.has_partition_key_range:
        return rows
    days = [date.fromisoformat(key) for key in run.partition_keys]
    if table is SESSIONS:
        return rows.filter(pl.col("first_day") <= max(days), pl.col("last_day") >= min(days))
    return rows.filter(pl.col("day").is_in(days)) if table.partition == "day" else rows
