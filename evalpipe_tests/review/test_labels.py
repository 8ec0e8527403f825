from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.review.labels import label_frame
from evalpipe.settings import ReviewSettings
from evalpipe.tables import LABELS
from evalpipe_tests.review.made import DAY, NOON, annotation, annotations, made_id

ISSUES = pl.DataFrame({"mode_key": ["slow", "rude", "impolite"], "issue_id": ["iss_slow", "iss_rude", "iss_rude"]})
SETTINGS = ReviewSettings()


def traces(services: dict[int, str]) -> pl.DataFrame:
    rows = [(made_id(i), DAY, f"session-{i}", service) for i, service in services.items()]
    return pl.DataFrame(rows, schema=["trace_id", "day", "session_id", "service_name"], orient="row")


SHOP = traces(dict.fromkeys(range(10), "shop"))


def labels(*rows: dict, known: pl.DataFrame = SHOP) -> dict[tuple[str, str], dict]:
    found = label_frame(annotations(*rows), known, ISSUES, SETTINGS)
    return {(row["trace_id"], row["issue_id"]): row for row in found.iter_rows(named=True)}


def slow(*rows: dict) -> dict:
    """The label of trace 1 for iss_slow; trace 9 brings the issue into scope."""
    return labels(annotation(9, "bad", "slow", annotator="someone"), *rows)[made_id(1), "iss_slow"]


def test_every_annotated_trace_of_the_service_has_a_row_for_every_issue_claimed_in_it():
    found = labels(annotation(0, "bad", "slow"), annotation(1, "bad", "rude"), annotation(2))
    assert {key: row["is_failure"] for key, row in found.items()} == {
        (made_id(0), "iss_slow"): True,
        (made_id(0), "iss_rude"): False,
        (made_id(1), "iss_slow"): False,
        (made_id(1), "iss_rude"): True,
        (made_id(2), "iss_slow"): False,
        (made_id(2), "iss_rude"): False,
    }


def test_an_issue_says_nothing_about_services_in_which_it_was_never_claimed():
    known = traces({0: "shop", 1: "bank"})
    assert list(labels(annotation(0, "bad", "slow"), annotation(1), known=known)) == [(made_id(0), "iss_slow")]


def test_as_many_who_claim_as_who_deny_is_disputed_until_one_more_has_read_it():
    tie = [annotation(1, "bad", "slow"), annotation(1, annotator="bo")]
    assert slow(*tie)["is_disputed"]
    assert not slow(*tie, annotation(1, annotator="cy"))["is_disputed"]


def test_an_outcome_that_is_known_settles_a_tie():
    known = annotation(1, "bad", "slow", annotator="replay", label_source="programmatic")
    row = slow(known, annotation(1, annotator="bo", minute=1))
    assert (row["is_failure"], row["is_disputed"]) == (True, False)


def test_two_outcomes_that_contradict_each_other_settle_nothing():
    outcomes = [
        annotation(1, "bad", "slow", annotator="replay", label_source="programmatic"),
        annotation(1, annotator="audit", label_source="programmatic", minute=1),
    ]
    row = slow(*outcomes)
    assert (row["is_failure"], row["is_disputed"]) == (False, True)  # the newest speaks until then


def test_what_a_model_says_is_no_label():
    assert labels(annotation(0, "bad", "slow", label_source="model")) == {}


def test_a_programs_outcome_is_a_label_and_says_so():
    row = slow(annotation(1, "bad", "slow", label_source="programmatic"), annotation(1, "bad", "slow", annotator="bo"))
    assert row["sources"] == ["human", "programmatic"]
    assert row["n_annotators"] == 2


def test_the_majority_decides():
    row = slow(annotation(1, "bad", "slow"), annotation(1, annotator="bo"), annotation(1, annotator="cy"))
    assert (row["is_failure"], row["is_disputed"], row["n_annotators"], row["weight"]) == (False, False, 3, 1.0)
    assert (row["n_yes"], row["n_no"]) == (1, 2)


@pytest.mark.parametrize(("minute_of_good", "is_failure"), [(-5, True), (5, False)])
def test_on_a_tie_the_newest_vote_decides(minute_of_good: int, is_failure: bool):
    row = slow(annotation(1, "bad", "slow"), annotation(1, annotator="bo", minute=minute_of_good))
    assert (row["is_failure"], row["is_disputed"]) == (is_failure, True)


def test_who_names_another_failure_abstains():
    row = slow(annotation(1, "bad", "slow"), annotation(1, "bad", "rude", annotator="bo"))
    assert (row["is_failure"], row["is_disputed"], row["n_annotators"]) == (True, False, 2)


def test_a_trace_on_which_all_abstain_does_not_show_the_issue():
    row = slow(annotation(1, "bad", "rude"))
    assert (row["is_failure"], row["weight"], row["labelled_at"]) == (False, 1.0, NOON)


def test_a_failure_no_issue_owns_abstains_too():
    assert slow(annotation(1, "bad", "smells of mint"))["is_failure"] is False


def test_a_partial_failure_weighs_the_mean_of_its_claims():
    # (1.0 for bad + 0.5 for partial) / 2
    row = slow(annotation(1, "bad", "slow"), annotation(1, "partial", "slow", annotator="bo"))
    assert row["weight"] == 0.75
    assert slow(annotation(1, "partial", "slow"))["weight"] == 0.5


def test_two_names_of_one_issue_by_one_person_are_one_vote():
    found = labels(
        annotation(1, "bad", "rude"),
        annotation(1, "bad", "impolite", minute=1),
        annotation(1, annotator="bo", minute=2),
    )
    row = found[made_id(1), "iss_rude"]
    assert (row["is_failure"], row["n_annotators"], row["is_disputed"]) == (False, 2, True)  # one to one: the newest


def test_a_changed_mind_is_one_vote():
    row = slow(annotation(1, "bad", "slow"), annotation(1, minute=1))
    assert (row["is_failure"], row["is_disputed"], row["n_annotators"]) == (False, False, 1)


def test_a_label_is_dated_by_the_votes_on_its_issue():
    """A later word on something else does not make an old label new."""
    row = slow(annotation(1, "bad", "slow"), annotation(1, "bad", "rude", annotator="bo", minute=60))
    assert row["labelled_at"] == NOON
    row = slow(annotation(1, "bad", "slow"), annotation(1, annotator="bo", minute=60))
    assert row["labelled_at"] == NOON + timedelta(hours=1)


def test_without_annotations_there_are_no_labels():
    assert label_frame(annotations(), SHOP, ISSUES, SETTINGS).equals(LABELS.empty())


votes = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["ada", "bo", "cy"]),
        st.sampled_from([None, "slow", "rude", "new"]),
        st.integers(0, 3),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(votes, st.randoms())
def test_any_opinions_in_any_order_give_one_consistent_grid(said: list, random):
    rows = [annotation(i, "bad" if m else "good", m, annotator=who, minute=at) for i, who, m, at in said]
    found = label_frame(annotations(*rows), SHOP, ISSUES, SETTINGS)
    assert label_frame(annotations(*random.sample(rows, len(rows)), *rows), SHOP, ISSUES, SETTINGS).equals(found)
    assert found.select("trace_id", "issue_id").is_unique().all()
    assert found.height == found["trace_id"].n_unique() * found["issue_id"].n_unique()
    assert found["weight"].is_between(0, 1, closed="right").all()
