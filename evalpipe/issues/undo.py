"""Taking back what a person decided of issues: events stay, so the way back is one more event.

A merge is undone by a split, a split by a merge, a new name by the old one. That two issues are different stands.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from evalpipe.errors import StateError
from evalpipe.issues import decisions
from evalpipe.issues.on_lake import Command
from evalpipe.issues.replay import Issues, IssueState, replay, root_of

_OTHER = {"merged": "into", "split": "into", "renamed": "name", "kept_apart": "from"}


class Act(NamedTuple):
    """A person's decision that stands. `before` is its issue as it was then."""

    event_id: str
    kind: str  # merged, split, renamed or kept_apart
    before: IssueState
    other: str  # what the issue was merged with, split into, kept apart from (an id), or renamed to

    @property
    def can_be_undone(self) -> bool:
        return self.kind != "kept_apart"


def last_act(events: pl.DataFrame, author: str, *, since: datetime) -> Act | None:
    """The newest decision of this person in ISSUE_EVENTS that was not taken back, if it is no older than `since`."""
    ours = (
        events.filter(pl.col("author") == author, pl.col("at") >= since, pl.col("kind").is_in(list(_OTHER)))
        .sort("at", "event_id")
        .to_dicts()
    )
    told = [(event, json.loads(event["evidence"])) for event in ours]
    undone = {evidence.get("undoes") for _, evidence in told}
    standing = [each for each in told if "undoes" not in each[1] and each[0]["event_id"] not in undone]
    return _act(events, *standing[-1]) if standing else None


def undoing(act: Act) -> Command:
    """The command that takes `act` back: its event says which one it undoes.

    It raises StateError when what came after stands in the way.
    """

    def command(_: IssueState, issues: Issues, **by: Any) -> pl.DataFrame:
        by["evidence"] = {**(by.get("evidence") or {}), "undoes": act.event_id}
        issue = root_of(issues, act.before.issue_id)
        match act.kind:
            case "merged":
                return decisions.split(issue, act.before.modes, issues=issues, **by)
            case "split":
                return decisions.merge(root_of(issues, act.other), issue, **by)
            case "renamed":
                return decisions.rename(issue, act.before.name, issues=issues, **by)
            case _:
                raise StateError(
                    f"that {act.before.issue_id} and {act.other} are different stands. To make them one after all, "
                    f"run: evalpipe issues merge {act.before.issue_id} {act.other}"
                )

    return command


def _act(events: pl.DataFrame, event: Mapping[str, Any], evidence: Mapping[str, Any]) -> Act:
    is_earlier = (pl.col("at") < event["at"]) | (
        (pl.col("at") == event["at"]) & (pl.col("event_id") < event["event_id"])
    )
    before = replay(events.filter(is_earlier))[event["issue_id"]]
    return Act(event["event_id"], event["kind"], before, evidence[_OTHER[event["kind"]]])
