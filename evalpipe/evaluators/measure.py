"""How well an evaluator agrees with people: EVALUATOR_QUALITY rows, one per split.

The statistics are in quality/, what they are worth is decided in quality/trust.py.
"""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from evalpipe.evaluators.artifact import Artifact
from evalpipe.ids import fingerprint
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.quality.intervals import mcc_interval
from evalpipe.quality.trust import status_of
from evalpipe.settings import QualitySettings
from evalpipe.tables import EVALUATOR_QUALITY

__all__ = ["current_when_labelled", "examples_of", "labels_fingerprint", "measure", "prequential", "status_of"]


def measure(
    artifact: Artifact,
    labels: pl.DataFrame,
    outcomes: pl.DataFrame,
    *,
    now: datetime,
    quality: QualitySettings,
    seed: int,
) -> pl.DataFrame:
    """EVALUATOR_QUALITY rows of one evaluator version on the LABELS of its issue, as of `now`.

    `outcomes` (trace_id, outcome) is what this version says of labelled traces. Splits:
    held_out: of a trace it was made from, what a program that had not seen it said; of a later one, its outcome.
    prospective: traces it was not made from and that were labelled after it was made. in_sample: its outcomes on traces
    it was made from, which flatter.
    A split with nothing to count has no row. A label without a prediction is left out; a fault is counted apart.
    The interval is that of the figure of as many later traces, and resamples sessions (a trace without one stands for
    itself).
    """
    examples = examples_of(artifact, labels, outcomes)
    is_later = pl.col("held_out").is_null()
    out_of_fold = examples.with_columns(
        is_flagged=pl.coalesce("held_out", "is_flagged"), is_fault=pl.col("is_fault") & is_later
    )
    made_at = datetime.fromisoformat(artifact.created_at)
    splits = {
        "held_out": out_of_fold,
        "prospective": examples.filter(~pl.col("is_learned"), pl.col("labelled_at") > made_at),
        "in_sample": examples.filter("is_learned"),
    }
    return _rows(artifact, labels, splits, now=now, quality=quality, seed=seed)


def prequential(
    artifact: Artifact,
    labels: pl.DataFrame,
    outcomes: pl.DataFrame,
    *,
    now: datetime,
    quality: QualitySettings,
    seed: int,
) -> pl.DataFrame:
    """The EVALUATOR_QUALITY row of all versions together, on labels that each met before it could learn from them.

    `outcomes` (trace_id, outcome) is what the version said that `current_when_labelled` names. `artifact` is the newest
    version, which the row carries. Without such a label there is no row.
    """
    met = labels.join(outcomes.select("trace_id"), on="trace_id", how="semi")
    return _rows(
        artifact, labels, {"prequential": examples_of(artifact, met, outcomes)}, now=now, quality=quality, seed=seed
    )


def current_when_labelled(labels: pl.DataFrame, versions: pl.DataFrame, learned: pl.DataFrame) -> pl.DataFrame:
    """trace_id, version: of each label the version of its evaluator that was current when it was given.

    That is the newest one made before the label which did not learn from the trace. `versions` are EVALUATORS rows of
    one evaluator, `learned` (version, trace_id) what each was made from. A label that was given before the first
    version, or while the evaluator was retired, has none.
    """
    return (
        labels.select("trace_id", "labelled_at")
        .unique("trace_id", keep="last", maintain_order=True)
        .join(versions.select("version", "created_at", "status"), how="cross")
        .filter(pl.col("created_at") < pl.col("labelled_at"))
        .join(learned, on=["version", "trace_id"], how="anti")
        .sort("trace_id", "version")
        .unique("trace_id", keep="last", maintain_order=True)
        .filter(pl.col("status") != "retired")
        .select("trace_id", "version")
    )


def examples_of(artifact: Artifact, labels: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Labels with what is said of their traces, by trace_id.

    Columns: trace_id, labelled_at, is_failure, group (its session), is_fault, is_flagged (null for a fault, or where
    nothing was said), is_learned (it was made from the trace), held_out (what a program that had not seen it said).
    """
    made_from = pl.DataFrame(
        {"trace_id": list(artifact.held_out), "held_out": list(artifact.held_out.values())},
        schema={"trace_id": pl.String, "held_out": pl.Boolean},
    ).with_columns(is_learned=pl.lit(True))
    return (
        labels.unique("trace_id", keep="last", maintain_order=True)
        .join(made_from, on="trace_id", how="left")
        .join(outcomes.select("trace_id", "outcome").unique("trace_id", keep="last"), on="trace_id", how="left")
        .sort("trace_id")
        .select(
            "trace_id",
            "labelled_at",
            "is_failure",
            "held_out",
            pl.col("is_learned").fill_null(False),
            group=pl.coalesce("session_id", "trace_id"),
            is_fault=pl.col("outcome") == "fault",
            is_flagged=pl.when(pl.col("outcome") != "fault").then(pl.col("outcome") == "fail"),
        )
    )


def labels_fingerprint(labels: pl.DataFrame) -> int:
    """What LABELS rows of one issue say, as an integer: equal for equal labels in any order."""
    return fingerprint(labels.select("trace_id", "is_failure", "weight").sort("trace_id").rows())


def _rows(
    artifact: Artifact,
    labels: pl.DataFrame,
    splits: Mapping[str, pl.DataFrame],
    *,
    now: datetime,
    quality: QualitySettings,
    seed: int,
) -> pl.DataFrame:
    rows = [
        _figures(examples, quality, seed)
        | {
            "split": split,
            "evaluator_id": artifact.evaluator_id,
            "version": artifact.version,
            "issue_id": artifact.issue_id,
            "kind": artifact.kind,
            "measured_at": now,
            "labels_fingerprint": labels_fingerprint(labels),
        }
        for split, examples in splits.items()
        if examples.select(pl.col("is_flagged").is_not_null() | pl.col("is_fault")).to_series().any()
    ]
    return (
        EVALUATOR_QUALITY.conform(pl.DataFrame(rows, infer_schema_length=None)) if rows else EVALUATOR_QUALITY.empty()
    )


def _figures(examples: pl.DataFrame, quality: QualitySettings, seed: int) -> dict[str, object]:
    judged = examples.filter(pl.col("is_flagged").is_not_null())
    is_failure, is_flagged = judged["is_failure"].to_numpy(), judged["is_flagged"].to_numpy()
    counts = confusion(is_failure, is_flagged)
    correlation = mcc(counts)
    interval = None
    if correlation is not None:
        interval = mcc_interval(
            is_failure,
            is_flagged,
            judged["group"].to_list(),
            confidence=quality.confidence,
            evidence=quality.evidence,
            seed=seed,
        )
    return {
        **counts._asdict(),
        "n_faults": int(examples["is_fault"].fill_null(False).sum()),
        "mcc": correlation,
        "mcc_lower": None if interval is None else interval.lower,
        "mcc_upper": None if interval is None else interval.upper,
        "confidence": quality.confidence,
        "n_sessions": judged["group"].n_unique(),
    }
