import polars as pl
import pytest

from evalpipe.evaluators.view import NUMBER_FIELDS, NUMBER_MEANINGS, TEXT_FIELDS, TEXT_MEANINGS, evaluator_view
from evalpipe.signals.features import feature_frame
from evalpipe.tables import TRACES
from evalpipe.traces.view import SEQUENCE_FIELDS
from evalpipe_tests.evaluators.made import traces, transcript

ASKED_TWICE = transcript(
    ("user", "Where is my order 12?"),
    ("assistant", "I am not sure, maybe it is lost."),
    ("user", "Where is my order 12?"),
    ("assistant", "I have cancelled your order."),
)
TWO = traces(ASKED_TWICE, transcript(("user", "hello"), ("assistant", "Hello, how can I help?")))


def test_every_field_has_a_meaning_in_words_and_no_two_have_the_same():
    assert set(NUMBER_MEANINGS) == set(NUMBER_FIELDS)
    assert set(TEXT_MEANINGS) == set(TEXT_FIELDS)
    assert len(set(NUMBER_MEANINGS.values())) == len(NUMBER_FIELDS)


def test_the_view_holds_all_fields_and_the_transcript_for_each_trace_in_its_order():
    view = evaluator_view(TWO[::-1])
    assert view["trace_id"].to_list() == TWO["trace_id"].to_list()[::-1]
    assert set(view.columns) == {
        *("trace_id", "session_id", "service_name", "day", "transcript"),
        *(*TEXT_FIELDS, *SEQUENCE_FIELDS, *NUMBER_FIELDS),
    }
    assert all(view.schema[name] == pl.Float64 for name in NUMBER_FIELDS)
    assert evaluator_view(TRACES.empty()).schema == view.schema


def test_numbers_of_language_and_session_are_those_of_the_features():
    row = evaluator_view(TWO).row(0, named=True)
    assert (row["n_times_asked"], row["n_unbacked_claims"]) == (2.0, 1.0)  # no tool cancelled anything
    assert row["n_turns"] == 2.0
    assert row["is_left_unanswered"] == 0.0


def test_features_that_the_pipeline_counted_are_taken_and_only_lacking_ones_are_counted_here():
    counted = feature_frame(TWO[:1], TRACES.empty()).with_columns(n_turns=pl.lit(9, pl.Int64))
    view = evaluator_view(TWO, counted)
    assert view["n_turns"].to_list() == [9.0, 1.0]


@pytest.mark.parametrize("fields", [set(), {"final"}, {"n_turns", "user"}, {"dialogue", "answer_novelty"}])
def test_what_is_not_asked_for_is_absent(fields: set[str]):
    view = evaluator_view(TWO, fields=fields)
    assert set(view.columns) == {"trace_id", "session_id", "service_name", "day", "transcript", *fields}
    whole = evaluator_view(TWO)
    assert view.equals(whole.select(view.columns))


def test_two_cases_of_the_same_id_stay_two():
    twice = pl.concat([TWO, TWO])
    assert evaluator_view(twice).height == 4
