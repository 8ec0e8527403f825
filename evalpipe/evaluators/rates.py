"""What verdicts say of traffic: counts by hour and release of a day, and week by week how common an issue is.

The statistics are in quality/prevalence.py; reading and writing in on_lake.py.
"""

from datetime import timedelta

import polars as pl

from evalpipe.quality.confusion import Confusion
from evalpipe.quality.coverage import latest_quality
from evalpipe.quality.prevalence import Judged, corrected_prevalence
from evalpipe.tables import ISSUE_RATES, VERDICT_COUNTS

N_WEEKS = 26  # half a year: as far back as a release can still be told from the season

_SEED = 0  # of the draws of an interval: the same counts give the same table


def count_frame(verdicts: pl.DataFrame, traces: pl.DataFrame) -> pl.DataFrame:
    """VERDICT_COUNTS of a day: its VERDICTS of all versions, and of its TRACES when and in which release they started.

    A trace that is no longer there counts nowhere. A fault is counted apart: it judged nothing.
    """
    started = traces.select(
        "trace_id",
        "start_unix_ns",
        "service_name",
        pl.col("service_version").fill_null(""),
        session=pl.coalesce("session_id", "trace_id"),
    )
    is_judged, is_flagged = pl.col("outcome") != "fault", pl.col("outcome") == "fail"
    weight = 1 / pl.col("inclusion_probability")

    def is_first(which: pl.Expr) -> pl.Expr:
        """Of those of its session."""
        at = pl.when(which).then("start_unix_ns")
        return at == at.min().over("evaluator_id", "version", "session")

    return VERDICT_COUNTS.conform(
        verdicts.join(started, on="trace_id")
        .with_columns(
            hour=pl.from_epoch("start_unix_ns", "ns").dt.hour(),
            opens_judged=is_first(is_judged).fill_null(False),
            opens_flagged=is_first(is_flagged).fill_null(False),
        )
        .group_by(VERDICT_COUNTS.key)
        .agg(
            pl.col("issue_id").first(),
            first_start_unix_ns=pl.col("start_unix_ns").min(),
            n_judged=is_judged.sum(),
            n_flagged=is_flagged.sum(),
            n_faults=(~is_judged).sum(),
            n_judged_sessions=pl.col("session").filter("opens_judged").n_unique(),
            n_flagged_sessions=pl.col("session").filter("opens_flagged").n_unique(),
            judged_weight=weight.filter(is_judged).sum(),
            flagged_weight=weight.filter(is_flagged).sum(),
            judged_weight_sq=(weight**2).filter(is_judged).sum(),
            flagged_weight_sq=(weight**2).filter(is_flagged).sum(),
        )
        .sort(VERDICT_COUNTS.key)
    )


def rate_frame(counts: pl.DataFrame, quality: pl.DataFrame, confidence: float) -> pl.DataFrame:
    """ISSUE_RATES from VERDICT_COUNTS and EVALUATOR_QUALITY: a row for each issue and week in which it was judged.

    A week is told by one version of the issue's evaluator: the newest that judged at least half as much of it as the
    one that judged most. An older one knows less of the issue; a newer one that saw a corner of the week, less of the
    week. Its errors are those last measured on held-out labels; without such there is a flagged share and no
    prevalence. Of the last N_WEEKS, the newest with counts included.
    """
    weeks = (
        counts.with_columns(first_day=pl.col("day").dt.truncate("1w"))
        .filter(pl.col("first_day") > pl.col("first_day").max() - timedelta(weeks=N_WEEKS))
        .group_by("issue_id", "first_day", "evaluator_id", "version")
        .agg(pl.col("n_judged", "n_flagged", *Judged._fields).sum())
        .filter(pl.col("n_judged") > 0)
        .filter(pl.col("n_judged") * 2 >= pl.col("n_judged").max().over("issue_id", "first_day"))
        .sort("issue_id", "first_day", "version", "evaluator_id")
        .unique(["issue_id", "first_day"], keep="last", maintain_order=True)
    )
    errors = latest_quality(quality, "held_out").select("evaluator_id", "version", *Confusion._fields)
    known = weeks.join(errors, on=["evaluator_id", "version"], how="left", maintain_order="left")
    return ISSUE_RATES.conform(
        known.with_columns(
            _prevalences(known, confidence),
            flagged_share=pl.col("flagged_weight") / pl.col("judged_weight"),
            tpr=_share("tp", "fn"),
            fpr=_share("fp", "tn"),
            confidence=pl.lit(confidence),
        )
    )


def _share(hits: str, others: str) -> pl.Expr:
    """Null without either."""
    n = pl.col(hits) + pl.col(others)
    return pl.when(n > 0).then(pl.col(hits) / n)


def _prevalences(weeks: pl.DataFrame, confidence: float) -> list[pl.Series]:
    """Of each row the prevalence and its bounds; null where the evaluator tells nothing or was never measured."""
    names = ("prevalence", "prevalence_lower", "prevalence_upper")
    found = [
        corrected_prevalence(Judged(*weights), Confusion(*errors), confidence=confidence, seed=_SEED)
        if None not in errors
        else None
        for weights, errors in zip(
            weeks.select(*Judged._fields).rows(),
            weeks.select(*Confusion._fields).rows(),
            strict=True,
        )
    ]
    return [
        pl.Series(name, [estimate and estimate[place] for estimate in found], dtype=pl.Float64)
        for place, name in enumerate(names)
    ]
