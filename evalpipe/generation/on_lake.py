"""Generation for one issue over the lake: read labels and traces, generate, keep the artifact and its figures."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from evalpipe.errors import NotEnoughEvidenceError, StateError
from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.catalog import current_evaluators, load, write_artifact
from evalpipe.evaluators.on_lake import features_of, labelled_traces, standing
from evalpipe.generation.examples import examples_for
from evalpipe.generation.generate import Generated, IssueRef, generate
from evalpipe.generation.triggers import Attempt, labels_fingerprint, waiting
from evalpipe.ids import evaluator_id
from evalpipe.lake.store import Lake
from evalpipe.settings import Settings
from evalpipe.tables import EVALUATOR_QUALITY, EVALUATORS, ISSUES, LABELS, SETTLED, TRACES


def generate_for_issue(lake: Lake, artifacts: Path, issue_id: str, *, settings: Settings, now: datetime) -> Generated:
    """Generate the next version of an issue's evaluator; the attempt is recorded whatever comes of it.

    Too little evidence is an answer (`artifact` is None and `reason` says what is missing), not an error.
    Raises StateError for an issue that does not exist.
    """
    issue = lake.read(ISSUES, pl.col("issue_id") == issue_id)
    if issue.is_empty():
        raise StateError(f"there is no issue {issue_id}. Run: evalpipe issues list")
    labels = lake.read(LABELS, SETTLED, pl.col("issue_id") == issue_id)
    attempted = labels_fingerprint(labels)
    made = _generate(lake, issue.row(0, named=True), labels, attempted, settings, now)
    rows = EVALUATORS.empty()
    if made.artifact is not None and made.replaces:
        write_artifact(artifacts, made.artifact)
        lake.append_new(EVALUATOR_QUALITY, made.quality)
        rows = _evaluator_row(made, made.artifact, attempted, now)
    n_positives = int(labels["is_failure"].sum())
    lake.append_new(EVALUATORS, rows, scope=issue_id, made_from=attempted, also={_positives(issue_id): n_positives})
    return made


def attempts(lake: Lake, issue_ids: Sequence[str]) -> dict[str, Attempt]:
    """The last attempt to generate for each issue, whether or not an evaluator came of it."""
    remembered = lake.made_from(EVALUATORS, [*issue_ids, *map(_positives, issue_ids)])
    return {
        issue_id: Attempt(labels, remembered[_positives(issue_id)])
        for issue_id in issue_ids
        if (labels := remembered[issue_id]) is not None
    }


def _positives(issue_id: str) -> str:
    return f"{issue_id}/n_positives"


def _generate(
    lake: Lake, issue: dict, labels: pl.DataFrame, attempted: int, settings: Settings, now: datetime
) -> Generated:
    earlier = lake.read(EVALUATORS, pl.col("issue_id") == issue["issue_id"]).sort("version")
    try:
        traces = labelled_traces(lake, labels)
        examples = examples_for(labels, traces, settings.generation, features_of(lake, traces))
        return generate(
            IssueRef(issue["issue_id"], issue["name"], sorted(issue["services"])),
            examples,
            incumbent=_incumbent(earlier),
            version=1 + (int(earlier["version"].max()) if earlier.height else 0),  # type: ignore[arg-type]
            labels_fingerprint=attempted,
            lake_versions={table.name: lake.version(table) or 0 for table in (LABELS, TRACES)},
            generation=settings.generation,
            quality=settings.quality,
            now=now,
        )
    except NotEnoughEvidenceError as missing:
        return Generated(None, "waiting", str(missing), replaces=False, quality=EVALUATOR_QUALITY.empty())


def _incumbent(earlier: pl.DataFrame) -> Artifact | None:
    current = current_evaluators(earlier)
    return load(current["artifact"][0], current["artifact_sha256"][0]) if current.height else None


def _evaluator_row(made: Generated, artifact: Artifact, attempted: int, now: datetime) -> pl.DataFrame:
    n_positives = int(artifact.quality["tp"]) + int(artifact.quality["fn"])
    n_negatives = int(artifact.quality["tn"]) + int(artifact.quality["fp"])
    return EVALUATORS.conform(
        pl.DataFrame(
            {
                "evaluator_id": evaluator_id(artifact.issue_id),
                "version": artifact.version,
                "issue_id": artifact.issue_id,
                "failure_mode": artifact.failure_mode,
                "kind": artifact.kind,
                "status": made.status,
                "artifact": artifact.to_json(),
                "artifact_sha256": artifact.sha256,
                "n_positives": n_positives,
                "n_negatives": n_negatives,
                "labels_fingerprint": attempted,
                "created_at": now,
                "reason": made.reason,
            }
        )
    )


def evaluator_overview(lake: Lake, settings: Settings) -> pl.DataFrame:
    """Every current evaluator as it stands today, then every active issue that has none, with the reason.

    Columns of `evaluators.on_lake.standing`; version, kind and figures are null where there is no evaluator.
    """
    known = standing(lake.read(EVALUATORS), lake.read(EVALUATOR_QUALITY), settings.quality)
    issues = lake.read(ISSUES, pl.col("state") == "active").join(known, on="issue_id", how="anti")
    reasons = {row.issue_id: row.reason for row in waiting(lake.read(LABELS, SETTLED), issues, settings.generation)}
    none = pl.DataFrame(
        {
            "issue_id": issues["issue_id"],
            "failure_mode": issues["name"],
            "status": ["none"] * issues.height,
            "reason": [reasons.get(issue, "due: evalpipe run generates it") for issue in issues["issue_id"]],
        },
        schema={"issue_id": pl.String, "failure_mode": pl.String, "status": pl.String, "reason": pl.String},
    )
    return pl.concat([known, none], how="diagonal")
