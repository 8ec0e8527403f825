"""Issues over the lake: append what a person decides and what the evidence says, propose what seems to be one."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from evalpipe.issues.decisions import find
from evalpipe.issues.evidence import evidence_on, exposure_on, gather
from evalpipe.issues.lifecycle import transition, verification_of
from evalpipe.issues.replay import Issues, IssueState, replay
from evalpipe.lake.followed import Followed
from evalpipe.lake.store import Lake
from evalpipe.settings import IssueSettings, VerificationSettings
from evalpipe.tables import ISSUE_EVENTS, ISSUES, TRACKED, VERIFICATIONS

_MAX_STEPS = 8  # of one issue at once: the longest way round is six, and what is left follows with the next run

Command = Callable[..., pl.DataFrame]
"""(the issue, all issues, author=, now=, evidence=) -> its event: a function of decisions.py, or one made of it."""


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


def transitions(lake: Lake, settings: VerificationSettings) -> pl.DataFrame:
    """The ISSUE_EVENTS that the evidence in the lake calls for, in the order in which they follow from one another."""
    events = lake.read(ISSUE_EVENTS)
    issues = replay(events)
    watched = _watched(issues)
    gathered = gather(lake, watched)
    news = [ISSUE_EVENTS.empty()]
    for each in watched:
        issue = issues[each]
        evidence = evidence_on(issue, gathered, settings)
        for _ in range(_MAX_STEPS):
            event = transition(issue, evidence, settings)
            if event is None:
                break
            news.append(event)
            issue = replay(pl.concat([events, *news]))[each]
            # What was usual before a fix depends on when it was deployed; all else is known already.
            evidence = replace(evidence, exposure=exposure_on(issue, gathered))
    return pl.concat(news)


def verifications(lake: Lake, settings: VerificationSettings) -> pl.DataFrame:
    """VERIFICATIONS of the issues that are said to be fixed, or are solved, as they are now."""
    issues = replay(lake.read(ISSUE_EVENTS))
    gathered = gather(lake, _watched(issues))
    rows = []
    for each in _watched(issues):
        issue = issues[each]
        said = verification_of(issue, exposure_on(issue, gathered), settings)
        if said is not None:
            rows.append({"issue_id": each, "state": issue.state, **said._asdict()})
    return VERIFICATIONS.conform(pl.DataFrame(rows, infer_schema_length=None) if rows else VERIFICATIONS.empty())


def _watched(issues: Issues) -> list[str]:
    """The issues of which the evidence may say something, in order."""
    return sorted(issue.issue_id for issue in issues.values() if issue.state in (*TRACKED, "resolved"))
