"""Who may decide what: a person's decision, or the evidence, and the state of the issues -> the event that says so.

What became of the issues is in replay.py, which failure modes are new in grouping.py; reading and writing in
on_lake.py.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import polars as pl

from evalpipe.errors import StateError
from evalpipe.ids import IssueId, content_hash, issue_id, normalised_failure_mode
from evalpipe.issues.claims import claims_of
from evalpipe.issues.replay import ALLOWED_IN, OPEN, Issues, IssueState, replay
from evalpipe.settings import IssueSettings
from evalpipe.tables import ISSUE_EVENTS, ISSUES

PIPELINE = "pipeline"
"""The author of what no person decided."""

_NEEDED = {
    "renamed": "one that is not merged",
    "merged": "one that is not merged",
    "split": "one that is not merged",
    "kept_apart": "one that is not merged",
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


def find(issues: Issues, reference: str) -> IssueState:
    """The issue with this id, or the one that has this name or failure mode. Raises StateError when there is none."""
    if reference in issues:
        return issues[reference]
    mode = normalised_failure_mode(reference)
    for issue in issues.values():
        if mode in issue.modes:
            return issue
    raise StateError(f"no issue {reference!r}. Run: evalpipe issues list")


def promotions(events: pl.DataFrame, annotations: pl.DataFrame, settings: IssueSettings) -> pl.DataFrame:
    """'promoted' events for the candidates that `promote_after` annotated traces show.

    `annotations` are effective ones; those of models do not count. An event is dated by the annotation that completed
    the number, so replaying the same evidence gives the same event.
    """
    n_needed = max(settings.promote_after, 1)
    issues = replay(events)
    reached = (
        claims_of(annotations, issues)
        .filter(pl.col("issue_id").is_not_null())
        .group_by("issue_id", "trace_id")
        .agg(at=pl.col("annotated_at").min())
        .sort("issue_id", "at", "trace_id")
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
    issues: Issues,
    evidence: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """The event that gives the issue another name; it keeps its failure modes and also owns the new one.

    Raises StateError when the name has no words or is another issue's failure mode.
    """
    _require(issue, "renamed", "rename")
    mode = normalised_failure_mode(name)
    if not mode:
        raise StateError(f"{name!r} has no words. Give issue {issue.issue_id} a name that says what goes wrong.")
    for other in issues.values():
        if mode in other.modes and other.issue_id != issue.issue_id:
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
    """The event that hands the issue's failure modes to `into`; `split` gives them back.

    Raises StateError when either is unfit.
    """
    _require_two(issue, into, "merged", "merge")
    evidence = {**(evidence or {}), "into": into.issue_id}
    return _event(issue, "merged", author=author, now=max(now, into.updated_at + _TICK), evidence=evidence)


def split(
    issue: IssueState,
    modes: Sequence[str],
    *,
    author: str,
    now: datetime,
    issues: Issues,
    evidence: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """The event that takes these failure modes out of the issue into one of their own.

    Annotations in these words count for that issue from then on, and it is not proposed for a merge with this one. It
    has the id that the first mode gives; so a mode that came by a merge goes back to the issue that was merged, in the
    state it had. Raises StateError when a mode is not the issue's, or none would be left.
    """
    _require(issue, "split", "split")
    asked = {normalised_failure_mode(mode): mode.strip() for mode in modes}
    has = f"Issue {issue.issue_id} has {_listed(issue.modes)}."
    if not asked:
        raise StateError(f"split needs a failure mode to take out. {has}")
    if strange := [words for mode, words in asked.items() if mode not in issue.modes]:
        raise StateError(f"{_listed(strange)}: not of issue {issue.issue_id}. {has}")
    if len(asked) == len(issue.modes):
        raise StateError(f"issue {issue.issue_id} would have no failure mode left. {has} Leave it one of them.")
    ids = _ids_for(next(iter(asked)), issue)
    into = next(each for each in ids if each not in issues or issues[each].merged_into == issue.issue_id)
    after = max(issues[each].updated_at for each in (issue.issue_id, into) if each in issues)
    evidence = {**(evidence or {}), "modes": list(asked.values()), "into": into}
    return _event(issue, "split", author=author, now=max(now, after + _TICK), evidence=evidence)


def keep_apart(
    issue: IssueState,
    other: IssueState,
    *,
    author: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """The event that says the two are different failures: they are not proposed for a merge again, in either order.

    Raises StateError when either is unfit. A later merge of the two by a person is followed all the same.
    """
    _require_two(issue, other, "kept_apart", "keep-apart")
    evidence = {**(evidence or {}), "from": other.issue_id}
    return _event(issue, "kept_apart", author=author, now=max(now, other.updated_at + _TICK), evidence=evidence)


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
    if issue.state not in ALLOWED_IN[kind]:
        way_out = _WAY_OUT[issue.state].format(issue.merged_into or issue.issue_id)
        raise StateError(f"issue {issue.issue_id} is {issue.state}; {command} needs {_NEEDED[kind]}. {way_out}")


def _require_two(issue: IssueState, other: IssueState, kind: str, command: str) -> None:
    for each in (issue, other):
        _require(each, kind, command)
    if other.issue_id == issue.issue_id:
        raise StateError(f"{command} needs two issues, and both are {issue.issue_id}. Name another one.")


def _ids_for(mode: str, issue: IssueState) -> Iterator[IssueId]:
    """The ids that a mode taken out of the issue may go by, the usual one first: another issue may have that."""
    yield issue_id(mode)
    yield from (IssueId("iss_" + content_hash([mode, issue.issue_id, n], 10)) for n in count(1))


def _listed(modes: Sequence[str]) -> str:
    return ", ".join(repr(mode) for mode in modes)


def _event(issue: IssueState, kind: str, *, author: str, now: datetime, evidence: Mapping[str, Any]) -> pl.DataFrame:
    # Strictly after what it answers to: a clock that runs behind must not put a decision before its cause.
    return _row(issue.issue_id, kind, author, max(now, issue.updated_at + _TICK), evidence)


def _row(issue_id: IssueId, kind: str, author: str, at: datetime, evidence: Mapping[str, Any]) -> pl.DataFrame:
    text = json.dumps(evidence, sort_keys=True, ensure_ascii=False)
    event_id = content_hash([issue_id, kind, at.isoformat(), author, text])
    row = {"event_id": event_id, "issue_id": issue_id, "kind": kind, "at": at, "author": author, "evidence": text}
    return ISSUE_EVENTS.conform(pl.DataFrame([row]))
