"""Review cycles: ISO weeks by name, such as '2026-W47'."""

import re
from datetime import date, timedelta

from evalpipe.errors import InputError

_CYCLE = re.compile(r"(\d{4})-W(\d{2})")


def cycle_of(day: date) -> str:
    """The review cycle of a day: its ISO week, such as '2026-W47'."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


def cycle_days(cycle: str) -> tuple[date, date]:
    """Monday and Sunday of a cycle. Raises InputError for what is no ISO week."""
    match = _CYCLE.fullmatch(cycle)
    try:
        if match is None:
            raise ValueError(cycle)
        first = date.fromisocalendar(int(match[1]), int(match[2]), 1)
    except ValueError as error:
        raise InputError(f"{cycle!r} is no review cycle. Give an ISO week, such as 2026-W47.") from error
    return first, first + timedelta(days=6)


def cycles_before(cycle: str, n: int) -> list[str]:
    """The `n` cycles before one, the newest first."""
    monday, _ = cycle_days(cycle)
    return [cycle_of(monday - timedelta(weeks=weeks)) for weeks in range(1, n + 1)]
