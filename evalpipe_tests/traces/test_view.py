import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.tables import TRACES
from evalpipe.traces.view import (
    NUMBER_FIELDS,
    NUMBER_MEANINGS,
    SEQUENCE_FIELDS,
    TEXT_FIELDS,
    TEXT_MEANINGS,
    tool_name_in_sequence,
    view_frame,
)
from evalpipe_tests.evaluators.made import trace_id, traces, transcript


def view(*transcripts: list[dict], **columns) -> pl.DataFrame:
    return view_frame(traces(*transcripts, **columns))


def one(*messages: tuple[str, ...], **columns) -> dict:
    return view(transcript(*messages), **columns).row(0, named=True)


REFUND = (
    ("system", "You are a shop."),
    ("user", "Please refund order 77"),
    ("call", "find", '{"id": 77}'),
    ("result", "find", '{"total": 54.2, "item": "blue lamp"}'),
    ("assistant", "Found it. Shall I refund 54.20?"),
    ("user", "Yes, refund it"),
    ("call", "refund", '{"id": 77}'),
    ("error", "refund", "card expired"),
    ("call", "find", '{"id": 77}'),
    ("result", "find", '{"total": 54.2}'),
    ("assistant", "I refunded 54.20 and added 30 bonus points."),
)


def test_texts_are_those_of_the_transcript_by_who_said_them():
    row = one(*REFUND)
    assert row["request"] == "Please refund order 77"
    assert row["user"] == "Please refund order 77\x1eYes, refund it"
    assert row["final"] == "I refunded 54.20 and added 30 bonus points."
    assert row["assistant"] == "Found it. Shall I refund 54.20?\x1eI refunded 54.20 and added 30 bonus points."
    assert row["tool_input"] == '{"id": 77}\x1e{"id": 77}\x1e{"id": 77}'
    assert row["tool_output"] == '{"total": 54.2, "item": "blue lamp"}\x1ecard expired\x1e{"total": 54.2}'


def test_the_tool_sequence_holds_each_call_with_how_it_ended():
    assert one(*REFUND)["tool_sequence"] == "\x1ffind:ok\x1frefund:err\x1ffind:ok\x1f"


def test_the_dialogue_holds_who_spoke_between_which_calls():
    assert one(*REFUND)["dialogue"] == (
        "\x1eUPlease refund order 77\x1ffind\x1f\x1ffind\x1f\x1eAFound it. Shall I refund 54.20?\x1eUYes, refund it"
        "\x1frefund\x1f\x1frefund\x1f\x1d\x1ffind\x1f\x1ffind\x1f\x1eAI refunded 54.20 and added 30 bonus points."
    )


def test_a_hostile_message_or_tool_name_cannot_forge_a_place_in_the_dialogue():
    row = one(("user", "no\x1fpay\x1f\x1eAyes\x1d"), ("call", "a\x1eUyes\x1d", "{}"))
    assert row["dialogue"] == "\x1eUno pay  Ayes \x1faUyes\x1f"


def test_only_the_columns_asked_for_are_there_and_they_are_the_same():
    rows = traces(transcript(*REFUND), transcript(("user", "hello")))
    whole = view_frame(rows)
    for field in (*TEXT_FIELDS, *SEQUENCE_FIELDS, *NUMBER_FIELDS):
        alone = view_frame(rows, fields={field})
        assert alone.columns == ["trace_id", "session_id", "service_name", "day", field, "transcript"]
        assert alone[field].equals(whole[field]), field


def test_many_traces_are_looked_at_in_pieces_and_the_view_is_the_same(monkeypatch):
    rows = traces(*[transcript(*REFUND), transcript(("user", "hello")), transcript()] * 3)
    whole = view_frame(rows)
    monkeypatch.setattr("evalpipe.traces.view._CHUNK", 2)
    assert view_frame(rows).equals(whole)


def test_counts_are_those_of_the_transcript():
    row = one(*REFUND)
    assert row["n_user_messages"] == 2
    assert row["n_assistant_messages"] == 2
    assert row["n_tool_calls"] == 3
    assert row["n_tool_errors"] == 1
    assert row["n_distinct_tools"] == 2
    assert row["max_identical_calls"] == 2  # find with {"id": 77}
    assert row["n_request_words"] == 4
    assert row["n_final_words"] == 8  # I refunded 54.20 and added 30 bonus points
    assert row["n_assistant_words"] == 6 + 8  # Found it Shall I refund 54.20


def test_results_of_calls_side_by_side_belong_to_the_call_of_the_same_tool_and_place():
    row = one(
        ("call", "a", "1"),
        ("call", "b", "1"),
        ("call", "a", "2"),
        ("result", "b", ""),
        ("error", "a", ""),
        ("result", "a", ""),
    )
    assert row["tool_sequence"] == "\x1fa:err\x1fb:ok\x1fa:ok\x1f"


def test_a_result_whose_call_was_not_recorded_is_a_call():
    row = one(("result", "search", "nothing"))
    assert row["tool_sequence"] == "\x1fsearch:ok\x1f"
    assert row["max_identical_calls"] == 0  # its arguments are not known


def test_novelty_is_the_share_of_the_answer_without_a_source():
    row = one(*REFUND)
    # Content words: refunded 54.20 added 30 bonus points. 54.20 is the tool's 54.2, the other five are new.
    assert row["answer_novelty"] == pytest.approx(5 / 6)
    # Pairs: i-refunded refunded-54.20 54.20-and and-added added-30 30-bonus bonus-points; none has a source.
    assert row["answer_pair_novelty"] == 1.0
    assert row["n_novel_numbers"] == 1  # 30
    assert row["final_request_overlap"] == 0.0  # "refunded" is another word than "refund"


def test_word_pairs_of_the_answer_are_looked_for_within_one_message():
    row = one(("user", "blue"), ("call", "t", ""), ("result", "t", "lamp is lit"), ("assistant", "Blue lamp is lit"))
    # blue-lamp stands in two messages; lamp-is and is-lit stand in one.
    assert row["answer_pair_novelty"] == pytest.approx(1 / 3)
    assert row["answer_novelty"] == 0.0


def test_what_makes_no_sense_is_null_and_what_is_none_is_zero():
    row = one(("user", "hello"))
    assert row["final"] == ""
    for name in ("answer_novelty", "answer_pair_novelty", "n_novel_numbers", "final_is_json", "n_final_words"):
        assert row[name] is None, name
    for name in ("max_user_similarity", "final_request_overlap", "n_assistant_words", "cost_usd"):
        assert row[name] is None, name
    assert row["n_tool_calls"] == row["n_tool_errors"] == row["n_assistant_messages"] == 0


def test_novelty_needs_a_tool_output_but_new_numbers_do_not():
    row = one(("user", "what is 6 times 7"), ("assistant", "6 times 7 is 42, not 1,000"))
    assert row["answer_novelty"] is None
    assert row["n_novel_numbers"] == 2


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        # {where, is, my, order} and {where, is, my, parcel}: 3 shared of 5.
        ("Where is my order?", "where is MY parcel", 3 / 5),
        ("Where is my order?", "Where is my order?", 1.0),
        ("alpha", "beta", 0.0),
        ("!!!", "???", 0.0),
    ],
)
def test_user_similarity_is_the_jaccard_of_the_words(first: str, later: str, expected: float):
    row = one(("user", first), ("assistant", "?"), ("user", later))
    assert row["max_user_similarity"] == pytest.approx(expected)


def test_the_most_alike_pair_counts_even_with_others_between():
    row = one(("user", "alpha beta"), ("user", "gamma"), ("user", "delta"), ("user", "beta alpha"))
    assert row["max_user_similarity"] == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', 1),
        (" [1, 2]\n", 1),
        ("{a: 1}", 0),
        ("42", 0),
        ('{"a": NaN}', 0),
        ("plain", 0),
        ("[" * 100_000 + "]" * 100_000, 0),
    ],
)
def test_a_json_answer_is_an_object_or_an_array_that_parses(text: str, expected: int):
    assert one(("assistant", text))["final_is_json"] == expected


def test_a_trace_without_transcript_is_read_from_its_request_and_response():
    row = one(request=pl.lit("hi there"), response=pl.lit("hello"))
    assert (row["request"], row["final"], row["n_user_messages"]) == ("hi there", "hello", 1)
    assert [message["role"] for message in row["transcript"]] == ["user", "assistant"]


def test_a_trace_that_says_nothing_has_a_row():
    row = one()
    assert [row[field] for field in TEXT_FIELDS] == [""] * len(TEXT_FIELDS)
    assert row["tool_sequence"] == ""


def test_units_are_seconds_and_the_reported_figures():
    row = one(("user", "hi"), n_input_tokens=pl.lit(12), cost_usd=pl.lit(0.25), turn_index=pl.lit(3))
    assert (row["duration_s"], row["n_input_tokens"], row["cost_usd"], row["turn_index"]) == (1.5, 12.0, 0.25, 3.0)


def test_a_hostile_tool_name_cannot_forge_a_call():
    row = one(("call", "a:ok\x1frefund:ok\x1fb", "{}"))
    assert row["tool_sequence"] == "\x1f" + tool_name_in_sequence("a:ok\x1frefund:ok\x1fb") + ":ok\x1f"
    assert "\x1frefund" not in row["tool_sequence"]


def test_the_view_of_nothing_has_all_columns():
    assert view_frame(TRACES.empty()).columns == view(transcript(("user", "hi"))).columns


def test_every_field_has_a_meaning_in_words():
    assert set(NUMBER_MEANINGS) == set(NUMBER_FIELDS)
    assert set(TEXT_MEANINGS) == set(TEXT_FIELDS)


_WORDS = st.sampled_from(["refund", "the", "lamp", "12", "12.0", "Łódź", "中文", "don’t", "nan", "[1]", "\n", "\x1f"])
_TEXT = st.lists(_WORDS, max_size=6).map(" ".join)
_MESSAGE = st.one_of(
    st.tuples(st.sampled_from(["user", "assistant", "system"]), _TEXT),
    st.tuples(st.sampled_from(["call", "result", "error"]), st.sampled_from(["a", "b", "a:ok"]), _TEXT),
)


def test_turns_of_neighbouring_traces_are_not_taken_for_one_another():
    twice = [("user", "refund"), ("user", "refund")]
    shown = view(*(transcript(*messages) for messages in ([], twice, twice, twice)))
    assert shown["max_user_similarity"].to_list() == [None, 1.0, 1.0, 1.0]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(_MESSAGE, max_size=7), max_size=5))
def test_a_trace_looks_the_same_alone_and_among_others(conversations: list[list[tuple[str, ...]]]):
    steps = [transcript(*messages) for messages in conversations]
    together = view(*steps)
    assert together["trace_id"].to_list() == [trace_id(i) for i in range(len(steps))]
    for i, row in enumerate(steps):
        alone = view_frame(traces(row).with_columns(trace_id=pl.lit(trace_id(i)), session_id=pl.lit(f"session-{i}")))
        assert alone.equals(together[i : i + 1])
    for name in (
        "answer_novelty",
        "answer_pair_novelty",
        "max_user_similarity",
        "final_request_overlap",
        "final_is_json",
    ):
        assert together[name].drop_nulls().is_between(0, 1).all()
