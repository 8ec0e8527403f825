"""What became of the issues: ISSUE_EVENTS -> states. Nobody edits a state; everything is an event.

What people may decide is in decisions.py, what the evidence decides in lifecycle.py; how an event is written down in
events.py.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

from evalpipe.ids import IssueId, normalised_failure_mode
from evalpipe.tables import TRACKED

STATES = ("candidate", *TRACKED, "resolved", "ignored", "merged")
OPEN = ("candidate", *TRACKED)

_UNMERGED = (*OPEN, "resolved", "ignored")
ALLOWED_IN: dict[str, tuple[str, ...]] = {
    "promoted": ("candidate",),
    "renamed": _UNMERGED,
    "rated": _UNMERGED,
    "merged": _UNMERGED,
    "split": _UNMERGED,
    "kept_apart": _UNMERGED,
    "fix_claimed": TRACKED,
    "fix_withdrawn": ("fix_claimed", "verifying"),
    "deployed": ("fix_claimed",),
    "verified": ("verifying",),
    "refuted": ("verifying",),
    "resolved": OPEN,
    "reopened": ("resolved",),
    "recurred": ("resolved",),
    "escalated": TRACKED,
    "calmed": TRACKED,
    "ignored": OPEN,
    "unignored": ("ignored",),
}
"""The states in which an event changes anything; elsewhere it is void."""


@dataclass(frozen=True)
class IssueState:
    """An issue after its events.

    `modes` are the normalised failure modes that count for it, those of issues merged into it included; a merged issue
    has none. `standing` is its state, were it not merged. `kept_apart` are the issues that a person told from it, as
    they were called then: ask `pairs_kept_apart`.

    `active_since` is when the failure was last known to be there: promoted, refuted or returned. `fixed_in` is the
    release that is said to have fixed it, and `deployed_at` the start of its first trace.
    """

    issue_id: IssueId
    name: str
    standing: str
    modes: tuple[str, ...]
    services: tuple[str, ...]
    first_seen_at: datetime
    updated_at: datetime
    merged_into: IssueId | None = None
    kept_apart: tuple[IssueId, ...] = ()
    standing_before_ignored: str | None = None
    severity: str = "major"
    promoted_at: datetime | None = None
    active_since: datetime | None = None
    fixed_in: str | None = None
    fix_claimed_at: datetime | None = None
    deployed_at: datetime | None = None
    resolved_at: datetime | None = None
    has_returned: bool = False
    returned_in: str | None = None
    is_escalating: bool = False
    escalation_turned_at: datetime | None = None

    @property
    def state(self) -> str:
        """One of STATES."""
        return self.standing if self.merged_into is None else "merged"

    def flags(self, now: datetime, new_for: timedelta) -> list[str]:
        """Of new (promoted less than `new_for` ago), escalating and regressed (open again after it was resolved)."""
        is_new = self.promoted_at is not None and now - self.promoted_at < new_for and self.state in TRACKED
        has_regressed = self.has_returned and self.state in OPEN
        flags = {"new": is_new, "escalating": self.is_escalating, "regressed": has_regressed}
        return [flag for flag, is_set in flags.items() if is_set]


Issues = Mapping[str, IssueState]
"""Every issue by its id."""


class _Event(NamedTuple):
    issue_id: IssueId
    kind: str
    at: datetime
    evidence: Mapping[str, Any]


def replay(events: pl.DataFrame) -> dict[str, IssueState]:
    """The state of every issue, by issue_id, from ISSUE_EVENTS rows in any order, repeated or not.

    Events count in order of (at, event_id). One that the states do not allow is void: of two people who decide at
    once, the earlier is followed. So every failure mode has one owner, an issue that is not merged has at least the
    mode of its name, and `merged_into` always names an issue that is not merged.
    """
    issues: dict[str, IssueState] = {}
    owners: dict[str, str] = {}  # issue_id by failure mode
    for event in _in_order(events):
        for issue in _changed(event, issues, owners):
            issues[issue.issue_id] = issue
            owners.update(dict.fromkeys(issue.modes, issue.issue_id))
    return issues


def root_of(issues: Issues, issue_id: str) -> IssueState:
    """The issue that `issue_id` was merged into, or itself."""
    issue = issues[issue_id]
    return issue if issue.merged_into is None else issues[issue.merged_into]


def owners_of(issues: Issues) -> dict[str, IssueId]:
    """The issue that each normalised failure mode counts for."""
    return {mode: issue.issue_id for issue in issues.values() for mode in issue.modes}


def pairs_kept_apart(issues: Issues) -> set[frozenset[IssueId]]:
    """The pairs of issues that a person told apart, by saying so or by splitting one from the other.

    What was said of a merged issue holds for the one it was merged into, as long as it is.
    """
    pairs = (
        frozenset((root_of(issues, issue.issue_id).issue_id, root_of(issues, other).issue_id))
        for issue in issues.values()
        for other in issue.kept_apart
    )
    return {pair for pair in pairs if len(pair) == 2}


def _in_order(events: pl.DataFrame) -> Iterator[_Event]:
    ordered = events.unique("event_id").sort("at", "event_id").select("issue_id", "kind", "at", "evidence")
    for issue_id, kind, at, evidence in ordered.iter_rows():
        yield _Event(IssueId(issue_id), kind, at, json.loads(evidence))


def _changed(event: _Event, issues: Issues, owners: Mapping[str, str]) -> Sequence[IssueState]:
    """The issues that the event changes, as they are after it; none when it is void."""
    if event.kind == "sighted":
        return _sighted(event, issues, owners)
    before = issues.get(event.issue_id)
    if before is None or before.state not in ALLOWED_IN.get(event.kind, ()):
        return ()
    issue = replace(before, updated_at=event.at)
    match event.kind:
        case "promoted":
            return (replace(issue, standing="active", promoted_at=event.at, active_since=event.at),)
        case "renamed":
            return _renamed(issue, str(event.evidence["name"]), owners)
        case "merged":
            return _merged(issue, issues.get(event.evidence["into"]), issues)
        case "split":
            return _split(issue, event.evidence["modes"], event.evidence["into"], issues)
        case "kept_apart":
            return _kept_apart(issue, event.evidence["from"], issues)
        case "rated":
            return (replace(issue, severity=str(event.evidence["severity"])),)
        case "fix_claimed":
            return (_claimed(issue, event),)
        case "deployed":
            since = datetime.fromisoformat(event.evidence["since"])
            release = event.evidence.get("release") or issue.fixed_in
            return (replace(issue, standing="verifying", deployed_at=since, fixed_in=release),)
        case "fix_withdrawn" | "refuted":
            return (_active_again(issue, event),)
        case "verified" | "resolved":
            return (replace(_calm(issue, event), standing="resolved", resolved_at=event.at, returned_in=None),)
        case "reopened" | "recurred":
            back = replace(_active_again(issue, event), has_returned=True)
            return (replace(back, returned_in=event.evidence.get("release")),)
        case "escalated" | "calmed":
            return (replace(issue, is_escalating=event.kind == "escalated", escalation_turned_at=event.at),)
        case "ignored":
            return (replace(_calm(issue, event), standing="ignored", standing_before_ignored=issue.standing),)
        case _:  # unignored
            standing = issue.standing_before_ignored or "candidate"
            return (replace(issue, standing=standing, standing_before_ignored=None),)


def _claimed(issue: IssueState, event: _Event) -> IssueState:
    release = event.evidence.get("release")
    return replace(issue, standing="fix_claimed", fixed_in=release, fix_claimed_at=event.at, deployed_at=None)


def _active_again(issue: IssueState, event: _Event) -> IssueState:
    return replace(
        issue, standing="active", active_since=event.at, fixed_in=None, fix_claimed_at=None, deployed_at=None
    )


def _calm(issue: IssueState, event: _Event) -> IssueState:
    return replace(issue, is_escalating=False, escalation_turned_at=event.at) if issue.is_escalating else issue


def _sighted(event: _Event, issues: Issues, owners: Mapping[str, str]) -> Sequence[IssueState]:
    name, service = str(event.evidence["failure_mode"]), event.evidence.get("service_name")
    mode = normalised_failure_mode(name)
    if not mode or mode in owners or event.issue_id in issues:
        return ()
    return (_born(event.issue_id, name, [name], event.at, services=(service,) if service else ()),)


def _renamed(issue: IssueState, name: str, owners: Mapping[str, str]) -> Sequence[IssueState]:
    mode = normalised_failure_mode(name)
    if not mode or owners.get(mode, issue.issue_id) != issue.issue_id:
        return ()
    return (replace(issue, name=name, modes=_normalised([*issue.modes, mode])),)


def _merged(issue: IssueState, into: IssueState | None, issues: Issues) -> Sequence[IssueState]:
    if into is None or into.merged_into is not None or into.issue_id == issue.issue_id:
        return ()
    taken = (replace(other, merged_into=into.issue_id) for other in _merged_into(issue, issues))
    return (
        replace(issue, merged_into=into.issue_id, modes=()),
        replace(into, modes=(*into.modes, *issue.modes), updated_at=issue.updated_at),
        *taken,
    )


def _split(issue: IssueState, words: Sequence[str], into_id: IssueId, issues: Issues) -> Sequence[IssueState]:
    """The issue without these modes, and the one that has them now: a new one, or one that was merged into it."""
    into = issues.get(into_id)
    taken = _normalised(words)
    left = tuple(mode for mode in issue.modes if mode not in taken)
    is_fit = into is None or into.merged_into == issue.issue_id
    if not (is_fit and taken and left and set(taken) <= set(issue.modes)):
        return ()
    if into is None:
        made = _born(into_id, str(words[0]), taken, issue.updated_at)
    else:
        made = replace(_with_modes(into, taken, str(words[0])), merged_into=None, updated_at=issue.updated_at)
    kept = _with_modes(issue, left, left[0])
    # What had been merged goes where the failure mode of its name goes.
    moved = (
        replace(other, merged_into=into_id)
        for other in _merged_into(issue, issues)
        if other.issue_id != into_id and normalised_failure_mode(other.name) in taken
    )
    return (replace(kept, kept_apart=(*kept.kept_apart, into_id)), made, *moved)


def _kept_apart(issue: IssueState, other_id: IssueId, issues: Issues) -> Sequence[IssueState]:
    if other_id not in issues or other_id == issue.issue_id:
        return ()
    return (replace(issue, kept_apart=(*issue.kept_apart, other_id)),)


def _born(
    issue_id: IssueId, name: str, modes: Sequence[str], at: datetime, services: tuple[str, ...] = ()
) -> IssueState:
    return IssueState(
        issue_id=issue_id,
        name=name,
        standing="candidate",
        modes=_normalised(modes),
        services=services,
        first_seen_at=at,
        updated_at=at,
    )


def _with_modes(issue: IssueState, modes: tuple[str, ...], name: str) -> IssueState:
    """The issue with these modes; it keeps its name when it keeps the mode of its name."""
    keeps = normalised_failure_mode(issue.name) in modes
    return replace(issue, modes=modes, name=issue.name if keeps else name)


def _merged_into(issue: IssueState, issues: Issues) -> list[IssueState]:
    return [other for other in issues.values() if other.merged_into == issue.issue_id]


def _normalised(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(normalised_failure_mode(text) for text in words))
