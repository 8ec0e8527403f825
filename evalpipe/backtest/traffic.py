"""The traffic of a backtest: which release followed which, how many traces each had. Frames in, frames out; pure."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from evalpipe.tables import UTC

TRAFFIC = pl.Schema(
    {
        "service_name": pl.String,
        "release": pl.String,  # service version; '' where the traces name none
        "hour": UTC,  # its start
        "n_traces": pl.Int64,
    }
)
"""Traces, judged or not, by release and hour."""

RELEASES = pl.Schema(
    {
        "service_name": pl.String,
        "release": pl.String,
        "first_seen": UTC,  # start of its first trace
        "before": pl.String,  # the release of the service that was first seen last before; null for its first
    }
)

SAID = pl.Schema(
    {
        "evaluator_id": pl.String,
        "version": pl.Int32,
        "issue_id": pl.String,
        "trace_id": pl.String,
        "at": UTC,  # start of the trace
        "release": pl.String,
        "is_flagged": pl.Boolean,
    }
)
"""What evaluators said of traces that people have read at some time."""


@dataclass(frozen=True)
class Seen:
    """What all versions in question say of all days in question: who may know what of it is decided in known.py."""

    counts: pl.DataFrame  # VERDICT_COUNTS
    said: pl.DataFrame  # SAID
    traffic: pl.DataFrame  # TRAFFIC
    releases: pl.DataFrame  # RELEASES, of all time


def release_order(first_seen: pl.DataFrame) -> pl.DataFrame:
    """RELEASES from service_name, release, first_seen."""
    return (
        first_seen.sort("service_name", "first_seen", "release")
        .with_columns(before=pl.col("release").shift(1).over("service_name"))
        .select(RELEASES.names())
    )


def newest_release(releases: pl.DataFrame, services: list[str], at: datetime) -> tuple[str, str] | None:
    """Service and name of the release that was first seen last of these services by `at`; None before any."""
    there = releases.filter(pl.col("service_name").is_in(services), pl.col("first_seen") <= at)
    return next(iter(there.sort("first_seen", "service_name").tail(1).select("service_name", "release").rows()), None)
