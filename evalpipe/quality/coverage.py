"""Coverage: which active issues have an evaluator that can be trusted, and how much of what goes wrong they stand for.

What makes an evaluator trusted is in trust.py; what to do about an uncovered issue is told in report/summary.py.
"""

from datetime import datetime
from typing import NamedTuple

import polars as pl

from evalpipe.quality.trust import status_of
from evalpipe.settings import QualitySettings
from evalpipe.tables import COVERAGE


class CoverageFigures(NamedTuple):
    """Coverage as a whole. A share of nothing is None, not zero."""

    n_active: int
    n_covered: int
    issue_share: float | None  # of the active issues, in [0, 1]
    occurrence_share: float | None  # of their annotated failures, in [0, 1]


def coverage_frame(
    issues: pl.DataFrame,
    evaluators: pl.DataFrame,
    quality: pl.DataFrame,
    rates: pl.DataFrame,
    *,
    now: datetime,
    settings: QualitySettings,
) -> pl.DataFrame:
    """COVERAGE of the active issues as of `now`, by issue_id.

    `evaluators` is EVALUATORS, current versions; `quality` is EVALUATOR_QUALITY, of which the latest held-out row of
    each version counts; `rates` is what `verdict_rates` gives. An issue is covered by an evaluator of at least
    monitoring quality; one below that is named, with its figures, but covers nothing.
    """
    measured = latest_quality(quality, "held_out").select(
        "evaluator_id", "version", "mcc", "mcc_lower", n_positives=pl.col("tp") + pl.col("fn")
    )
    checks = (
        evaluators.filter(pl.col("status") != "retired")
        .select("issue_id", "evaluator_id", "version")
        .sort("evaluator_id", "version")
        .unique("issue_id", keep="last", maintain_order=True)
        .join(measured, on=["evaluator_id", "version"], how="left", maintain_order="left")
        .join(rates, on=["evaluator_id", "version"], how="left", maintain_order="left")
    )
    figures = checks.select("mcc", "mcc_lower", pl.col("n_positives").fill_null(0)).rows()
    status = [status_of(mcc, mcc_lower, n_positives, settings) for mcc, mcc_lower, n_positives in figures]
    checks = checks.with_columns(status=pl.Series(status, dtype=pl.String))
    active = issues.filter(pl.col("state") == "active").sort("issue_id")
    n_occurrences = pl.col("n_failures")
    is_covered = pl.col("status").is_in(["active", "monitoring"]).fill_null(False)
    return COVERAGE.conform(
        active.join(checks, on="issue_id", how="left", maintain_order="left").with_columns(
            measured_at=pl.lit(now),
            is_covered=is_covered,
            n_occurrences=n_occurrences,
            # Issues that nobody has annotated a failure of weigh nothing.
            occurrence_share=(n_occurrences / n_occurrences.sum()).fill_nan(0.0),
            traffic_share=pl.when(is_covered & (pl.col("n_judged") > 0)).then(pl.col("n_failed") / pl.col("n_judged")),
        )
    )


def coverage_figures(coverage: pl.DataFrame) -> CoverageFigures:
    """The figures of one measurement: COVERAGE rows of one measured_at."""
    covered = coverage.filter("is_covered")
    n_occurrences = int(coverage["n_occurrences"].sum())
    return CoverageFigures(
        n_active=coverage.height,
        n_covered=covered.height,
        issue_share=covered.height / coverage.height if coverage.height else None,
        occurrence_share=int(covered["n_occurrences"].sum()) / n_occurrences if n_occurrences else None,
    )


def verdict_rates(verdicts: pl.DataFrame) -> pl.DataFrame:
    """evaluator_id, version, n_judged, n_failed from VERDICTS; a fault is no judgement."""
    return (
        verdicts.filter(pl.col("outcome") != "fault")
        .group_by("evaluator_id", "version")
        .agg(n_judged=pl.len().cast(pl.Int64), n_failed=(pl.col("outcome") == "fail").sum().cast(pl.Int64))
        .sort("evaluator_id", "version")
    )


def latest_quality(quality: pl.DataFrame, split: str) -> pl.DataFrame:
    """The last measurement of every evaluator version on one split: held_out, prospective or in_sample."""
    return (
        quality.filter(pl.col("split") == split)
        .sort("measured_at", "labels_fingerprint")
        .unique(["evaluator_id", "version"], keep="last", maintain_order=True)
        .sort("evaluator_id", "version")
    )
