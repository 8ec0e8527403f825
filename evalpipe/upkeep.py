"""Upkeep of a home: its tables are compacted and vacuumed, raw segments past their retention are removed."""

from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from evalpipe.home import Home
from evalpipe.lake.maintenance import maintain
from evalpipe.plan import stale, traffic_days


class Upkept(NamedTuple):
    """What was done: a row a table (lake/maintenance.py), and the segments whose files were removed."""

    tables: pl.DataFrame
    expired: list[str]


def upkeep(home: Home, now: datetime, retention_hours: int | None = None) -> Upkept:
    """Compact, vacuum, and remove raw segments whose spans are all in the tables.

    `retention_hours` is how long files that only old table versions need are kept; the setting says it otherwise.
    """
    kept_hours = home.settings.upkeep.vacuum_after_hours if retention_hours is None else retention_hours
    tables = maintain(home.lake, kept_hours)
    kept_days = home.settings.observe.retention_days
    if kept_days is None:
        return Upkept(tables, [])
    waiting = set(stale(home, "spans", now).partitions)
    done = [day for day in traffic_days(home) if str(day) not in waiting]
    return Upkept(tables, home.landing.expire(now - timedelta(days=kept_days), done))
