"""Generation for one issue over the lake: read labels and traces, generate, keep the artifact and its figures."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from evalpipe.errors import NotEnoughEvidenceError, StateError
from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.catalog import current_evaluators, load, write_artifact
from evalpipe.evaluators.on_lake import features_of, labelled_traces, standing, view_of
from evalpipe.files import alone
from evalpipe.generation.examples import examples_for
from evalpipe.generation.generate import Generated, IssueRef, Known, generate
from evalpipe.generation.notes import notes_of
from evalpipe.generation.triggers import Attempt, labels_fingerprint, waiting
from evalpipe.ids import evaluator_id
from evalpipe.issues.grouping import mode_owners
from evalpipe.lake.store import Lake
from evalpipe.settings import Settings
from evalpipe.tables import (
    ANNOTATIONS,
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    ISSUE_EVENTS,
    ISSUES,
    LABELS,
    PREVALENCE,
    PRODUCTION,
    SETTLED,
    TRACE_FEATURES,
    TRACES,
    TRACKED,
)

_READ = (LABELS, TRACES, TRACE_FEATURES, ANNOTATIONS, ISSUE_EVENTS, PREVALENCE)
_MAX_BACKGROUND = 2_000  # traces that show what is usual: a share is then known to a hundredth


def generate_for_issue(lake: Lake, artifacts: Path, issue_id: str, *, settings: Settings, now: datetime) -> Generated:
    """Generate the next version of an issue's evaluator; the attempt is recorded whatever comes of it.

    Two that generate for one issue on this machine at once do so one after the other. Too little evidence is an answer
    (`artifact` is None and `reason` says what is missing), not an error.
    Raises StateError for an issue that does not exist.
    """
    issue = lake.read(ISSUES, pl.col("issue_id") == issue_id)
    if issue.is_empty():
        raise StateError(f"there is no issue {issue_id}. Run: evalpipe issues list")
    with alone(artifacts / "evaluators" / f".{issue_id}.lock"):
        return _generate_alone(lake, artifacts, issue.row(0, named=True), settings, now)


def _generate_alone(lake: Lake, artifacts: Path, issue: dict, settings: Settings, now: datetime) -> Generated:
    issue_id = issue["issue_id"]
    labels = lake.read(LABELS, SETTLED, pl.col("issue_id") == issue_id)
    attempted = labels_fingerprint(labels)
    before = attempts(lake, [issue_id]).get(issue_id)
    made = _generate(lake, issue, labels, attempted, settings, now)
    rows = EVALUATORS.empty()
    if made.artifact is not None and made.replaces:
        write_artifact(artifacts, made.artifact)
        lake.append_new(EVALUATOR_QUALITY, made.quality)
        rows = _evaluator_row(made, made.artifact, attempted, now)
    n_tried = before.n_interrupted if before is not None and before.labels_fingerprint == attempted else 0
    remembered = {
        _positives(issue_id): int(labels["is_failure"].sum()),
        _interrupted(issue_id): n_tried + 1 if made.is_interrupted else 0,
    }
    lake.append_new(EVALUATORS, rows, scope=issue_id, made_from=attempted, also=remembered)
    return made


def attempts(lake: Lake, issue_ids: Sequence[str]) -> dict[str, Attempt]:
    """The last attempt to generate for each issue, whether or not an evaluator came of it."""
    scopes = [scope for issue in issue_ids for scope in (issue, _positives(issue), _interrupted(issue))]
    remembered = lake.made_from(EVALUATORS, scopes)
    return {
        issue_id: Attempt(labels, remembered[_positives(issue_id)], remembered[_interrupted(issue_id)] or 0)
        for issue_id in issue_ids
        if (labels := remembered[issue_id]) is not None
    }


def _positives(issue_id: str) -> str:
    return f"{issue_id}/n_positives"


def _interrupted(issue_id: str) -> str:
    return f"{issue_id}/n_interrupted"


def _generate(
    lake: Lake, issue: dict, labels: pl.DataFrame, attempted: int, settings: Settings, now: datetime
) -> Generated:
    earlier = lake.read(EVALUATORS, pl.col("issue_id") == issue["issue_id"]).sort("version")
    try:
        traces = labelled_traces(lake, labels)
        return generate(
            IssueRef(issue["issue_id"], issue["name"], sorted(issue["services"])),
            examples_for(labels, traces, settings.generation, features_of(lake, traces)),
            incumbent=_incumbent(earlier),
            version=1 + (int(earlier["version"].max()) if earlier.height else 0),  # type: ignore[arg-type]
            labels_fingerprint=attempted,
            lake_versions={table.name: lake.version(table) or 0 for table in _READ},
            generation=settings.generation,
            quality=settings.quality,
            now=now,
            known=_known(lake, issue, labels, settings),
            llm=settings.llm,
            judges=settings.judges,
        )
    except NotEnoughEvidenceError as missing:
        return Generated(None, "waiting", str(missing), replaces=False, quality=EVALUATOR_QUALITY.empty())


def _known(lake: Lake, issue: dict, labels: pl.DataFrame, settings: Settings) -> Known:
    """What the lake says beside the labels: reviewers' words, the share of traffic that fails, what is usual."""
    annotations = lake.read(ANNOTATIONS, pl.col("trace_id").is_in(labels["trace_id"].unique().implode()))
    notes = notes_of(labels, annotations, mode_owners(lake.read(ISSUE_EVENTS)))
    # None seen among the few that were read by chance is no share that a figure could be said for.
    shares = lake.read(PREVALENCE, pl.col("issue_id") == issue["issue_id"], pl.col("prevalence") > 0)["prevalence"]
    return Known(
        notes,
        shares[0] if len(shares) else None,
        _background(lake, issue["services"], labels, settings.monitor.window_days),
    )


def _background(lake: Lake, services: Sequence[str], labels: pl.DataFrame, window_days: int) -> pl.DataFrame | None:
    """The view of some of the unlabelled traffic of these services, the newest of the days up to the newest label."""
    last = labels["day"].max()
    assert isinstance(last, date)
    unlabelled = lake.scan(TRACES).filter(
        pl.col("day").is_between(last - timedelta(days=window_days), last, closed="right"),
        pl.col("service_name").is_in(list(services)),
        PRODUCTION,
        ~pl.col("trace_id").is_in(labels["trace_id"].unique().implode()),
    )
    keys = unlabelled.select("day", "trace_id").collect()
    newest = keys.sort("day", "trace_id", descending=[True, False]).head(_MAX_BACKGROUND)
    if newest.is_empty():
        return None
    days, ids = (newest[name].unique().implode() for name in ("day", "trace_id"))
    return view_of(lake, lake.read(TRACES, pl.col("day").is_in(days), pl.col("trace_id").is_in(ids)))


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
    known = standing(lake.read(EVALUATORS), lake.read(EVALUATOR_QUALITY), settings.quality, lake.read(EVALUATOR_HEALTH))
    issues = lake.read(ISSUES, pl.col("state").is_in(TRACKED)).join(known, on="issue_id", how="anti")
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
