"""What was known at a moment of the past: the whole history in, its part before that moment out. Pure.

Nothing else in this room filters annotations, events, evaluators or quality by time: so nothing can look ahead.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from evalpipe.evaluators.on_lake import standing
from evalpipe.issues.replay import Issues, owners_of, replay
from evalpipe.review.labels import label_frame
from evalpipe.settings import Settings
from evalpipe.tables import VERDICT_COUNTS

_SILENT = ("ignored", "merged")  # nobody is told anything of an issue in these states

ANNOTATED = pl.Schema(
    {
        "trace_id": pl.String,
        "day": pl.Date,
        "session_id": pl.String,
        "service_name": pl.String,
        "release": pl.String,
        "is_random": pl.Boolean,  # the queue drew it without regard to what is in it
    }
)
"""A trace that somebody annotated."""


@dataclass(frozen=True)
class History:
    """Everything that carries a date, from first to last."""

    annotations: pl.DataFrame  # ANNOTATIONS
    annotated: pl.DataFrame  # ANNOTATED: the traces that these speak of
    events: pl.DataFrame  # ISSUE_EVENTS
    evaluators: pl.DataFrame  # EVALUATORS, all versions
    quality: pl.DataFrame  # EVALUATOR_QUALITY, all measurements


@dataclass(frozen=True)
class Known:
    """The part of a history before `at`; None: all of it."""

    at: datetime | None
    issues: Issues
    versions: pl.DataFrame  # evaluator_id, version, created_at of all versions that can judge
    suite: pl.DataFrame  # what `standing` gives of the current versions, of issues that anybody is told of
    labels: pl.DataFrame  # LABELS

    def counts(self, counts: pl.DataFrame, until: date, window_days: int) -> pl.DataFrame:
        """The VERDICT_COUNTS rows that there were: of versions made by then, of days before `until`, and no further
        back than a new version judges the past."""
        made = self.versions.select(
            "evaluator_id", "version", first=pl.col("created_at").dt.date() - timedelta(days=window_days)
        )
        rows = counts.join(made, on=["evaluator_id", "version"], maintain_order="left")
        return rows.filter(pl.col("day") >= pl.col("first"), pl.col("day") < until).select(VERDICT_COUNTS.column_names)

    @property
    def trusted(self) -> pl.DataFrame:
        """The rows of `suite` that judge traffic."""
        return self.suite.filter(pl.col("status") != "candidate")


def known_at(history: History, at: datetime | None, settings: Settings) -> Known:
    """What was known just before `at` (UTC); None: all that is known today.

    Demotions are not part of it: EVALUATOR_HEALTH keeps no past. An event counts from its date, which is that of its
    evidence: where the pipeline found it only later, it is known a little early.
    """

    def before(frame: pl.DataFrame, column: str) -> pl.DataFrame:
        return frame if at is None else frame.filter(pl.col(column) < at)

    issues = replay(before(history.events, "at"))
    owners = owners_of(issues)
    issue_of = pl.DataFrame(
        {"mode_key": list(owners), "issue_id": list(owners.values())},
        schema={"mode_key": pl.String, "issue_id": pl.String},
    )
    evaluators = before(history.evaluators, "created_at")
    suite = standing(evaluators, before(history.quality, "measured_at"), settings.quality)
    told = [issue.issue_id for issue in issues.values() if issue.state not in _SILENT]
    return Known(
        at=at,
        issues=issues,
        versions=evaluators.filter(pl.col("status") != "retired").select("evaluator_id", "version", "created_at"),
        suite=suite.filter(pl.col("issue_id").is_in(told)),
        labels=label_frame(before(history.annotations, "annotated_at"), history.annotated, issue_of, settings.review),
    )


def start_of(day: date) -> datetime:
    """Midnight UTC at which the day begins."""
    return datetime.combine(day, time(), UTC)


def mondays(first: date, last: date) -> list[date]:
    """The Mondays of the ISO weeks that the days from `first` to `last` lie in."""
    monday = first - timedelta(days=first.weekday())
    return [monday + timedelta(weeks=n) for n in range((last - monday).days // 7 + 1)]
