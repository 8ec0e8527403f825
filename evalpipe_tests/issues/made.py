"""Small annotations and issues for the tests of this room, in as few words as possible."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from evalpipe.ids import content_hash, issue_id
from evalpipe.issues.grouping import sightings
from evalpipe.issues.replay import IssueState, replay
from evalpipe.tables import ANNOTATIONS, ISSUE_EVENTS

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SLOW, RUDE = issue_id("slow"), issue_id("rude")


def later(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def said(*claims: tuple[Any, ...]) -> pl.DataFrame:
    """ANNOTATIONS rows from (trace number, failure mode, minute[, label source]); a mode of None is a good trace."""
    rows = [
        {
            "annotation_id": content_hash([str(part) for part in claim]),
            "trace_id": f"{claim[0]:032x}",
            "verdict": "bad" if claim[1] else "good",
            "failure_mode": claim[1],
            "annotator": "ada",
            "annotated_at": later(claim[2]),
            "label_source": claim[3] if len(claim) > 3 else "human",
        }
        for claim in claims
    ]
    return ANNOTATIONS.conform(pl.DataFrame(rows, schema_overrides={"failure_mode": pl.String}))


def issues_named(*modes: str) -> pl.DataFrame:
    """The events of these issues' first sightings, a minute apart from noon."""
    return sightings(said(*((i, mode, i) for i, mode in enumerate(modes))), ISSUE_EVENTS.empty())


def state(events: pl.DataFrame, issue: str = SLOW) -> IssueState:
    return replay(events)[issue]
