"""How assets are cut: traffic by UTC day, review by ISO week, generation by issue."""

from datetime import date
from typing import Any

import dagster as dg

from evalpipe.review.queue.cycles import cycle_days, cycle_of
from evalpipe.settings import load_settings
from evalpipe.tables import EVALUATORS

_observe = load_settings().observe

DAYS = dg.DailyPartitionsDefinition(start_date=_observe.first_day.isoformat(), end_offset=1)
"""UTC days, today included: traffic is looked at while it arrives."""

CYCLES = dg.WeeklyPartitionsDefinition(start_date=_observe.first_day.isoformat(), day_offset=1, end_offset=1)
"""ISO weeks, by the date of their Monday, the current one included."""

BY_ISSUE = dg.DynamicPartitionsDefinition(name="issues")
"""One partition an issue; the annotation sensor and `evalpipe run` add them."""

BY_DAY: dict[str, Any] = {"partitions_def": DAYS, "backfill_policy": dg.BackfillPolicy.single_run()}
"""Keyword arguments of an asset by day: a range of days is one run, which makes them one after the other."""

SPANS_AROUND = dg.TimeWindowPartitionMapping(
    start_offset=-_observe.window_days, end_offset=_observe.window_days, allow_nonexistent_upstream_partitions=True
)
"""A trace may begin the day before or end the day after."""

EVALUATORS_OF_ALL_ISSUES = dg.AssetDep(EVALUATORS.name, partition_mapping=dg.AllPartitionMapping())
"""Traffic of one day is judged by the evaluators of every issue."""


def cycle_of_partition(key: str) -> str:
    """The review cycle ('2026-W47') of a weekly partition key ('2026-11-16')."""
    return cycle_of(date.fromisoformat(key))


def partition_of_cycle(cycle: str) -> str:
    """The weekly partition key of a review cycle."""
    return cycle_days(cycle)[0].isoformat()
