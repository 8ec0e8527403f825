"""When each release was first seen in traffic, from the counts of verdicts: what charts over time are marked with."""

import polars as pl

RELEASES = pl.Schema({"service_name": pl.String, "service_version": pl.String, "first_day": pl.Date})
"""A release of a service, and the first UTC day on which a trace of it was judged."""


def release_frame(counts: pl.LazyFrame) -> pl.DataFrame:
    """RELEASES of VERDICT_COUNTS. The first release of a service is left out: it was there before anybody looked."""
    return (
        counts.filter(pl.col("service_version") != "")
        .group_by("service_name", "service_version")
        .agg(first_day=pl.col("day").min())
        .filter(pl.col("first_day") > pl.col("first_day").min().over("service_name"))
        .sort("first_day", "service_name", "service_version")
        .collect()
    )
