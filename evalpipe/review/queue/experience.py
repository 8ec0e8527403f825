"""What people found in the traces that they read, and what this says of traces like them.

What makes traces alike is in patterns.py.
"""

import polars as pl

from evalpipe.review.annotations import effective_annotations
from evalpipe.review.queue.arms import DRAWN
from evalpipe.tables import TRUTH_SOURCES

HISTORY = pl.Schema(
    {
        "pattern_id": pl.String,
        "service_name": pl.String,
        "signal": pl.String,  # null where it is not known: of traces drawn at random
        "n_read": pl.Int64,
        "n_failures": pl.Int64,
    }
)
"""What was read of each pattern in earlier cycles."""

_PRIOR_READS = 5  # so many readings weigh as much as what was found in the wider group: five good ones halve a pattern


def finding_frame(annotations: pl.DataFrame) -> pl.DataFrame:
    """trace_id and is_failure of the traces on which people, or programs that know the outcome, said something.

    A trace is a failure when at least half of those who spoke of it call it bad or partial.
    """
    said = effective_annotations(annotations.filter(pl.col("label_source").is_in(TRUTH_SOURCES)))
    return (
        said.group_by("trace_id", "annotator")
        .agg(is_failure=(pl.col("verdict") != "good").any())
        .group_by("trace_id")
        .agg(is_failure=pl.col("is_failure").mean() >= 0.5)
        .sort("trace_id")
    )


def history_frame(queued: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """HISTORY of CANDIDATES rows, whose traces may stand there several times, and what was found in them."""
    is_signal = ~pl.col("queue").is_in(DRAWN)
    return (
        queued.with_columns(signal=pl.when(is_signal).then("queue"))
        .sort("signal", nulls_last=True)
        .unique("trace_id", keep="first", maintain_order=True)
        .join(findings, on="trace_id")
        .group_by("pattern_id", "service_name", "signal")
        .agg(n_read=pl.len().cast(pl.Int64), n_failures=pl.col("is_failure").sum().cast(pl.Int64))
        .match_to_schema(HISTORY)
    )


def experience(patterns: pl.DataFrame, history: pl.DataFrame) -> pl.DataFrame:
    """pattern_id and `experience`: how much more often than usual people found a failure in such traces; 1 unread.

    `patterns` has pattern_id, service_name, signal; `history` is as HISTORY says. A failure rate is the mean of a Beta
    posterior whose prior is the rate of the wider group, worth five readings: the pattern's within that of its service
    and signal, and this within all that was read. What was read and always good sinks, what failed rises.
    """
    usual = (int(history["n_failures"].sum()) + 1) / (int(history["n_read"].sum()) + 2)

    def found(keys: list[str]) -> pl.DataFrame:
        return history.group_by(keys).agg(pl.col("n_read", "n_failures").sum())

    def rate(wider: pl.Expr) -> pl.Expr:
        read, failures = pl.col("n_read").fill_null(0), pl.col("n_failures").fill_null(0)
        return (failures + _PRIOR_READS * wider) / (read + _PRIOR_READS)

    group = ["service_name", "signal"]
    return (
        patterns.join(found(group), on=group, how="left")
        .select("pattern_id", of_group=rate(pl.lit(usual)))
        .join(found(["pattern_id"]), on="pattern_id", how="left")
        .select("pattern_id", experience=rate(pl.col("of_group")) / usual)
    )
