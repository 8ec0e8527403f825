import json
from collections.abc import Callable
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import StateError
from evalpipe.ids import content_hash
from evalpipe.issues import lifecycle
from evalpipe.issues.lifecycle import (
    STATES,
    find,
    ignore,
    issue_frame,
    merge,
    promotions,
    rename,
    reopen,
    replay,
    resolve,
    root_of,
    unignore,
)
from evalpipe.settings import IssueSettings
from evalpipe.tables import ISSUE_EVENTS, LABELS
from evalpipe_tests.issues.made import NOON, RUDE, SLOW, issues_named, later, said, state

SETTINGS = IssueSettings(promote_after=3)
COMMANDS = {"resolve": resolve, "reopen": reopen, "ignore": ignore, "unignore": unignore}


def decided(*commands: str, minute: int = 60) -> pl.DataFrame:
    """The events of the issue `slow` after these commands, a minute apart."""
    events = issues_named("slow")
    for i, command in enumerate(commands):
        event = COMMANDS[command](state(events), author="ada", now=later(minute + i), evidence={"why": "because"})
        events = pl.concat([events, event])
    return events


def test_a_candidate_is_promoted_when_enough_traces_show_it():
    claims = said((1, "slow", 0), (1, "Slow", 1), (2, "slow", 2), (3, "slow", 3), (4, "slow", 4))
    events = issues_named("slow")
    assert promotions(events, claims.head(3), SETTINGS).is_empty()  # two traces, though three annotations
    (promoted,) = promotions(events, claims, SETTINGS).iter_rows(named=True)
    assert (promoted["kind"], promoted["at"], promoted["author"]) == ("promoted", later(3), "pipeline")
    assert json.loads(promoted["evidence"]) == {"n_failures": 3, "trace_ids": [f"{i:032x}" for i in (1, 2, 3)]}
    assert state(pl.concat([events, promotions(events, claims, SETTINGS)])).state == "active"


def test_the_same_evidence_promotes_by_the_same_event():
    claims = said(*((i, "slow", i) for i in range(5)))
    once = promotions(issues_named("slow"), claims, SETTINGS)
    assert promotions(issues_named("slow"), claims.reverse(), SETTINGS).equals(once)
    assert promotions(pl.concat([issues_named("slow"), once]), claims, SETTINGS).is_empty()


def test_what_a_model_says_promotes_nothing():
    claims = said(*((i, "slow", i, "model") for i in range(5)))
    assert promotions(issues_named("slow"), claims, SETTINGS).is_empty()


def test_a_first_annotation_may_promote_at_once():
    events, one = issues_named("slow"), IssueSettings(promote_after=1)
    events = pl.concat([promotions(events, said((0, "slow", 0)), one), events])
    assert state(events).state == "active"


def test_failures_of_a_merged_issue_count_for_what_it_was_merged_into():
    events = issues_named("slow", "rude")
    events = pl.concat([events, merge(state(events), state(events, RUDE), author="ada", now=later(9))])
    claims = said((1, "slow", 1), (2, "slow", 2), (3, "rude", 3))
    assert promotions(events, claims, SETTINGS)["issue_id"].to_list() == [RUDE]


def test_an_ignored_issue_is_not_promoted_until_it_is_taken_up_again():
    claims = said(*((i, "slow", i) for i in range(5)))
    ignored = decided("ignore")
    assert promotions(ignored, claims, SETTINGS).is_empty()
    taken_up = decided("ignore", "unignore")
    assert state(pl.concat([taken_up, promotions(taken_up, claims, SETTINGS)])).state == "active"


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ((), "candidate"),
        (("resolve",), "resolved"),
        (("resolve", "reopen"), "active"),
        (("ignore",), "ignored"),
        (("ignore", "unignore"), "candidate"),
        (("resolve", "reopen", "ignore", "unignore"), "active"),
    ],
)
def test_commands_lead_from_state_to_state(commands: tuple[str, ...], expected: str):
    assert state(decided(*commands)).state == expected


@pytest.mark.parametrize(
    ("before", "command", "message"),
    [
        (("ignore",), "resolve", f"is ignored; resolve needs an open issue. Run: evalpipe issues unignore {SLOW}"),
        (("resolve",), "ignore", f"is resolved; ignore needs an open issue. Run: evalpipe issues reopen {SLOW}"),
        (("resolve",), "resolve", "is resolved; resolve needs an open issue"),
        ((), "reopen", "is candidate; reopen needs a resolved one. It is open"),
        (("resolve", "reopen"), "unignore", "is active; unignore needs an ignored one. It is open"),
    ],
)
def test_a_command_out_of_place_says_the_state_and_the_way_out(before: tuple, command: str, message: str):
    with pytest.raises(StateError) as raised:
        decided(*before, command)
    assert message in str(raised.value)


def test_a_merged_issue_takes_no_command_and_names_its_heir():
    events = issues_named("slow", "rude")
    events = pl.concat([events, merge(state(events), state(events, RUDE), author="ada", now=later(9))])
    merged = state(events)
    assert (merged.state, merged.merged_into) == ("merged", RUDE)
    for command in COMMANDS.values():
        with pytest.raises(StateError, match=f"is merged.*{RUDE}"):
            command(merged, author="ada", now=later(10))
    with pytest.raises(StateError, match="is merged itself"):
        merge(state(events, RUDE), merged, author="ada", now=later(10))
    assert find(replay(events), "slow").issue_id == RUDE


def test_an_issue_is_not_merged_into_itself():
    events = issues_named("slow")
    with pytest.raises(StateError, match="into itself"):
        merge(state(events), state(events), author="ada", now=later(9))


def test_a_name_that_is_another_issue_asks_for_a_merge():
    events = issues_named("slow", "rude")
    with pytest.raises(StateError, match=f"issues merge {SLOW} {RUDE}"):
        rename(state(events), "RUDE!", author="ada", now=later(9), issues=replay(events))
    with pytest.raises(StateError, match="no words"):
        rename(state(events), "!", author="ada", now=later(9), issues=replay(events))


def test_an_issue_is_found_by_id_name_or_failure_mode():
    events = issues_named("slow")
    events = pl.concat([events, rename(state(events), "Late", author="ada", now=later(9), issues=replay(events))])
    issues = replay(events)
    assert {find(issues, reference).issue_id for reference in (SLOW, "late", "SLOW")} == {SLOW}
    with pytest.raises(StateError, match="evalpipe issues list"):
        find(issues, "rude")


def test_a_decision_comes_after_its_cause_even_by_a_slow_clock():
    events = issues_named("slow")
    event = resolve(state(events), author="ada", now=NOON - timedelta(days=1))
    assert event["at"].item() > events["at"].item()
    assert state(pl.concat([event, events])).state == "resolved"


def test_of_two_people_who_decide_at_once_the_earlier_is_followed():
    events = issues_named("slow")
    first = resolve(state(events), author="ada", now=later(5))
    second = ignore(state(events), author="bo", now=later(6))
    assert state(pl.concat([second, events, first])).state == "resolved"


def test_an_event_of_an_issue_that_was_never_sighted_is_void():
    assert replay(decided("resolve").filter(pl.col("kind") == "resolved")) == {}


def labels(*rows: tuple[int, bool, int]) -> pl.DataFrame:
    """LABELS of `slow` from (trace number, is_failure, minute)."""
    made = [
        {
            "trace_id": f"{trace:032x}",
            "issue_id": SLOW,
            "day": NOON.date(),
            "service_name": "shop",
            "is_failure": is_failure,
            "weight": 1.0,
            "n_annotators": 1,
            "is_disputed": False,
            "labelled_at": later(minute),
            "sources": ["human"],
        }
        for trace, is_failure, minute in rows
    ]
    return LABELS.conform(pl.DataFrame(made)) if made else LABELS.empty()


def test_the_issue_table_counts_the_labelled_failures():
    row = issue_frame(decided(), labels((1, True, 0), (2, True, 30), (3, False, 40))).row(0, named=True)
    assert (row["name"], row["state"], row["services"], row["n_failures"]) == ("slow", "candidate", ["shop"], 2)
    assert (row["first_seen_at"], row["last_seen_at"], row["updated_at"]) == (NOON, later(30), NOON)


def test_an_issue_that_was_resolved_and_is_open_again_is_regressed():
    assert issue_frame(decided("resolve", "reopen"), labels())["flags"].item().to_list() == ["regressed"]
    assert issue_frame(decided("resolve", "reopen", "resolve"), labels())["flags"].item().to_list() == []


def test_without_events_there_are_no_issues():
    assert issue_frame(ISSUE_EVENTS.empty(), labels()).is_empty()


NEXT: dict[str, set[str]] = {  # the whole machine: which state may follow which
    "candidate": {"active", "resolved", "ignored", "merged"},
    "active": {"resolved", "ignored", "merged"},
    "resolved": {"active", "merged"},
    "ignored": {"candidate", "active", "merged"},
    "merged": set(),
}
ISSUES = ("slow", "rude", "lazy")


@st.composite
def event_rows(draw: Callable) -> dict:
    """Any event at all, sensible or not."""
    kind = draw(st.sampled_from(["sighted", *lifecycle._ALLOWED_IN]))
    mode, other = draw(st.sampled_from(ISSUES)), draw(st.sampled_from(ISSUES))
    evidence = {"sighted": {"failure_mode": mode}, "renamed": {"name": other}, "merged": {"into": f"iss_{other}"}}
    row = {"issue_id": f"iss_{mode}", "kind": kind, "author": "ada", "evidence": json.dumps(evidence.get(kind, {}))}
    minute = draw(st.integers(0, 12))
    return {"event_id": content_hash([row, minute]), **row, "at": later(minute)}


def frame_of(rows: list[dict]) -> pl.DataFrame:
    return ISSUE_EVENTS.conform(pl.DataFrame(rows)) if rows else ISSUE_EVENTS.empty()


@settings(max_examples=200, deadline=None)
@given(st.lists(event_rows(), max_size=25), st.randoms())
def test_any_events_in_any_order_and_number_give_one_legal_state(rows: list[dict], random):
    events = frame_of(rows)
    issues = replay(events)
    assert replay(frame_of(random.sample(rows, len(rows)) + rows)) == issues
    assert {issue.state for issue in issues.values()} <= set(STATES)
    modes = [mode for issue in issues.values() for mode in issue.modes]
    assert len(modes) == len(set(modes))
    for issue in issues.values():
        assert (issue.state == "merged") == (issue.merged_into is not None)
        assert root_of(issues, issue.issue_id).state != "merged"


@settings(max_examples=100, deadline=None)
@given(st.lists(event_rows(), max_size=20))
def test_no_event_leads_to_a_state_that_may_not_follow(rows: list[dict]):
    ordered = frame_of(rows).unique("event_id").sort("at", "event_id")
    before: dict = {}
    for n in range(1, ordered.height + 1):
        after = replay(ordered.head(n))
        for issue_id, issue in after.items():
            earlier = before.get(issue_id)
            assert earlier is None or issue.state == earlier.state or issue.state in NEXT[earlier.state]
            assert earlier is not None or issue.state == "candidate"
        before = after
