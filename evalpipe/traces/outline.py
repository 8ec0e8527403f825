"""SPANS -> the outline of each trace: the few figures that say whether its row has to be made again.

Made from narrow columns only, so that a day's outlines cost little beside the traces themselves (rollup.py).
"""

from datetime import UTC, datetime

import polars as pl

OUTLINE = pl.Schema(
    {
        "trace_id": pl.String,
        "day": pl.Date,  # of its earliest span
        "start_unix_ns": pl.Int64,
        "last_start_unix_ns": pl.Int64,  # of its latest span
        "session_id": pl.String,
        "turn_index": pl.Int32,  # position in its session from 0, among the traces read together
        "n_spans": pl.Int32,
        "is_open": pl.Boolean,
    }
)
"""Columns of an outline."""

ROOT_FIRST = pl.struct(pl.col("parent_span_id").is_not_null(), "start_unix_ns", "span_id")
"""Spans of a trace in the order in which their word counts: the root, then by start."""


def outline_frame(spans: pl.LazyFrame, *, now: datetime, quiet_s: int) -> pl.DataFrame:
    """One row a trace, in order of trace id, of the SPANS rows of a stretch of days.

    A trace is open until `quiet_s` after its last span ended: others may follow. It is closed all the same when
    nothing of it was received for so long, because a clock that is ahead must not keep it open.
    """
    return (
        spans.group_by("trace_id")
        .agg(
            pl.col("day").min(),
            pl.col("start_unix_ns").min(),
            pl.col("start_unix_ns").max().alias("last_start_unix_ns"),
            pl.col("session_id").sort_by(ROOT_FIRST).drop_nulls().first(),
            pl.col("span_id").n_unique().alias("n_spans"),
            keeps_open(now, quiet_s).any().alias("is_open"),
        )
        .with_columns(
            turn_index=pl.when(pl.col("session_id").is_not_null()).then(
                pl.struct("start_unix_ns", "trace_id").rank("ordinal").over("session_id") - 1
            )
        )
        .select(pl.col(name).cast(dtype) for name, dtype in OUTLINE.items())
        .sort("trace_id")
        .collect()
    )


def in_batches(outlines: pl.DataFrame, n_spans: int) -> list[pl.DataFrame]:
    """Outlines cut where their spans fill a batch; one at least. In order of start, a batch is a stretch of time."""
    number = (outlines["n_spans"].cum_sum() - 1) // n_spans
    cut = outlines.with_columns(_batch=number).partition_by("_batch", maintain_order=True, include_key=False)
    return cut or [outlines]


def keeps_open(now: datetime, quiet_s: int) -> pl.Expr:
    """Whether a span ended, and was received, so recently that its trace may still grow."""
    latest = pl.min_horizontal("end_unix_ns", pl.col("ingested_at").dt.epoch("ns"))
    return latest > unix_ns(now) - quiet_s * 10**9


def unix_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 of a moment, exact to its microsecond."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000
