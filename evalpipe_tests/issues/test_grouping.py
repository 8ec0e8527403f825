import polars as pl

from evalpipe.issues.decisions import merge, rename
from evalpipe.issues.grouping import mode_owners, sightings
from evalpipe.issues.replay import replay
from evalpipe.tables import ISSUE_EVENTS
from evalpipe_tests.issues.made import RUDE, SLOW, issues_named, later, said, state

NONE = ISSUE_EVENTS.empty()


def owners(events: pl.DataFrame) -> dict[str, str]:
    return dict(mode_owners(events).iter_rows())


def test_a_new_failure_mode_is_sighted_once_and_dated_by_its_first_annotation():
    events = sightings(said((2, "Too slow", 5), (1, "too_slow", 3)), NONE)
    (issue,) = replay(events).values()
    assert (issue.name, issue.state, issue.first_seen_at) == ("too_slow", "candidate", later(3))


def test_the_order_of_the_annotations_does_not_matter():
    claims = said((2, "slow", 5), (1, "Slow", 3), (3, "rude", 3))
    assert sightings(claims.reverse(), NONE).sort("event_id").equals(sightings(claims, NONE).sort("event_id"))


def test_what_is_known_is_not_sighted_again():
    claims = said((1, "slow", 0))
    assert sightings(claims, sightings(claims, NONE)).is_empty()


def test_good_traces_and_models_sight_nothing():
    assert sightings(said((1, None, 0), (2, "slow", 0, "model")), NONE).is_empty()


def test_a_programs_outcome_sights():
    assert list(replay(sightings(said((1, "slow", 0, "programmatic")), NONE))) == [SLOW]


def test_a_sighting_says_in_which_service():
    traces = pl.DataFrame({"trace_id": [f"{1:032x}"], "service_name": ["shop"]})
    assert state(sightings(said((1, "slow", 0), (9, "rude", 0)), NONE, traces)).services == ("shop",)


def test_a_renamed_issue_keeps_its_mode_and_owns_the_new_one():
    events = issues_named("slow")
    renamed = rename(state(events), "Keeps people waiting", author="ada", now=later(9), issues=replay(events))
    after = pl.concat([events, renamed])
    assert owners(after) == {"slow": SLOW, "keeps people waiting": SLOW}
    assert sightings(said((7, "keeps people waiting", 20)), after).is_empty()


def test_a_merged_issues_modes_belong_to_the_last_of_a_chain():
    events = issues_named("slow", "rude", "lazy")
    lazy = owners(events)["lazy"]
    events = pl.concat([events, merge(state(events), state(events, RUDE), author="ada", now=later(9))])
    events = pl.concat([events, merge(state(events, RUDE), state(events, lazy), author="ada", now=later(10))])
    assert owners(events) == {"slow": lazy, "rude": lazy, "lazy": lazy}


def test_without_events_nobody_owns_anything():
    assert mode_owners(NONE).is_empty()
