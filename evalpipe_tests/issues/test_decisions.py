import json
from datetime import timedelta

import polars as pl
import pytest

from evalpipe.errors import StateError
from evalpipe.ids import issue_id
from evalpipe.issues.decisions import (
    find,
    ignore,
    keep_apart,
    merge,
    rename,
    reopen,
    resolve,
    split,
    unignore,
)
from evalpipe.issues.frame import issue_frame
from evalpipe.issues.lifecycle import promotions
from evalpipe.issues.replay import owners_of, pairs_kept_apart, replay
from evalpipe.settings import IssueSettings, VerificationSettings
from evalpipe.tables import ISSUE_EVENTS, LABELS
from evalpipe_tests.issues.made import NOON, RUDE, SLOW, issues_named, later, said, state

SETTINGS = IssueSettings(promote_after=3)
AS_OF = {"now": later(24 * 60 * 365), "settings": VerificationSettings()}  # nothing is new any more
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
    with pytest.raises(StateError, match=f"is merged; merge needs one that is not merged. Use .* {RUDE}"):
        merge(state(events, RUDE), merged, author="ada", now=later(10))
    assert find(replay(events), "slow").issue_id == RUDE


def test_an_issue_is_not_merged_into_itself():
    events = issues_named("slow")
    with pytest.raises(StateError, match="needs two issues"):
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
    row = issue_frame(decided(), labels((1, True, 0), (2, True, 30), (3, False, 40)), **AS_OF).row(0, named=True)
    assert (row["name"], row["state"], row["services"], row["n_failures"]) == ("slow", "candidate", ["shop"], 2)
    assert (row["first_seen_at"], row["last_seen_at"], row["updated_at"]) == (NOON, later(30), NOON)


def test_an_issue_that_was_resolved_and_is_open_again_is_regressed():
    assert issue_frame(decided("resolve", "reopen"), labels(), **AS_OF)["flags"].item().to_list() == ["regressed"]
    assert issue_frame(decided("resolve", "reopen", "resolve"), labels(), **AS_OF)["flags"].item().to_list() == []


def test_without_events_there_are_no_issues():
    assert issue_frame(ISSUE_EVENTS.empty(), labels(), **AS_OF).is_empty()


def merged(*modes: str) -> pl.DataFrame:
    """The events of issues of these modes, all merged into the first, in turn."""
    events = issues_named(*modes)
    for i, mode in enumerate(modes[1:]):
        event = merge(state(events, issue_id(mode)), state(events, issue_id(modes[0])), author="ada", now=later(60 + i))
        events = pl.concat([events, event])
    return events


def after_split(events: pl.DataFrame, *modes: str, of: str = SLOW) -> pl.DataFrame:
    issues = replay(events)
    return pl.concat([events, split(issues[of], modes, author="ada", now=later(90), issues=issues)])


def owners(events: pl.DataFrame) -> dict[str, str]:
    return dict(owners_of(replay(events)))


def test_a_mode_that_was_merged_in_is_split_out_to_the_issue_it_was_in_the_state_it_had():
    events = issues_named("slow", "rude")
    events = pl.concat([events, resolve(state(events, RUDE), author="ada", now=later(30))])
    events = pl.concat([events, merge(state(events, RUDE), state(events), author="ada", now=later(31))])
    assert owners(events) == {"slow": SLOW, "rude": SLOW}
    events = after_split(events, "rude")
    assert owners(events) == {"slow": SLOW, "rude": RUDE}
    assert (state(events, RUDE).state, state(events, RUDE).merged_into) == ("resolved", None)


def test_a_mode_that_never_was_an_issue_becomes_a_candidate_of_its_own():
    events = issues_named("slow")
    events = pl.concat([events, rename(state(events), "Late", author="ada", now=later(9), issues=replay(events))])
    made = state(after_split(events, "Late"), issue_id("late"))
    assert (made.name, made.state, made.modes, made.first_seen_at) == ("Late", "candidate", ("late",), later(90))


def test_an_issue_that_loses_the_mode_of_its_name_is_named_by_one_that_is_left():
    events = issues_named("slow")
    events = pl.concat([events, rename(state(events), "Late", author="ada", now=later(9), issues=replay(events))])
    events = after_split(events, "late")
    assert state(events).name == "slow"
    assert find(replay(events), "late").issue_id == issue_id("late")


def test_the_mode_that_an_issue_was_born_of_goes_to_a_new_id_that_is_the_same_every_time():
    events = merged("slow", "rude")
    once, again = after_split(events, "slow"), after_split(events, "slow")
    new = owners(once)["slow"]
    assert new not in (SLOW, RUDE)
    assert new == owners(again)["slow"]
    assert (state(once).name, state(once, new).name) == ("rude", "slow")
    back = merge(state(once, new), state(once), author="ada", now=later(100))
    assert owners(after_split(pl.concat([once, back]), "slow")) == owners(once)


def test_several_modes_leave_together_and_what_had_been_merged_goes_with_its_own():
    events = after_split(merged("slow", "rude", "lazy", "late"), "rude", "late")
    assert owners(events) == {"slow": SLOW, "lazy": SLOW, "rude": RUDE, "late": RUDE}
    assert state(events, issue_id("late")).merged_into == RUDE
    assert state(events, issue_id("lazy")).merged_into == SLOW


def test_an_un_merged_issue_leaves_behind_what_was_not_asked_for():
    events = issues_named("slow", "rude", "lazy")
    events = pl.concat([events, merge(state(events, issue_id("lazy")), state(events, RUDE), author="a", now=later(9))])
    events = pl.concat([events, merge(state(events, RUDE), state(events), author="a", now=later(10))])
    assert state(events, issue_id("lazy")).merged_into == SLOW  # the one that is not merged, whatever came between
    events = after_split(events, "rude")
    assert owners(events) == {"slow": SLOW, "lazy": SLOW, "rude": RUDE}
    assert state(events, issue_id("lazy")).merged_into == SLOW


def test_failures_in_split_words_count_for_the_new_issue_from_then_on():
    events = after_split(merged("slow", "rude"), "rude")
    claims = said((1, "rude", 1), (2, "rude", 2), (3, "rude", 3))
    (promoted,) = promotions(events, claims, SETTINGS).iter_rows(named=True)
    assert promoted["issue_id"] == RUDE
    assert promoted["at"] > later(90)  # not before the split, though the annotations are older
    assert state(pl.concat([events, promotions(events, claims, SETTINGS)]), RUDE).state == "active"


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        ([], f"split needs a failure mode to take out. Issue {SLOW} has 'slow', 'rude'."),
        (["lazy", "!"], f"'lazy', '!': not of issue {SLOW}. Issue {SLOW} has 'slow', 'rude'."),
        (["Rude", "SLOW"], f"issue {SLOW} would have no failure mode left"),
    ],
)
def test_a_split_that_cannot_be_says_which_modes_there_are(modes: list[str], message: str):
    with pytest.raises(StateError) as raised:
        after_split(merged("slow", "rude"), *modes)
    assert message in str(raised.value)


def test_a_merged_issue_is_not_split_and_names_its_heir():
    with pytest.raises(StateError, match=f"is merged; split needs one that is not merged.*{SLOW}"):
        after_split(merged("slow", "rude"), "rude", of=RUDE)


def test_two_issues_are_kept_apart_in_either_order():
    events = issues_named("slow", "rude")
    for one, other in ((SLOW, RUDE), (RUDE, SLOW)):
        apart = keep_apart(state(events, one), state(events, other), author="ada", now=later(9))
        assert json.loads(apart["evidence"].item()) == {"from": other}
        assert pairs_kept_apart(replay(pl.concat([events, apart]))) == {frozenset((SLOW, RUDE))}


def test_what_was_kept_apart_from_an_issue_is_kept_apart_from_its_heir():
    events = issues_named("slow", "rude", "lazy")
    lazy = issue_id("lazy")
    events = pl.concat([events, keep_apart(state(events), state(events, RUDE), author="ada", now=later(9))])
    into_lazy = merge(state(events, RUDE), state(events, lazy), author="ada", now=later(10))
    assert pairs_kept_apart(replay(pl.concat([events, into_lazy]))) == {frozenset((SLOW, lazy))}


def test_a_later_merge_of_two_that_were_kept_apart_is_followed_until_it_is_split_again():
    events = issues_named("slow", "rude")
    events = pl.concat([events, keep_apart(state(events), state(events, RUDE), author="ada", now=later(9))])
    events = pl.concat([events, merge(state(events, RUDE), state(events), author="ada", now=later(10))])
    assert pairs_kept_apart(replay(events)) == set()
    assert pairs_kept_apart(replay(after_split(events, "rude"))) == {frozenset((SLOW, RUDE))}


def test_an_issue_is_not_kept_apart_from_itself_nor_from_a_merged_one():
    events = merged("slow", "rude")
    with pytest.raises(StateError, match="keep-apart needs two issues"):
        keep_apart(state(events), state(events), author="ada", now=later(99))
    with pytest.raises(StateError, match=f"{RUDE} is merged; keep-apart needs"):
        keep_apart(state(events), state(events, RUDE), author="ada", now=later(99))
