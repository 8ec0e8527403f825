"""Ranges of days: what one run of a partitioned asset can cover, and what lies around a day."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple


class DayRange(NamedTuple):
    """First and last ISO date, both included."""

    first: str
    last: str


def day_ranges(days: Sequence[str]) -> list[DayRange]:
    """The fewest ranges that hold exactly `days` (ISO dates, any order)."""
    ranges: list[DayRange] = []
    for day in sorted(set(days)):
        if ranges and date.fromisoformat(ranges[-1].last) + timedelta(days=1) == date.fromisoformat(day):
            ranges[-1] = DayRange(ranges[-1].first, day)
        else:
            ranges.append(DayRange(day, day))
    return ranges


def days_around(day: date, reach_days: int) -> list[date]:
    """`day` and the days up to `reach_days` before and after it, in order."""
    return [day + timedelta(days=step) for step in range(-reach_days, reach_days + 1)]
