from pathlib import Path

import polars as pl
import pytest

from evalpipe.errors import LakeConflictError, StateError
from evalpipe.issues import decisions
from evalpipe.issues.frame import issue_frame
from evalpipe.issues.on_lake import decide, propose
from evalpipe.issues.replay import replay
from evalpipe.lake.store import Lake
from evalpipe.settings import IssueSettings, VerificationSettings
from evalpipe.tables import ANNOTATIONS, ISSUE_EVENTS, ISSUES, LABELS
from evalpipe_tests.issues.made import NOON, RUDE, SLOW, issues_named, later


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.append_new(ISSUE_EVENTS, issues_named("slow", "rude"))
    return lake


def resolve(issue, _, **by):
    return decisions.resolve(issue, **by)


def test_a_decision_is_appended_with_who_when_and_why(lake: Lake):
    decision = decide(lake, "Slow", resolve, author="ada", now=later(9), evidence={"why": "cached"})
    assert (decision.issue.issue_id, decision.kind, decision.evidence) == (SLOW, "resolved", {"why": "cached"})
    event = lake.read(ISSUE_EVENTS, pl.col("kind") == "resolved").row(0, named=True)
    assert (event["author"], event["at"], event["evidence"]) == ("ada", later(9), '{"why": "cached"}')


def test_a_decision_that_the_state_does_not_allow_writes_nothing(lake: Lake):
    before = lake.version(ISSUE_EVENTS)
    with pytest.raises(StateError, match="reopen needs a resolved one"):
        decide(lake, SLOW, lambda issue, _, **by: decisions.reopen(issue, **by), author="ada", now=later(9))
    assert lake.version(ISSUE_EVENTS) == before


def test_who_decides_second_is_told_what_the_first_did(lake: Lake):
    def merged_meanwhile(issue, issues, **by):
        if issue.state == "candidate":
            lake.append_new(ISSUE_EVENTS, decisions.merge(issue, issues[RUDE], author="bo", now=later(8)))
        return decisions.resolve(issue, **by)

    with pytest.raises(StateError, match=f"is merged; resolve needs an open issue.*{RUDE}"):
        decide(lake, SLOW, merged_meanwhile, author="ada", now=later(9))


def test_a_table_that_never_rests_ends_in_a_conflict(lake: Lake):
    def outrun(issue, _, **by):
        lake.append_new(ISSUE_EVENTS, decisions.rename(issue, f"slow {lake.version(ISSUE_EVENTS)}", issues={}, **by))
        return decisions.resolve(issue, **by)

    with pytest.raises(LakeConflictError, match="issue_events"):
        decide(lake, SLOW, outrun, author="ada", now=later(9))
    assert replay(lake.read(ISSUE_EVENTS))[SLOW].state == "candidate"


def test_proposals_are_made_of_what_lies_in_the_lake(lake: Lake):
    lake.append_new(ISSUE_EVENTS, issues_named("slow", "rude", "too rude"))
    lake.replace(
        ISSUES, issue_frame(lake.read(ISSUE_EVENTS), LABELS.empty(), now=NOON, settings=VerificationSettings())
    )
    rows = propose(lake, ANNOTATIONS.empty(), IssueSettings())
    assert rows.select("name", "into_name").rows() == [("too rude", "rude")]
