"""What the evidence decides of an issue, without a person: (issue, evidence) -> the event that follows, if any. Pure.

What people decide is in decisions.py, what becomes of the issue in replay.py. An event is dated by the evidence that
completes it, so that the same evidence always gives the same event, whenever it is looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

import polars as pl

from evalpipe.issues.claims import claims_of
from evalpipe.issues.events import PIPELINE, event
from evalpipe.issues.exposure import Exposure
from evalpipe.issues.recurrence import recurrence
from evalpipe.issues.replay import IssueState, replay
from evalpipe.issues.resolution import Verification, first_proof, verify
from evalpipe.quality.surges import Turn
from evalpipe.settings import IssueSettings, VerificationSettings
from evalpipe.tables import ISSUE_EVENTS, TRACKED


class GateSaid(NamedTuple):
    """What a gate said of an issue: its evaluator passed or failed."""

    gate_id: str
    decided_at: datetime
    release: str | None
    has_passed: bool


@dataclass(frozen=True)
class Evidence:
    """All that is known of one issue, whatever its state; `gates` and `turns` in order of time."""

    exposure: Exposure
    gates: Sequence[GateSaid] = ()
    turns: Sequence[Turn] = ()


def transition(issue: IssueState, evidence: Evidence, settings: VerificationSettings) -> pl.DataFrame | None:
    """The next thing that the evidence says of the issue, as one ISSUE_EVENTS row; None when it says nothing new.

    An active issue is claimed to be fixed when a gate passes that had failed for it; deployed when a trace of that
    release is seen; verified or refuted by traffic and people (resolution.py); a solved one has recurred by traffic
    (recurrence.py). Escalating and calm again are told of every tracked issue. Ask again with the state that follows.
    """
    found = _of_state(issue, evidence, settings)
    if found is None and issue.state in TRACKED:
        found = _turned(issue, evidence.turns)
    if found is None:
        return None
    return event(issue, found.kind, author=PIPELINE, now=found.at, evidence=found.evidence)


class _Found(NamedTuple):
    kind: str
    at: datetime
    evidence: dict[str, Any]


def _of_state(issue: IssueState, evidence: Evidence, settings: VerificationSettings) -> _Found | None:
    match issue.state:
        case "active":
            return _fix_claimed(issue, evidence.gates)
        case "fix_claimed":
            either = (_fix_withdrawn(issue, evidence.gates), _deployed(issue, evidence.exposure))
            return min((found for found in either if found is not None), key=lambda found: found.at, default=None)
        case "verifying":
            return _verified(issue, evidence.exposure, settings)
        case "resolved":
            return _recurred(issue, evidence.exposure, settings)
        case _:
            return None


def _fix_claimed(issue: IssueState, gates: Sequence[GateSaid]) -> _Found | None:
    """The first gate that passed since the failure was last known to be there, and right after one that failed."""
    for before, gate in pairwise(gates):
        is_news = issue.active_since is None or gate.decided_at > issue.active_since
        if is_news and gate.has_passed and not before.has_passed:
            said = {"gate_id": gate.gate_id, "failed_gate_id": before.gate_id}
            return _Found("fix_claimed", gate.decided_at, said | _named(gate.release))
    return None


def _fix_withdrawn(issue: IssueState, gates: Sequence[GateSaid]) -> _Found | None:
    """A gate failed again before the fix was deployed, whatever release it judged: the next that passes claims anew."""
    for gate in gates:
        is_later = issue.fix_claimed_at is not None and gate.decided_at > issue.fix_claimed_at
        if is_later and not gate.has_passed:
            return _Found("fix_withdrawn", gate.decided_at, {"gate_id": gate.gate_id} | _named(gate.release))
    return None


def _deployed(issue: IssueState, exposure: Exposure) -> _Found | None:
    """A trace of the claimed release was seen; where none is named, of the first one that is new since the claim.

    Traces that name no release are all that there is to see where an application names none.
    """
    hours = exposure.hours
    if issue.fixed_in is None:
        hours = hours.filter((pl.col("release") != "") | (pl.col("at") >= issue.fix_claimed_at))
    first = hours.group_by("release").agg(pl.col("at").min()).sort("at", "release")
    is_it = pl.col("at") >= issue.fix_claimed_at if issue.fixed_in is None else pl.col("release") == issue.fixed_in
    for release, since in first.filter(is_it).head(1).select("release", "at").iter_rows():
        return _Found("deployed", since, {"since": since.isoformat()} | _named(release))
    return None


def _verified(issue: IssueState, exposure: Exposure, settings: VerificationSettings) -> _Found | None:
    said = first_proof(issue.fixed_in, issue.deployed_at, exposure, settings)
    back = _back_before_proof(issue, exposure, settings)
    if back is not None and (said is None or said.decided_at is None or back.at <= said.decided_at):
        return back
    if said is None or said.decided_at is None:
        return None
    kind = "verified" if said.finding == "solved" else "refuted"
    return _Found(kind, said.decided_at, _figures(said))


def _back_before_proof(issue: IssueState, exposure: Exposure, settings: VerificationSettings) -> _Found | None:
    """A release after the fixed one shows the failure again. The quiet of the one before must not hide it, nor may it
    hide that the fix was one."""
    if issue.deployed_at is None:
        return None
    fixed, *later = exposure.releases_from(issue.deployed_at) or [""]
    since = issue.deployed_at
    said = recurrence(since, exposure.of(later, since), exposure.of([fixed], since), settings)
    if said.at is None:
        return None
    known = verify(issue.fixed_in, issue.deployed_at, exposure.known_at(said.at), settings)
    why = {"finding": "returned", "reason": f"back before the fix was proven: {said.reason}"}
    return _Found("refuted", said.at, _figures(known) | why | _named(said.release))


def _recurred(issue: IssueState, exposure: Exposure, settings: VerificationSettings) -> _Found | None:
    if issue.resolved_at is None:
        return None
    said = recurrence(*since_resolved(issue, exposure), settings)
    if said.at is None:
        return None
    names = ("reason", "n_exposed", "n_flagged", "n_confirmed")
    figures = {name: getattr(said, name) for name in names} | {"error": settings.recurrence_error}
    return _Found("recurred", said.at, figures | _named(said.release))


def since_resolved(issue: IssueState, exposure: Exposure) -> tuple[datetime, Exposure, Exposure]:
    """When it was solved, the traffic since, and the traffic of its absence before, in which it was verified."""
    assert issue.resolved_at is not None
    releases = exposure.hours["release"].unique().to_list()
    absence = exposure.of([], issue.resolved_at)
    if issue.deployed_at is not None:
        absence = exposure.of(exposure.releases_from(issue.deployed_at), issue.deployed_at, issue.resolved_at)
    return issue.resolved_at, exposure.of(releases, issue.resolved_at), absence


def _turned(issue: IssueState, turns: Sequence[Turn]) -> _Found | None:
    """The first turn since the issue was last said to escalate or to be calm, if it is another than that."""
    since = max((at for at in (issue.escalation_turned_at, issue.promoted_at) if at is not None), default=None)
    for turn in turns:
        if (since is None or turn.at > since) and turn.is_escalating != issue.is_escalating:
            kind = "escalated" if turn.is_escalating else "calmed"
            return _Found(kind, turn.at, {"n_flagged": turn.observed, "n_usual": round(turn.expected, 2)})
    return None


def _figures(said: Verification) -> dict[str, Any]:
    names = ("finding", "reason", "n_exposed", "n_flagged", "n_hits_read", "n_hits_confirmed", "n_passes_read")
    names += ("n_passes_failing", "rate_before", "rate_upper", "target_rate", "confidence")
    return {name: getattr(said, name) for name in names} | {"releases": list(said.releases)}


def _named(release: str | None) -> dict[str, str]:
    return {"release": release} if release else {}


def verification_of(issue: IssueState, exposure: Exposure, settings: VerificationSettings) -> Verification | None:
    """What an issue that is said to be fixed, or is solved, is waiting for; None for any other."""
    match issue.state:
        case "fix_claimed" | "verifying":
            since = issue.deployed_at if issue.state == "verifying" else None
            return verify(issue.fixed_in, since, exposure, settings)
        case "resolved":
            said = recurrence(*since_resolved(issue, exposure), settings)
            proof = verify(issue.fixed_in, issue.deployed_at, exposure, settings)
            finding = "quiet" if said.at is None else "returned"
            return proof._replace(finding=finding, reason=said.reason)
        case _:
            return None


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
        event(
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
