"""What every asset declares of itself, read from its table: description, columns, group, kinds, owner, code version."""

from collections.abc import Set
from datetime import timedelta
from typing import Any

import dagster as dg

from evalpipe.defs.tell import column_schema
from evalpipe.plan import CODE_VERSIONS
from evalpipe.tables import Table

OWNERS = ["team:evalpipe"]

# Without `without`, one issue that has no evaluator yet would hold back every report.
WHEN_INPUTS_CHANGE = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())


VERDICTS_FRESH = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=3), warn_window=timedelta(days=1))
"""New traffic is judged within the day; a long weekend without traffic is no failure."""

QUEUE_FRESH = dg.FreshnessPolicy.cron(deadline_cron="0 8 * * 1", lower_bound_delta=timedelta(hours=2), timezone="UTC")
"""The week's queue is there on Monday at 08:00 UTC, built since 06:00."""

REPORT_FRESH = dg.FreshnessPolicy.cron(deadline_cron="0 6 * * *", lower_bound_delta=timedelta(hours=3), timezone="UTC")
"""The report of the night is there at 06:00 UTC, made since 03:00."""


def spec(table: Table, group: str, kinds: Set[str] = frozenset(), *, is_alone: bool = True) -> dict[str, Any]:
    """Keyword arguments of `@dg.asset` for the asset that writes `table`.

    Two runs never write one table at once, unless `is_alone` is false: then they must never write the same keys.
    """
    return {
        "name": table.name,
        "description": f"{table.meaning}\n\nKey: {', '.join(table.key)}.",
        "group_name": group,
        "kinds": {"polars", "deltalake", *kinds},
        "owners": OWNERS,
        "code_version": CODE_VERSIONS.get(table.name, "1"),  # the gate is asked, never stale
        "metadata": {"dagster/column_schema": column_schema(table), "dagster/table_name": table.name},
        "pool": table.name if is_alone else None,
    }
