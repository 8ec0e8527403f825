"""EVALUATOR_HEALTH: does each evaluator still agree with people as it did when it was made?

What counts as a fall, and whose change it is, is decided in quality/drift.py; the traffic's change is measured in
signals/drift.py.
"""

from collections.abc import Collection
from datetime import datetime

import polars as pl

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.catalog import current_evaluators
from evalpipe.evaluators.measure import examples_of
from evalpipe.evaluators.on_lake import loaded, verdicts_on_labels
from evalpipe.lake.store import Lake
from evalpipe.quality.coverage import latest_quality
from evalpipe.quality.drift import Examples, Finding, finding_of
from evalpipe.settings import Settings
from evalpipe.tables import EVALUATOR_HEALTH, EVALUATOR_QUALITY, EVALUATORS, LABELS, SETTLED, TRAFFIC_DRIFT


def health_of_all(lake: Lake, settings: Settings) -> pl.DataFrame:
    """EVALUATOR_HEALTH of the current version of every evaluator, by evaluator_id, from the tables as they are."""
    labels, evaluators = lake.read(LABELS, SETTLED), lake.read(EVALUATORS)
    shifted = lake.read(TRAFFIC_DRIFT, pl.col("has_shifted"))["service_name"].unique().to_list()
    rows = [EVALUATOR_HEALTH.empty()]
    for artifact in loaded(current_evaluators(evaluators).sort("evaluator_id")):
        own = labels.filter(pl.col("issue_id") == artifact.issue_id)
        versions = evaluators.filter(pl.col("evaluator_id") == artifact.evaluator_id)
        said = verdicts_on_labels(lake, versions, own, settings).now
        measured = lake.read(EVALUATOR_QUALITY, pl.col("evaluator_id") == artifact.evaluator_id)
        rows.append(health_of(artifact, own, said, measured, shifted_services=shifted, settings=settings))
    return pl.concat(rows)


def health_of(
    artifact: Artifact,
    labels: pl.DataFrame,
    outcomes: pl.DataFrame,
    quality: pl.DataFrame,
    *,
    shifted_services: Collection[str],
    settings: Settings,
) -> pl.DataFrame:
    """The EVALUATOR_HEALTH row of one evaluator version.

    `labels` are those of its issue, `outcomes` (trace_id, outcome) what it says of labelled traces, `quality` its
    EVALUATOR_QUALITY. What it promised is the held-out prediction of each trace it was made from; new are traces it was
    not made from that were labelled after it was made. An evaluator without services judges all, so any that shifted
    counts.
    """
    made_at = datetime.fromisoformat(artifact.created_at)
    examples = examples_of(artifact, labels, outcomes).sort("labelled_at", "trace_id")
    promised = examples.filter(pl.col("held_out").is_not_null()).with_columns(is_flagged="held_out")
    recent = examples.filter(~pl.col("is_learned"), pl.col("is_flagged").is_not_null(), pl.col("labelled_at") > made_at)
    has_shifted = bool(set(shifted_services) & set(artifact.services) if artifact.services else shifted_services)
    found = finding_of(
        _columns(promised),
        _columns(recent),
        has_traffic_shifted=has_shifted,
        settings=settings.monitor,
        confidence=settings.quality.confidence,
        seed=settings.generation.seed,
    )
    return EVALUATOR_HEALTH.conform(
        pl.DataFrame(
            [
                {
                    "evaluator_id": artifact.evaluator_id,
                    "version": artifact.version,
                    "issue_id": artifact.issue_id,
                    "n_recent": recent.height,
                    "n_recent_failures": int(recent["is_failure"].sum()),
                    "has_traffic_shifted": has_shifted,
                    "confidence": settings.quality.confidence,
                }
                | _of_finding(found)
                | _prequential(quality)
            ],
            infer_schema_length=None,
        )
    )


def _columns(examples: pl.DataFrame) -> Examples:
    is_failure, is_flagged = (examples[name].cast(pl.Boolean).to_numpy() for name in ("is_failure", "is_flagged"))
    return Examples(is_failure, is_flagged, examples["group"].to_list())


def _of_finding(found: Finding) -> dict[str, object]:
    change = found.change
    lower, upper = change.interval or (None, None)
    return {
        "mcc_held_out": change.before,
        "mcc_recent": change.recent,
        "change": change.value,
        "change_lower": lower,
        "change_upper": upper,
        "finding": found.finding,
        "is_demoted": found.is_fall,
        "reason": found.reason,
    }


def _prequential(quality: pl.DataFrame) -> dict[str, object]:
    """The last prequential figures; they are those of all versions, whichever they are written under."""
    latest = latest_quality(quality, "prequential").sort("version").tail(1)
    if latest.is_empty():
        return {"n_prequential": 0}
    row = latest.row(0, named=True)
    return {
        "mcc_prequential": row["mcc"],
        "mcc_prequential_lower": row["mcc_lower"],
        "mcc_prequential_upper": row["mcc_upper"],
        "n_prequential": row["tp"] + row["fp"] + row["tn"] + row["fn"],
    }
