from typing import Any

import polars as pl

from evalpipe.ids import issue_id
from evalpipe.issues.decisions import ignore, keep_apart, merge, resolve, split
from evalpipe.issues.discovery import proposals
from evalpipe.issues.replay import replay
from evalpipe.settings import IssueSettings
from evalpipe.tables import ANNOTATIONS, ISSUE_EVENTS, ISSUE_PROPOSALS, ISSUES
from evalpipe_tests.issues.made import NOON, issues_named, later, said

AGAIN, TWICE = "asked again for order nr", "asks for the order number twice"
RUDE = "rude tone"
NOTHING_SAID = ANNOTATIONS.empty()
SETTINGS = IssueSettings()


def counted(events: pl.DataFrame, services: dict[str, list[str]] | None = None, **n_failures: int) -> pl.DataFrame:
    """ISSUES of these events; failures by the first word of the issue's mode, 1 where none are given."""
    rows: list[dict[str, Any]] = [
        {
            "issue_id": issue.issue_id,
            "name": issue.name,
            "state": issue.state,
            "flags": [],
            "services": (services or {}).get(issue.name, []),
            "n_failures": n_failures.get(issue.name.split()[0], 1),
            "first_seen_at": issue.first_seen_at,
            "last_seen_at": NOON,
            "updated_at": issue.updated_at,
        }
        for issue in replay(events).values()
    ]
    return ISSUES.conform(pl.DataFrame(rows, schema_overrides={"services": pl.List(pl.String)}))


def proposed(issues: pl.DataFrame, events: pl.DataFrame) -> list[tuple[str, str]]:
    """(name, into_name)"""
    return proposals(issues, events, NOTHING_SAID, SETTINGS).select("name", "into_name").rows()


def test_the_less_frequent_wording_is_proposed_into_the_more_frequent():
    events = issues_named(AGAIN, TWICE, RUDE)
    assert proposed(counted(events, asked=3, asks=5), events) == [(AGAIN, TWICE)]
    assert proposed(counted(events, asked=5, asks=3), events) == [(TWICE, AGAIN)]


def test_of_equally_frequent_ones_the_older_takes_over():
    events = issues_named(RUDE, TWICE, AGAIN)  # a minute apart
    assert proposed(counted(events), events) == [(AGAIN, TWICE)]


def test_a_proposal_says_what_they_share_and_how_often_each_was_seen():
    events = issues_named(AGAIN, TWICE, RUDE)
    (row,) = proposals(counted(events, asked=3, asks=5), events, NOTHING_SAID, SETTINGS).iter_rows(named=True)
    assert (row["issue_id"], row["into_issue_id"]) == (issue_id(AGAIN), issue_id(TWICE))
    assert row["reason"] == "both say 'again', 'asked', 'number', 'order'; annotated failures: 3 and 5"


def test_issues_of_different_services_are_proposed_and_the_reason_says_so():
    events = issues_named(AGAIN, TWICE)
    apart = counted(events, {AGAIN: ["shop"], TWICE: ["bank", "desk"]})
    (reason,) = proposals(apart, events, NOTHING_SAID, SETTINGS)["reason"]
    assert reason.endswith("; in different services (bank, desk; shop)")
    overlapping = counted(events, {AGAIN: ["shop"], TWICE: ["bank", "shop"]})
    (reason,) = proposals(overlapping, events, NOTHING_SAID, SETTINGS)["reason"]
    assert "services" not in reason


def test_a_cluster_is_a_star_around_its_most_frequent_issue():
    events = issues_named("wrong price", "wrong price quoted", "quotes a wrong price", RUDE)
    issues = counted(events, quotes=9)
    assert sorted(proposed(issues, events)) == [
        ("wrong price", "quotes a wrong price"),
        ("wrong price quoted", "quotes a wrong price"),
    ]


def test_an_issue_goes_to_the_likest_centre_not_to_the_most_frequent():
    events = issues_named("slow answer", "long answer in French", "slow long answer in French")
    issues = counted(events, long=5).with_columns(
        n_failures=pl.when(pl.col("name") == "slow answer").then(9).otherwise("n_failures")
    )
    assert proposed(issues, events) == [("slow long answer in French", "long answer in French")]  # 0.84, not 0.49


def test_the_order_of_arrival_does_not_matter():
    events = issues_named(AGAIN, TWICE, "wrong price", "wrong price quoted", RUDE)
    annotations = said((1, AGAIN, 0), (2, TWICE, 1), (3, RUDE, 2)).with_columns(
        comment=pl.Series(["it was on file", "the number was on file", "called me silly"])
    )
    issues = counted(events)
    once = proposals(issues, events, annotations, SETTINGS)
    assert proposals(issues.reverse(), events.reverse(), annotations.reverse(), SETTINGS).equals(once)
    assert once.height == 2


def test_what_was_said_of_the_traces_brings_two_wordings_together():
    one, other = "asks for birth date", "birth date question"
    events = issues_named(one, other, RUDE)
    issues, strict = counted(events), IssueSettings(propose_similarity=0.5)
    same = said((1, one, 0), (2, other, 0)).with_columns(evidence=pl.lit("may I have your date of birth once more"))
    by_model = same.with_columns(label_source=pl.lit("model"))
    assert proposals(issues, events, by_model, strict).is_empty()
    (row,) = proposals(issues, events, same, strict).iter_rows(named=True)
    assert "their comments are alike" in row["reason"]


def test_what_a_person_kept_apart_is_not_proposed_in_either_order():
    events = issues_named(AGAIN, TWICE)
    again, twice = replay(events).values()
    for one, other in ((again, twice), (twice, again)):
        after = pl.concat([events, keep_apart(one, other, author="ada", now=later(9))])
        assert proposed(counted(after), after) == []


def test_what_was_merged_is_not_proposed_and_what_was_split_again_neither():
    events = issues_named(AGAIN, TWICE)
    again, twice = replay(events).values()
    events = pl.concat([events, merge(twice, again, author="ada", now=later(9))])
    assert proposed(counted(events), events) == []
    issues = replay(events)
    event = split(issues[again.issue_id], [TWICE], author="ada", now=later(10), issues=issues)
    events = pl.concat([events, event])
    assert proposed(counted(events), events) == []


def test_a_third_wording_is_compared_with_all_modes_of_a_merged_issue():
    events = issues_named(RUDE, AGAIN, TWICE)
    rude, again, _ = replay(events).values()
    events = pl.concat([events, merge(again, rude, author="ada", now=later(9))])
    assert proposed(counted(events, rude=5), events) == [(TWICE, RUDE)]


def test_one_of_the_two_must_be_open_and_the_reason_says_which_is_not():
    events = issues_named(AGAIN, TWICE)
    again, twice = replay(events).values()
    one = pl.concat([events, resolve(again, author="ada", now=later(9))])
    (reason,) = proposals(counted(one), one, NOTHING_SAID, SETTINGS)["reason"]
    assert reason.endswith(f"; '{AGAIN}' is resolved")
    both = pl.concat([one, ignore(twice, author="ada", now=later(10))])
    assert proposed(counted(both), both) == []


def test_an_issue_that_the_table_does_not_know_yet_waits_for_the_next_run():
    events = issues_named(AGAIN, TWICE)
    assert proposed(counted(events).head(1), events) == []


def test_without_issues_nothing_is_proposed():
    none = proposals(ISSUES.empty(), ISSUE_EVENTS.empty(), NOTHING_SAID, SETTINGS)
    assert none.equals(ISSUE_PROPOSALS.empty())
