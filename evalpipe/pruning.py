"""Which evaluators have outlived their use, and retiring them: a last version that says so, never a deletion."""

from datetime import datetime, timedelta

import polars as pl

from evalpipe.evaluators.catalog import current_evaluators
from evalpipe.lake.store import Lake
from evalpipe.settings import MonitorSettings
from evalpipe.tables import EVALUATORS, ISSUES, LABELS, VERDICTS

STALE = pl.Schema({"evaluator_id": pl.String, "version": pl.Int32, "issue_id": pl.String, "reason": pl.String})
"""One row an evaluator to retire, with the reason in words."""


def prune(lake: Lake, settings: MonitorSettings, now: datetime) -> pl.DataFrame:
    """Retire what is stale and return it as STALE rows. A retired evaluator judges nothing; its history stays."""
    current = current_evaluators(lake.read(EVALUATORS))
    since = (now - timedelta(days=settings.stale_after_days)).date()
    columns = ("evaluator_id", "day", "outcome")
    verdicts = lake.scan(VERDICTS).filter(pl.col("day") >= since).select(columns).collect()
    stale = stale_evaluators(current, lake.read(ISSUES), verdicts, lake.read(LABELS), now=now, settings=settings)
    retired = current.drop("reason").join(stale.select("evaluator_id", "reason"), on="evaluator_id")
    if retired.height:
        last = retired.with_columns(version=pl.col("version") + 1, status=pl.lit("retired"), created_at=pl.lit(now))
        lake.append_new(EVALUATORS, last)
    return stale


def stale_evaluators(
    evaluators: pl.DataFrame,
    issues: pl.DataFrame,
    verdicts: pl.DataFrame,
    labels: pl.DataFrame,
    *,
    now: datetime,
    settings: MonitorSettings,
) -> pl.DataFrame:
    """STALE rows, by evaluator_id, of the current versions in `evaluators` (EVALUATORS).

    Stale is one whose issue was merged or ignored; and one, older than `settings.stale_after_days`, that judged
    traffic in that time and failed none of it while nobody annotated a failure of its issue. An evaluator that judged
    nothing is not stale: nothing was looked at. `verdicts` and `labels` are VERDICTS and LABELS of at least that time,
    of any version: what an earlier version caught counts too.
    """
    since = now - timedelta(days=settings.stale_after_days)
    recent = verdicts.filter(pl.col("day") >= since.date()).group_by("evaluator_id")
    seen = recent.agg(
        n_judged=(pl.col("outcome") != "fault").sum(),
        n_failed=(pl.col("outcome") == "fail").sum(),
    )
    annotated = (
        labels.filter(pl.col("is_failure") & (pl.col("labelled_at") >= since))
        .group_by("issue_id")
        .agg(n_labels=pl.len())
    )
    is_gone = pl.col("state").is_in(["merged", "ignored"])
    is_quiet = (
        (pl.col("created_at") < since)
        & (pl.col("n_judged").fill_null(0) > 0)
        & (pl.col("n_failed").fill_null(0) == 0)
        & pl.col("n_labels").is_null()
    )
    silence = pl.format(
        "failed none of {} traces and nobody annotated its failure in {} days",
        "n_judged",
        pl.lit(settings.stale_after_days),
    )
    return (
        evaluators.filter(pl.col("status") != "retired")
        .join(issues.select("issue_id", "state"), on="issue_id", how="left")
        .join(seen, on="evaluator_id", how="left")
        .join(annotated, on="issue_id", how="left")
        .with_columns(
            reason=pl.when(is_gone)
            .then(
                pl.format(
                    "its issue was {}",
                    pl.when(pl.col("state") == "merged").then(pl.lit("merged into another")).otherwise(pl.col("state")),
                )
            )
            .when(is_quiet)
            .then(silence)
        )
        .filter(pl.col("reason").is_not_null())
        .sort("evaluator_id")
        .select(pl.col(name).cast(dtype) for name, dtype in STALE.items())
    )
