"""Issues over the lake: append a person's decision, propose what seems to be one failure."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from evalpipe.issues.lifecycle import find
from evalpipe.issues.replay import IssueState, replay
from evalpipe.lake.followed import Followed
from evalpipe.lake.store import Lake
from evalpipe.settings import IssueSettings
from evalpipe.tables import ISSUE_EVENTS, ISSUES

Command = Callable[..., pl.DataFrame]
"""(the issue, all issues, author=, now=, evidence=) -> its event: a function of lifecycle.py, or one made of it."""


class Decision(NamedTuple):
    """What was decided: `issue` as it was before, the kind of the event and what it says (such as `into`)."""

    issue: IssueState
    kind: str
    evidence: Mapping[str, Any]


def decide(
    lake: Lake,
    reference: str,
    command: Command,
    *,
    author: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
) -> Decision:
    """Append the event that `command` makes of the issue with this id or name.

    It is decided on the very state that it is appended to: who comes second is told by the StateError of `command`.
    Raises LakeConflictError when other writers keep getting in first.
    """
    decided: list[Decision] = []

    def event_on(events: pl.DataFrame) -> pl.DataFrame:
        issues = replay(events)
        issue = find(issues, reference)
        event = command(issue, issues, author=author, now=now, evidence=evidence)
        decided.append(Decision(issue, event["kind"].item(), json.loads(event["evidence"].item())))
        return event

    Followed(lake, ISSUE_EVENTS).add(event_on)
    return decided[-1]


def propose(lake: Lake, annotations: pl.DataFrame, settings: IssueSettings) -> pl.DataFrame:
    """ISSUE_PROPOSALS for the issues as they are now; `annotations` are the effective ones."""
    from evalpipe.issues.discovery import proposals  # scikit-learn: a decision must not wait for it

    return proposals(lake.read(ISSUES), lake.read(ISSUE_EVENTS), annotations, settings)
