from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evalpipe.errors import StateError
from evalpipe.issues import decisions
from evalpipe.issues.on_lake import decide
from evalpipe.issues.replay import Issues, IssueState, replay
from evalpipe.issues.undo import last_act, undoing
from evalpipe.lake.store import Lake
from evalpipe.tables import ISSUE_EVENTS
from evalpipe_tests.issues.made import NOON, RUDE, SLOW, issues_named, later


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.append_new(ISSUE_EVENTS, issues_named("slow", "rude"))
    return lake


def merge(lake: Lake, minute: int, author: str = "ada", issue: str = RUDE, into: str = SLOW):
    decide(
        lake,
        issue,
        lambda found, issues, **by: decisions.merge(found, issues[into], **by),
        author=author,
        now=later(minute),
    )


def rename(lake: Lake, minute: int, name: str, author: str = "ada"):
    decide(
        lake,
        SLOW,
        lambda found, issues, **by: decisions.rename(found, name, issues=issues, **by),
        author=author,
        now=later(minute),
    )


def split_off(found: IssueState, issues: Issues, *, mode: str, **by: Any) -> pl.DataFrame:
    return decisions.split(found, [mode], issues=issues, **by)


def apart_from_rude(found: IssueState, issues: Issues, **by: Any) -> pl.DataFrame:
    return decisions.keep_apart(found, issues[RUDE], **by)


def undo(lake: Lake, minute: int, author: str = "ada") -> str | None:
    """Take back the author's last act; its kind."""
    act = last_act(lake.read(ISSUE_EVENTS), author, since=NOON)
    if act is None:
        return None
    decide(lake, act.before.issue_id, undoing(act), author=author, now=later(minute))
    return act.kind


def shape(lake: Lake) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name and modes of the issues that are not merged."""
    issues = replay(lake.read(ISSUE_EVENTS)).values()
    return {issue.issue_id: (issue.name, issue.modes) for issue in issues if issue.merged_into is None}


def test_a_merge_that_is_taken_back_gives_both_issues_as_they_were(lake: Lake):
    before = shape(lake)
    merge(lake, 10)
    assert shape(lake) == {SLOW: ("slow", ("slow", "rude"))}
    assert undo(lake, 11) == "merged"
    assert shape(lake) == before


def test_an_issue_of_several_modes_comes_back_whole(lake: Lake):
    rename(lake, 10, "takes long")
    before = shape(lake)
    merge(lake, 11, issue=SLOW, into=RUDE)
    undo(lake, 12)
    assert shape(lake) == before


def test_a_merge_is_taken_back_even_when_the_other_was_merged_on(lake: Lake):
    lake.append_new(ISSUE_EVENTS, issues_named("slow", "rude", "wrong"))
    (wrong,) = set(shape(lake)) - {SLOW, RUDE}
    merge(lake, 10)
    merge(lake, 11, author="bo", issue=SLOW, into=wrong)
    undo(lake, 12)
    assert shape(lake) == {RUDE: ("rude", ("rude",)), wrong: ("wrong", ("wrong", "slow"))}


def test_a_split_that_is_taken_back_is_one_issue_again(lake: Lake):
    merge(lake, 10)
    before = shape(lake)
    decide(lake, SLOW, partial(split_off, mode="rude"), author="ada", now=later(11))
    assert undo(lake, 12) == "split"
    assert shape(lake) == before


def test_a_new_name_that_is_taken_back_is_the_old_name(lake: Lake):
    rename(lake, 10, "takes long")
    undo(lake, 11)
    assert shape(lake)[SLOW][0] == "slow"


def test_done_again_it_takes_back_the_act_before_and_then_none_is_left(lake: Lake):
    rename(lake, 10, "takes long")
    merge(lake, 11)
    assert [undo(lake, minute) for minute in (12, 13, 14)] == ["merged", "renamed", None]
    assert shape(lake)[SLOW][0] == "slow"


def test_nobody_takes_back_what_another_person_decided(lake: Lake):
    merge(lake, 10, author="bo")
    assert undo(lake, 11, author="ada") is None


def test_what_was_decided_too_long_ago_is_not_the_last_act(lake: Lake):
    merge(lake, 10)
    assert last_act(lake.read(ISSUE_EVENTS), "ada", since=later(11)) is None


def test_that_two_are_different_stands(lake: Lake):
    decide(lake, SLOW, apart_from_rude, author="ada", now=later(10))
    act = last_act(lake.read(ISSUE_EVENTS), "ada", since=NOON)
    assert act
    assert not act.can_be_undone
    with pytest.raises(StateError, match=f"evalpipe issues merge {SLOW} {RUDE}"):
        undo(lake, 11)


def test_a_merge_of_what_was_split_meanwhile_is_not_taken_back_in_part(lake: Lake):
    rename(lake, 9, "takes long")
    merge(lake, 10, issue=SLOW, into=RUDE)
    decide(lake, RUDE, partial(split_off, mode="takes long"), author="bo", now=later(11))
    before = lake.version(ISSUE_EVENTS)
    with pytest.raises(StateError, match="takes long"):
        undo(lake, 12)
    assert lake.version(ISSUE_EVENTS) == before


def test_the_event_of_an_undo_says_what_it_undoes(lake: Lake):
    merge(lake, 10)
    undo(lake, 11)
    merged = lake.read(ISSUE_EVENTS, pl.col("kind") == "merged")["event_id"].item()
    assert f'"undoes": "{merged}"' in lake.read(ISSUE_EVENTS, pl.col("kind") == "split")["evidence"].item()
