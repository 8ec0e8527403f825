"""The issue state machine: events -> states, evidence -> new events. Nobody edits a state; everything is an event.

Which failure mode belongs to which issue is asked in grouping.py; reading and writing are in defs/assets.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

from evalpipe.errors import StateError
from evalpipe.ids import IssueId, content_hash, normalised_failure_mode
from evalpipe.settings import IssueSettings
from evalpipe.tables import ISSUE_EVENTS, ISSUES, TRUTH_SOURCES

STATES = ("candidate", "active", "resolved", "ignored", "merged")
OPEN = ("candidate", "active")
PIPELINE = "pipeline"
"""The author of what no person decided."""

_ALLOWED_IN: dict[str, tuple[str, ...]] = {  # the states in which an event changes anything; elsewhere it is void
    "promoted": ("candidate",),
    "renamed": ("candidate", "active", "resolved", "ignored"),
    "merged": ("candidate", "active", "resolved", "ignored"),
    "resolved": OPEN,
    "reopened": ("resolved",),
    "ignored": OPEN,
    "unignored": ("ignored",),
}
_NEEDED = {
    "renamed": "one that is not merged",
    "merged": "one that is not merged",
    "resolved": "an open issue",
    "reopened": "a resolved one",
    "ignored": "an open issue",
    "unignored": "an ignored one",
}
_WAY_OUT = {  # what next, by the state that is in the way
    "candidate": "It is open: nothing is to be done.",
    "active": "It is open: nothing is to be done.",
    "resolved": "Run: evalpipe issues reopen {}",
    "ignored": "Run: evalpipe issues unignore {}",
    "merged": "Use the issue it was merged into: {}",
}
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class IssueState:
    """An issue after its events. `modes` are the normalised failure modes it owns, without those of merged issues."""

    issue_id: IssueId
    name: str
    state: str
    modes: tuple[str, ...]
    services: tuple[str, ...]
    first_seen_at: datetime
    updated_at: datetime
    merged_into: IssueId | None = None
    state_before_ignored: str | None = None
    has_returned: bool = False


class _Event(NamedTuple):
    issue_id: IssueId
    kind: str
    at: datetime
    evidence: Mapping[str, Any]


def replay(events: pl.DataFrame) -> dict[str, IssueState]:
    """The state of every issue, by issue_id, from ISSUE_EVENTS rows in any order, repeated or not.

    Events count in order of (at, event_id). One that the issue's state does not allow is void: of two people who
    decide at once, the earlier is followed.
    """
    states: dict[str, IssueState] = {}
    owners: dict[str, str] = {}  # by failure mode: the first issue that took it keeps it
    for event in _in_order(events):
        current = states.get(event.issue_id)
        following = _sighted(event, current) if event.kind == "sighted" else _after(event, current, states)
        if following is None:
            continue
        modes = tuple(mode for mode in following.modes if owners.setdefault(mode, event.issue_id) == event.issue_id)
        states[event.issue_id] = replace(following, modes=modes)
    return states


def root_of(issues: Mapping[str, IssueState], issue_id: str) -> IssueState:
    """The issue that `issue_id` has become by merges, or itself. Replayed merges never form a circle."""
    issue = issues[issue_id]
    while issue.merged_into is not None:
        issue = issues[issue.merged_into]
    return issue


def find(issues: Mapping[str, IssueState], reference: str) -> IssueState:
    """The issue with this id, or this name. Raises StateError when there is none."""
    if reference in issues:
        return issues[reference]
    mode = normalised_failure_mode(reference)
    for issue in sorted(issues.values(), key=lambda issue: issue.issue_id):
        if mode == normalised_failure_mode(issue.name) or mode in issue.modes:
            return root_of(issues, issue.issue_id)
    raise StateError(f"no issue {reference!r}. Run: evalpipe issues list")


def promotions(events: pl.DataFrame, annotations: pl.DataFrame, settings: IssueSettings) -> pl.DataFrame:
    """'promoted' events for the candidates that `promote_after` annotated traces show.

    `annotations` are effective ones; those of models do not count. An event is dated by the annotation that completed
    the number, so replaying the same evidence gives the same event.
    """
    n_needed = max(settings.promote_after, 1)
    issues = replay(events)
    reached = (
        _failures(issues, annotations)
        .group_by("issue_id", maintain_order=True)
        .agg(n=pl.len(), at=pl.col("at").slice(n_needed - 1, 1).first(), trace_ids=pl.col("trace_id").head(n_needed))
        .filter(pl.col("n") >= n_needed)
    )
    rows = [
        _event(
            issues[issue_id],
            "promoted",
            author=PIPELINE,
            now=at,
            evidence={"n_failures": n_needed, "trace_ids": trace_ids},
        )
        for issue_id, at, trace_ids in reached.select("issue_id", "at", "trace_ids").iter_rows()
        if issues[issue_id].state == "candidate"
    ]
    return pl.concat(rows) if rows else ISSUE_EVENTS.empty()


def issue_frame(events: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """ISSUES: the replayed state of every issue with what LABELS rows say of it, sorted by id.

    Flag: regressed, for an issue that is open again after a resolution.
    """
    issues = replay(events)
    states = pl.DataFrame(
        [
            {
                "issue_id": issue.issue_id,
                "name": issue.name,
                "state": issue.state,
                "flags": ["regressed"] if issue.has_returned and issue.state in OPEN else [],
                "merged_into": issue.merged_into,
                "seen_in": list(issue.services),
                "first_seen_at": issue.first_seen_at,
                "updated_at": issue.updated_at,
            }
            for issue in issues.values()
        ],
        schema={
            "issue_id": pl.String,
            "name": pl.String,
            "state": pl.String,
            "flags": pl.List(pl.String),
            "merged_into": pl.String,
            "seen_in": pl.List(pl.String),
            "first_seen_at": ISSUES.schema["first_seen_at"],
            "updated_at": ISSUES.schema["updated_at"],
        },
    )
    failures = (
        labels.filter("is_failure")
        .group_by("issue_id")
        .agg(
            n_failures=pl.len(),
            failing=pl.col("service_name").unique(),
            first_label_at=pl.col("labelled_at").min(),
            last_label_at=pl.col("labelled_at").max(),
        )
    )
    return ISSUES.conform(
        states.join(failures, on="issue_id", how="left")
        .with_columns(
            pl.col("n_failures").fill_null(0),
            services=pl.col("seen_in").list.set_union(pl.col("failing").fill_null([])).list.sort(),
            last_seen_at=pl.max_horizontal("first_seen_at", "last_label_at"),
            first_seen_at=pl.min_horizontal("first_seen_at", "first_label_at"),
        )
        .sort("issue_id")
    )


def rename(
    issue: IssueState,
    name: str,
    *,
    author: str,
    now: datetime,
    issues: Mapping[str, IssueState],
    evidence: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """The event that gives the issue another name; it keeps its failure modes and also owns the new one.

    Raises StateError when the name has no words or is another issue's failure mode.
    """
    _require(issue, "renamed", "rename")
    mode = normalised_failure_mode(name)
    if not mode:
        raise StateError(f"{name!r} has no words. Give issue {issue.issue_id} a name that says what goes wrong.")
    others = (other for other in issues.values() if other.issue_id != issue.issue_id)
    for other in others:
        if mode in other.modes and root_of(issues, other.issue_id).issue_id != issue.issue_id:
            raise StateError(
                f"{name!r} is already issue {other.issue_id}. If they are the same, run: "
                f"evalpipe issues merge {issue.issue_id} {other.issue_id}"
            )
    return _event(issue, "renamed", author=author, now=now, evidence={**(evidence or {}), "name": name.strip()})


def merge(
    issue: IssueState,
    into: IssueState,
    *,
    author: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """The event that hands the issue's failure modes to `into`, for good. Raises StateError when either is unfit."""
    _require(issue, "merged", "merge")
    if into.issue_id == issue.issue_id:
        raise StateError(f"issue {issue.issue_id} cannot be merged into itself. Name two issues.")
    if into.state == "merged":
        raise StateError(f"issue {into.issue_id} is merged itself. {_WAY_OUT['merged'].format(into.merged_into)}")
    evidence = {**(evidence or {}), "into": into.issue_id}
    return _event(issue, "merged", author=author, now=max(now, into.updated_at + _TICK), evidence=evidence)


def resolve(
    issue: IssueState, *, author: str, now: datetime, evidence: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """The event that declares the failure gone. Raises StateError unless the issue is open."""
    return _decided(issue, "resolved", "resolve", author=author, now=now, evidence=evidence)


def reopen(issue: IssueState, *, author: str, now: datetime, evidence: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """The event that makes a resolved issue active again. Raises StateError unless it is resolved."""
    return _decided(issue, "reopened", "reopen", author=author, now=now, evidence=evidence)


def ignore(issue: IssueState, *, author: str, now: datetime, evidence: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """The event that sets an open issue aside: no evaluator, no gate. Raises StateError unless it is open."""
    return _decided(issue, "ignored", "ignore", author=author, now=now, evidence=evidence)


def unignore(
    issue: IssueState, *, author: str, now: datetime, evidence: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """The event that takes an ignored issue up where it was. Raises StateError unless it is ignored."""
    return _decided(issue, "unignored", "unignore", author=author, now=now, evidence=evidence)


def sighted(
    issue_id: IssueId, *, failure_mode: str, at: datetime, trace_id: str, service_name: str | None = None
) -> pl.DataFrame:
    """The event an issue begins with: the first annotation that names its failure mode."""
    evidence = {"failure_mode": failure_mode, "trace_id": trace_id}
    return _row(issue_id, "sighted", PIPELINE, at, evidence | ({"service_name": service_name} if service_name else {}))


def _decided(
    issue: IssueState, kind: str, command: str, *, author: str, now: datetime, evidence: Mapping[str, Any] | None
) -> pl.DataFrame:
    _require(issue, kind, command)
    return _event(issue, kind, author=author, now=now, evidence=evidence or {})


def _require(issue: IssueState, kind: str, command: str) -> None:
    if issue.state not in _ALLOWED_IN[kind]:
        way_out = _WAY_OUT[issue.state].format(issue.merged_into or issue.issue_id)
        raise StateError(f"issue {issue.issue_id} is {issue.state}; {command} needs {_NEEDED[kind]}. {way_out}")


def _event(issue: IssueState, kind: str, *, author: str, now: datetime, evidence: Mapping[str, Any]) -> pl.DataFrame:
    # Strictly after what it answers to: a clock that runs behind must not put a decision before its cause.
    return _row(issue.issue_id, kind, author, max(now, issue.updated_at + _TICK), evidence)


def _row(issue_id: IssueId, kind: str, author: str, at: datetime, evidence: Mapping[str, Any]) -> pl.DataFrame:
    text = json.dumps(evidence, sort_keys=True, ensure_ascii=False)
    event_id = content_hash([issue_id, kind, at.isoformat(), author, text])
    row = {"event_id": event_id, "issue_id": issue_id, "kind": kind, "at": at, "author": author, "evidence": text}
    return ISSUE_EVENTS.conform(pl.DataFrame([row]))


def _in_order(events: pl.DataFrame) -> Iterable[_Event]:
    ordered = events.unique("event_id").sort("at", "event_id").select("issue_id", "kind", "at", "evidence")
    for issue_id, kind, at, evidence in ordered.iter_rows():
        yield _Event(IssueId(issue_id), kind, at, json.loads(evidence))


def _sighted(event: _Event, current: IssueState | None) -> IssueState | None:
    if current is not None:
        return None
    name, service = str(event.evidence["failure_mode"]), event.evidence.get("service_name")
    return IssueState(
        issue_id=event.issue_id,
        name=name,
        state="candidate",
        modes=(normalised_failure_mode(name),),
        services=(service,) if service else (),
        first_seen_at=event.at,
        updated_at=event.at,
    )


def _after(event: _Event, current: IssueState | None, issues: Mapping[str, IssueState]) -> IssueState | None:
    """The issue after an event; None when the event is void."""
    if current is None or current.state not in _ALLOWED_IN.get(event.kind, ()):
        return None
    issue = replace(current, updated_at=event.at)
    match event.kind:
        case "promoted":
            return replace(issue, state="active")
        case "renamed":
            name = str(event.evidence["name"])
            return replace(issue, name=name, modes=tuple(dict.fromkeys((*issue.modes, normalised_failure_mode(name)))))
        case "merged":
            into = issues.get(event.evidence["into"])
            is_fit = into is not None and into.state != "merged" and into.issue_id != issue.issue_id
            return replace(issue, state="merged", merged_into=into.issue_id) if into and is_fit else None
        case "resolved":
            return replace(issue, state="resolved")
        case "reopened":
            return replace(issue, state="active", has_returned=True)
        case "ignored":
            return replace(issue, state="ignored", state_before_ignored=issue.state)
        case _:  # unignored
            return replace(issue, state=issue.state_before_ignored or "candidate", state_before_ignored=None)


def _failures(issues: Mapping[str, IssueState], annotations: pl.DataFrame) -> pl.DataFrame:
    """issue_id, trace_id and at: the traces that show each issue, in order of their first claim."""
    owners = {mode: root_of(issues, issue.issue_id).issue_id for issue in issues.values() for mode in issue.modes}
    claims = annotations.filter(
        pl.col("label_source").is_in(TRUTH_SOURCES)
        & pl.col("failure_mode").is_not_null()
        & (pl.col("verdict") != "good")
    )
    names = claims["failure_mode"].unique()
    owned = pl.Series([owners.get(normalised_failure_mode(name)) for name in names], dtype=pl.String)
    return (
        claims.with_columns(issue_id=pl.col("failure_mode").replace_strict(names, owned, default=None))
        .filter(pl.col("issue_id").is_not_null())
        .group_by("issue_id", "trace_id")
        .agg(at=pl.col("annotated_at").min())
        .sort("issue_id", "at", "trace_id")
    )
