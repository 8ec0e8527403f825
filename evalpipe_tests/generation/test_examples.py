"""From labels to examples, and what is missing in words."""

from datetime import timedelta

import polars as pl
import pytest

from evalpipe.errors import NotEnoughEvidenceError
from evalpipe.generation.examples import Evidence, examples_for, missing_evidence
from evalpipe.settings import GenerationSettings
from evalpipe_tests.generation.planted import labels_of, planted

SETTINGS = GenerationSettings()


def test_examples_are_sorted_and_keep_label_and_weight_of_their_trace():
    made = planted("rude", 12, 20, seed=1)
    labels = made.labels.with_columns(weight=pl.when("is_failure").then(0.5).otherwise(1.0))
    examples = examples_for(labels.sample(fraction=1, shuffle=True, seed=1), made.traces, SETTINGS)
    truth = dict(made.labels.select("trace_id", "is_failure").iter_rows())
    assert examples.trace_ids == sorted(truth)
    assert examples.is_failure.tolist() == [truth[trace] for trace in examples.trace_ids]
    assert examples.weight.tolist() == [0.5 if failed else 1.0 for failed in examples.is_failure.tolist()]
    assert (examples.n_positives, examples.n_negatives) == (12, 20)


def test_a_label_weighs_half_as_much_for_every_half_life_that_it_is_older():
    made = planted("rude", 12, 20, seed=1)
    old = made.labels["trace_id"][3]
    earlier = pl.col("labelled_at") - timedelta(days=60)
    labels = made.labels.with_columns(
        labelled_at=pl.when(pl.col("trace_id") == old).then(earlier).otherwise("labelled_at")
    )
    examples = examples_for(labels, made.traces, GenerationSettings(half_life_days=30))
    weights = dict(zip(examples.trace_ids, examples.weight.tolist(), strict=True))
    assert weights.pop(old) == pytest.approx(0.25)  # 60 days are two half-lives
    assert set(weights.values()) == {1.0}


def test_traces_of_one_case_weigh_less_than_as_many_cases():
    made = planted("rude", 12, 20, seed=1)
    failed = made.labels.filter("is_failure")["trace_id"]
    is_one_session = pl.col("trace_id").is_in(failed[:3].implode())
    traces = made.traces.with_columns(session_id=pl.when(is_one_session).then(pl.lit("same")).otherwise("session_id"))
    examples = examples_for(made.labels, traces, SETTINGS)
    weights = dict(zip(examples.trace_ids, examples.weight.tolist(), strict=True))
    # Three failures of one session: 1 / (1 + 2 * 0.5) each, so they weigh 1.5 together.
    assert [weights.pop(trace) for trace in failed[:3]] == pytest.approx([0.5] * 3)
    assert set(weights.values()) == {1.0}


def test_a_label_whose_trace_is_gone_is_left_out():
    made = planted("rude", 12, 20, seed=1)
    examples = examples_for(made.labels, made.traces.filter(pl.col("trace_id") != made.labels["trace_id"][0]), SETTINGS)
    assert len(examples.groups) == 31


def test_negatives_come_only_from_services_where_the_failure_was_seen():
    made = planted("rude", 12, 20, seed=1)
    is_moved = ~pl.col("trace_id").is_in(made.labels.filter("is_failure")["trace_id"].implode())
    moved = made.traces.with_columns(
        service_name=pl.when(is_moved & (pl.col("trace_id") < "8")).then(pl.lit("billing")).otherwise("service_name")
    )
    examples = examples_for(made.labels, moved, GenerationSettings(min_negatives=1))
    assert set(examples.view["service_name"]) == {"support"}


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (Evidence(10, 10, 5), ""),
        (Evidence(6, 7, 5), "4 more failures, 3 more good traces"),
        (Evidence(9, 20, 5), "1 more failure"),
        (Evidence(0, 9, 0), "10 more failures, 1 more good trace"),
    ],
)
def test_what_is_missing_is_said_in_words(evidence: Evidence, words: str):
    assert missing_evidence(evidence, SETTINGS) == words


def test_ten_failures_of_one_session_are_one_case_and_not_enough():
    made = planted("rude", 12, 20, seed=1)
    one_session = made.traces.with_columns(session_id=pl.lit("same"))
    with pytest.raises(NotEnoughEvidenceError, match=r"only 1 different case.*5 are needed"):
        examples_for(labels_of(one_session, made.labels["is_failure"].to_list()), one_session, SETTINGS)


def test_too_few_labels_are_refused_with_the_number_missing():
    made = planted("rude", 3, 4, seed=1)
    with pytest.raises(NotEnoughEvidenceError, match="7 more failures, 6 more good traces"):
        examples_for(made.labels, made.traces, SETTINGS)
