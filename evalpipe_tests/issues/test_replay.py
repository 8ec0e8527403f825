import json
from collections.abc import Callable

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import StateError
from evalpipe.ids import IssueId, content_hash, normalised_failure_mode
from evalpipe.issues.decisions import keep_apart, merge, rename, split
from evalpipe.issues.events import sighted
from evalpipe.issues.replay import ALLOWED_IN, STATES, IssueState, owners_of, pairs_kept_apart, replay, root_of
from evalpipe.tables import ISSUE_EVENTS, SEVERITIES, TRACKED
from evalpipe_tests.issues.made import issues_named, later

NEXT: dict[str, set[str]] = {  # the whole machine: which state may follow which
    "candidate": {"active", "resolved", "ignored", "merged"},
    "active": {"fix_claimed", "resolved", "ignored", "merged"},
    "fix_claimed": {"active", "verifying", "resolved", "ignored", "merged"},
    "verifying": {"active", "fix_claimed", "resolved", "ignored", "merged"},
    "resolved": {"active", "merged"},
    "ignored": {"candidate", "active", "fix_claimed", "verifying", "merged"},
    # By a split, to what it was.
    "merged": {"candidate", "active", "fix_claimed", "verifying", "resolved", "ignored"},
}
MODES = ("slow", "rude", "lazy", "late")

ids = st.sampled_from([f"iss_{mode}" for mode in MODES])
modes = st.sampled_from(MODES)
releases = st.sampled_from(["1.0", "1.1", None])
evidences = {
    "sighted": st.builds(lambda mode: {"failure_mode": mode}, modes),
    "renamed": st.builds(lambda name: {"name": name}, modes),
    "merged": st.builds(lambda into: {"into": into}, ids),
    "split": st.builds(lambda taken, into: {"modes": taken, "into": into}, st.lists(modes, max_size=3), ids),
    "kept_apart": st.builds(lambda other: {"from": other}, ids),
    "rated": st.builds(lambda severity: {"severity": severity}, st.sampled_from(SEVERITIES)),
    "fix_claimed": st.builds(lambda release: {"release": release} if release else {}, releases),
    "deployed": st.builds(lambda minute: {"since": later(minute).isoformat()}, st.integers(0, 12)),
    "recurred": st.builds(lambda release: {"release": release} if release else {}, releases),
}


@st.composite
def event_rows(draw: Callable) -> dict:
    """Any event at all, sensible or not."""
    # Without issues and merges there is little to split: these come oftener than the rest.
    kind = draw(st.sampled_from(["sighted", "sighted", "merged", "split", *ALLOWED_IN]))
    evidence = draw(evidences.get(kind, st.just({})))
    row = {"issue_id": draw(ids), "kind": kind, "author": "ada", "evidence": json.dumps(evidence)}
    minute = draw(st.integers(0, 12))
    return {"event_id": content_hash([row, minute]), **row, "at": later(minute)}


def frame_of(rows: list[dict]) -> pl.DataFrame:
    return ISSUE_EVENTS.conform(pl.DataFrame(rows)) if rows else ISSUE_EVENTS.empty()


@settings(max_examples=300, deadline=None)
@given(st.lists(event_rows(), max_size=25), st.randoms())
def test_any_events_in_any_order_and_number_give_one_legal_state(rows: list[dict], random):
    issues = replay(frame_of(rows))
    assert replay(frame_of(random.sample(rows, len(rows)) + rows)) == issues
    assert {issue.state for issue in issues.values()} <= set(STATES)
    every_mode = [mode for issue in issues.values() for mode in issue.modes]
    assert len(every_mode) == len(set(every_mode))
    for issue in issues.values():
        root = root_of(issues, issue.issue_id)
        assert (issue.state == "merged") == (issue.merged_into is not None) == (root is not issue)
        assert root.state != "merged"  # so merges form no circle
        assert owners_of(issues)[normalised_failure_mode(issue.name)] == root.issue_id
        assert bool(issue.modes) == (issue.state != "merged")
    assert all(
        issues[one].state != "merged" and issues[other].state != "merged" for one, other in pairs_kept_apart(issues)
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(event_rows(), max_size=20))
def test_no_event_leads_to_a_state_that_may_not_follow_and_no_mode_is_ever_lost(rows: list[dict]):
    ordered = frame_of(rows).unique("event_id").sort("at", "event_id")
    before: dict = {}
    for n in range(1, ordered.height + 1):
        after = replay(ordered.head(n))
        assert set(owners_of(before)) <= set(owners_of(after))
        for issue_id, issue in after.items():
            earlier = before.get(issue_id)
            assert earlier is None or issue.state == earlier.state or issue.state in NEXT[earlier.state]
            assert earlier is not None or issue.state == "candidate"
        before = after


IN_A_LIFE = [kind for kind in ALLOWED_IN if kind not in ("merged", "split", "renamed", "kept_apart")]
COMMUTE = [("rated", "escalated"), ("rated", "fix_claimed"), ("escalated", "fix_claimed"), ("rated", "recurred")]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_events_that_do_not_concern_one_another_may_come_in_either_order(data: st.DataObject):
    """A severity, an escalation and a step of the lifecycle: whichever is dated first, the issue ends the same."""
    rows = [life_event("sighted", 0, {"failure_mode": "slow"})]
    kinds = data.draw(st.lists(st.sampled_from(IN_A_LIFE), max_size=8))
    rows += [life_event(kind, 1 + i, data.draw(evidences.get(kind, st.just({})))) for i, kind in enumerate(kinds)]
    first, second = data.draw(st.sampled_from(COMMUTE))
    pair = [(kind, data.draw(evidences.get(kind, st.just({})))) for kind in (first, second)]
    ends = []
    for one, other in (pair, pair[::-1]):
        events = frame_of([*rows, life_event(one[0], 20, one[1]), life_event(other[0], 21, other[1])])
        ends.append(replay(events)["iss_slow"])
    assert len({(e.state, e.severity, e.is_escalating, e.fixed_in, e.returned_in) for e in ends}) == 1


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(IN_A_LIFE), max_size=15))
def test_what_is_known_of_a_fix_is_what_its_state_needs(kinds: list[str]):
    rows = [life_event("sighted", 0, {"failure_mode": "slow"})]
    given = {"deployed": {"since": later(3).isoformat()}, "rated": {"severity": "minor"}}
    rows += [life_event(kind, 1 + i, given.get(kind, {})) for i, kind in enumerate(kinds)]
    issue = replay(frame_of(rows))["iss_slow"]
    if issue.state in ("fix_claimed", "verifying"):
        assert issue.fix_claimed_at is not None
    assert (issue.state == "verifying") <= (issue.deployed_at is not None)
    assert (issue.state == "resolved") <= (issue.resolved_at is not None)
    assert (issue.state == "active") <= (issue.fix_claimed_at is None)
    assert issue.is_escalating <= (issue.state in TRACKED)


def life_event(kind: str, minute: int, evidence: dict) -> dict:
    row = {"issue_id": "iss_slow", "kind": kind, "author": "ada", "evidence": json.dumps(evidence)}
    return {"event_id": content_hash([row, minute]), **row, "at": later(minute)}


def decision(
    command: str, issue: IssueState, other: IssueState, taken: list[str], issues: dict[str, IssueState]
) -> pl.DataFrame:
    by = {"author": "ada", "now": later(0)}
    match command:
        case "merge":
            return merge(issue, other, **by)
        case "split":
            return split(issue, taken, issues=issues, **by)
        case "keep_apart":
            return keep_apart(issue, other, **by)
        case _:
            return rename(issue, f"{taken[0]} indeed", issues=issues, **by)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_the_commands_allow_always_happens(data: st.DataObject):
    """Each decision is made on the state before it, by a clock that stands still, and none of them is void."""
    events = issues_named(*MODES)
    for _ in range(data.draw(st.integers(1, 8))):
        issues = replay(events)
        issue, other = (issues[data.draw(st.sampled_from(sorted(issues)))] for _ in range(2))
        taken = data.draw(st.lists(st.sampled_from(issue.modes or MODES), min_size=1, unique=True))
        command = data.draw(st.sampled_from(["merge", "split", "keep_apart", "rename"]))
        try:
            event = decision(command, issue, other, taken, issues)
        except StateError:
            continue
        events = pl.concat([events, event])
        after = replay(events)
        assert after[issue.issue_id].updated_at == event["at"].item()
        if command == "split":
            new = {owners_of(after)[mode] for mode in taken}
            assert len(new) == 1
            assert issue.issue_id not in new
            assert frozenset((issue.issue_id, *new)) in pairs_kept_apart(after)
        if command == "merge":
            assert root_of(after, issue.issue_id).issue_id == other.issue_id


def test_a_sighting_of_a_mode_that_another_issue_owns_is_void():
    first, second = (
        sighted(IssueId(issue_id), failure_mode="slow", at=later(0), trace_id="0" * 32)
        for issue_id in ("iss_a", "iss_b")
    )
    both = pl.concat([first, second])
    assert len(replay(both)) == 1
    assert list(replay(both)) == list(replay(both.reverse()))


def test_a_name_that_another_issue_took_first_is_void():
    events = issues_named("slow", "rude")
    slow, rude = replay(events).values()
    first = rename(slow, "Late", author="ada", now=later(5), issues=replay(events))
    second = rename(rude, "late", author="bo", now=later(6), issues=replay(events))
    issues = replay(pl.concat([second, events, first]))
    assert (issues[slow.issue_id].name, issues[rude.issue_id].name) == ("Late", "rude")


def test_of_two_splits_at_once_the_earlier_is_followed():
    events = issues_named("slow")
    events = pl.concat([events, *(_renamed(events, name, minute) for minute, name in enumerate(("a b", "c d"), 5))])
    issues = replay(events)
    (slow,) = issues.values()
    first = split(slow, ["a b", "c d"], author="ada", now=later(20), issues=issues)
    second = split(slow, ["c d", "slow"], author="bo", now=later(21), issues=issues)
    after = replay(pl.concat([events, second, first]))
    assert sorted(issue.modes for issue in after.values()) == [("a b", "c d"), ("slow",)]


def _renamed(events: pl.DataFrame, name: str, minute: int) -> pl.DataFrame:
    (issue,) = replay(events).values()
    return rename(issue, name, author="ada", now=later(minute), issues=replay(events))
