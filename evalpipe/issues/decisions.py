"""What people may decide of an issue: (the decision, the state of the issues) -> the event that says so.

What follows from the events is in replay.py, what the evidence decides without a person in lifecycle.py; reading and
writing in on_lake.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any

import polars as pl

from evalpipe.errors import StateError
from evalpipe.ids import IssueId, content_hash, issue_id, normalised_failure_mode
from evalpipe.issues.events import TICK, event
from evalpipe.issues.replay import ALLOWED_IN, Issues, IssueState
from evalpipe.tables import SEVERITIES

_NEEDED = {
    "renamed": "one that is not merged",
    "rated": "one that is not merged",
    "merged": "one that is not merged",
    "split": "one that is not merged",
    "kept_apart": "one that is not merged",
    "fix_claimed": "an active issue",
    "fix_withdrawn": "one that is said to be fixed",
    "resolved": "an open issue",
    "reopened": "a resolved one",
    "ignored": "an open issue",
    "unignored": "an ignored one",
}
_WAY_OUT = {  # what next, by the state that is in the way
    "candidate": "It is open: nothing is to be done.",
    "active": "It is open: nothing is to be done.",
    "fix_claimed": "It waits for the release with the fix: evalpipe issues show {}",
    "verifying": "People's annotations decide: evalpipe issues show {}",
    "resolved": "Run: evalpipe issues reopen {}",
    "ignored": "Run: evalpipe issues unignore {}",
    "merged": "Use the issue it was merged into: {}",
}


def find(issues: Issues, reference: str) -> IssueState:
    """The issue with this id, or the one that has this name or failure mode. Raises StateError when there is none."""
    if reference in issues:
        return issues[reference]
    mode = normalised_failure_mode(reference)
    for issue in issues.values():
        if mode in issue.modes:
            return issue
    raise StateError(f"no issue {reference!r}. Run: evalpipe issues list")


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
    return event(issue, "renamed", author=author, now=now, evidence={**(evidence or {}), "name": name.strip()})


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
    return event(issue, "merged", author=author, now=max(now, into.updated_at + TICK), evidence=evidence)


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
    return event(issue, "split", author=author, now=max(now, after + TICK), evidence=evidence)


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
    return event(issue, "kept_apart", author=author, now=max(now, other.updated_at + TICK), evidence=evidence)


def rate(
    issue: IssueState,
    severity: str,
    *,
    author: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """The event that says how bad one occurrence is. Raises StateError for a severity that there is not."""
    _require(issue, "rated", "rate")
    if severity not in SEVERITIES:
        raise StateError(f"there is no severity {severity!r}. Give one of: {', '.join(SEVERITIES)}")
    return event(issue, "rated", author=author, now=now, evidence={**(evidence or {}), "severity": severity})


def claim_fix(
    issue: IssueState,
    release: str | None,
    *,
    author: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """The event that says it is fixed in `release` (None: in the next one to be seen), which is then to be verified.

    Raises StateError unless the issue is active, or said to be fixed already.
    """
    said = {"release": release} if release else {}
    return _decided(issue, "fix_claimed", "fixed", author=author, now=now, evidence={**(evidence or {}), **said})


def withdraw_fix(
    issue: IssueState, *, author: str, now: datetime, evidence: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """The event that takes back that it is fixed. Raises StateError unless it is said to be."""
    return _decided(issue, "fix_withdrawn", "not-fixed", author=author, now=now, evidence=evidence)


def resolve(
    issue: IssueState, *, author: str, now: datetime, evidence: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """The event by which a person answers for it that the failure is gone, without verification.

    Raises StateError unless the issue is open.
    """
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


def _decided(
    issue: IssueState, kind: str, command: str, *, author: str, now: datetime, evidence: Mapping[str, Any] | None
) -> pl.DataFrame:
    _require(issue, kind, command)
    return event(issue, kind, author=author, now=now, evidence=evidence or {})


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
