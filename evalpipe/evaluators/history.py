"""The life of evaluators from birth to retirement, as rows in the order of time. Pure; the command line shows it."""

import polars as pl

from evalpipe.quality.drift import demotions
from evalpipe.tables import UTC

HISTORY = pl.Schema(
    {
        "at": UTC,
        "issue_id": pl.String,
        "failure_mode": pl.String,
        "evaluator_id": pl.String,
        "version": pl.Int32,
        "what": pl.String,  # made, replaced, retired, restored, measured, demoted or caught
        "detail": pl.String,
        "mcc_held_out": pl.Float64,  # of a measurement
        "mcc_prequential": pl.Float64,  # likewise, over all versions
    }
)

_CAUGHT = ("new regression", "returned after resolution")


def history_frame(
    evaluators: pl.DataFrame,
    quality: pl.DataFrame,
    health: pl.DataFrame,
    gate_runs: pl.DataFrame,
    gate_results: pl.DataFrame,
) -> pl.DataFrame:
    """HISTORY rows of the evaluators in `evaluators` (EVALUATORS, all versions), the newest last.

    A version says why it replaced the last one; a measurement its held-out and prequential MCC; a gate what it caught.
    A demotion stands with the last measurement of its version, and as long as it lasts: EVALUATOR_HEALTH keeps no past.
    """
    names = evaluators.sort("version").group_by("evaluator_id").agg(pl.col("issue_id", "failure_mode").last())
    parts = [
        _versions(evaluators),
        _measurements(quality),
        _demotions(health, quality),
        _catches(gate_runs, gate_results),
    ]
    order = {"made": 0, "replaced": 0, "restored": 0, "measured": 1, "demoted": 2, "caught": 3, "retired": 4}
    return (
        pl.concat(parts, how="diagonal")
        .join(names, on="evaluator_id")
        .with_columns(rank=pl.col("what").replace_strict(order, return_dtype=pl.Int8))
        .sort("at", "evaluator_id", "version", "rank")
        .select(
            pl.col(name).cast(dtype) if name in ("mcc_held_out", "mcc_prequential") else name
            for name, dtype in HISTORY.items()
        )
    )


def _versions(evaluators: pl.DataFrame) -> pl.DataFrame:
    previous = pl.col("status").shift().over("evaluator_id", order_by="version")
    what = (
        pl.when(pl.col("status") == "retired")
        .then(pl.lit("retired"))
        .when(previous.is_null())
        .then(pl.lit("made"))
        .when((previous == "retired") & pl.col("reason").str.starts_with("restored by "))
        .then(pl.lit("restored"))
        .otherwise(pl.lit("replaced"))
    )
    made_from = pl.format("; {}, from {} failures and {} other traces", "kind", "n_positives", "n_negatives")
    is_made = pl.col("what").is_in(["made", "replaced"])
    return (
        evaluators.sort("evaluator_id", "version")
        .with_columns(what=what)
        .select(
            "evaluator_id",
            "version",
            "what",
            at="created_at",
            detail=pl.col("reason") + pl.when(is_made).then(made_from).otherwise(pl.lit("")),
        )
    )


def _measurements(quality: pl.DataFrame) -> pl.DataFrame:
    """One row a measurement of a version, whatever its splits."""
    of_split = {
        split: quality.filter(pl.col("split") == split).select(
            "evaluator_id",
            "version",
            "measured_at",
            pl.col("mcc").alias(f"mcc_{split}"),
            _in_words(name).alias(f"said_{split}"),
        )
        for split, name in (("held_out", "held out"), ("prequential", "prequential"))
    }
    key = ["evaluator_id", "version", "measured_at"]
    return (
        of_split["held_out"]
        .join(of_split["prequential"], on=key, how="left")
        .select(
            "evaluator_id",
            "version",
            "mcc_held_out",
            "mcc_prequential",
            what=pl.lit("measured"),
            at="measured_at",
            detail=pl.concat_str("said_held_out", "said_prequential", separator="; ", ignore_nulls=True),
        )
    )


def _in_words(split: str) -> pl.Expr:
    n = pl.col("tp") + pl.col("fp") + pl.col("tn") + pl.col("fn")
    figure = pl.col("mcc").round(2).cast(pl.String).fill_null("undefined")
    bounds = pl.format(" [{}, {}]", pl.col("mcc_lower").round(2), pl.col("mcc_upper").round(2)).fill_null("")
    return pl.format("MCC {} {}{} on {} labels", pl.lit(split), figure, bounds, n)


def _demotions(health: pl.DataFrame, quality: pl.DataFrame) -> pl.DataFrame:
    last = quality.group_by("evaluator_id", "version").agg(at=pl.col("measured_at").max())
    fallen = demotions(health).join(health.select("evaluator_id", "reason"), on="evaluator_id")
    return fallen.join(last, on=["evaluator_id", "version"]).select(
        "evaluator_id", "version", "at", what=pl.lit("demoted"), detail="reason"
    )


def _catches(gate_runs: pl.DataFrame, gate_results: pl.DataFrame) -> pl.DataFrame:
    release = (
        pl.when(pl.col("release").is_null())
        .then(pl.lit("cases from a file"))
        .otherwise(pl.format("release {}", "release"))
    )
    return (
        gate_results.filter(pl.col("outcome") == "failed", pl.col("link").is_in(_CAUGHT))
        .join(gate_runs.select("gate_id", "decided_at", "release"), on="gate_id")
        .select(
            "evaluator_id",
            "version",
            what=pl.lit("caught"),
            at="decided_at",
            detail=pl.format(
                "{} in {}: {} of {} cases", "link", release, "n_fail", pl.col("n_pass") + pl.col("n_fail")
            ),
        )
    )
