import polars as pl
import pytest

from evalpipe.signals.features import END, START, hedging_phrases, trace_features
from evalpipe_tests.signals.made import frame, made_id, trace


def features_of(*rows: dict) -> list[dict]:
    found = trace_features(frame(*rows)).traces
    by_id = {row["trace_id"]: row for row in found.iter_rows(named=True)}
    return [by_id[row["trace_id"]] for row in rows]


def test_a_trace_without_messages_has_no_answer_and_one_turn():
    (bare,) = features_of(trace(0))
    assert (bare["n_turns"], bare["n_user_messages"], bare["n_times_asked"], bare["longest_run"]) == (1, 0, 1, 0)
    assert bare["similarity"] is None
    assert bare["hedges_per_100_words"] is None


def test_turns_count_user_messages_over_the_traces_of_a_session():
    first = trace(0, ("user", "where is my parcel"), ("user", "it is late already"), session_id="s")
    second = trace(1, ("user", "what about a refund then"), session_id="s")
    assert [row["n_turns"] for row in features_of(first, second)] == [2, 3]


def test_a_conversation_that_is_sent_again_with_every_request_is_counted_once():
    asked = [("user", text) for text in ("where is my parcel", "who delivers on sunday", "how do i pay by card")]
    rows = [trace(i, *asked[: i + 1], session_id="s") for i in range(3)]
    assert [row["n_turns"] for row in features_of(*rows)] == [1, 2, 3]
    assert [row["n_times_asked"] for row in features_of(*rows)] == [1, 1, 1]


def test_a_window_of_the_conversation_is_no_resubmission():
    """The last two messages are sent each time: only the newest of them is new."""
    texts = ["where is my parcel", "can i change the colour", "who delivers on sunday", "how do i pay by card"]
    rows = [trace(i, *[("user", text) for text in texts[max(0, i - 1) : i + 1]], session_id="s") for i in range(4)]
    assert [row["n_turns"] for row in features_of(*rows)] == [1, 2, 3, 4]
    assert max(row["n_times_asked"] for row in features_of(*rows)) == 1


def test_the_same_request_in_the_next_trace_is_a_resubmission():
    text = "please cancel my order of yesterday"
    first, second = features_of(trace(0, ("user", text), session_id="s"), trace(1, ("user", text), session_id="s"))
    assert (first["similarity"], first["n_times_asked"]) == (None, 1)
    assert (second["similarity"], second["n_times_asked"]) == (1.0, 2)


def test_similarity_is_the_token_jaccard_of_the_nearest_earlier_request():
    # {cancel, my, order, now} and {cancel, my, order, please}: 3 shared of 5
    (row,) = features_of(trace(0, ("user", "cancel my order NOW"), ("user", "please, cancel my order!")))
    assert row["similarity"] == pytest.approx(3 / 5)
    assert row["n_times_asked"] == 2


def test_short_answers_and_other_sessions_are_no_resubmission():
    yes = trace(0, ("user", "yes please"), ("user", "yes please"))
    other = trace(1, ("user", "please cancel my order"))
    assert [row["similarity"] for row in features_of(yes, other, trace(2, ("user", "please cancel my order")))] == [
        None,
        None,
        None,
    ]


def test_a_language_without_spaces_is_compared_sign_by_sign():
    # 想取消我的订单 has 7 signs, 想取消订单 5 of them
    (row,) = features_of(trace(0, ("user", "想取消我的订单"), ("user", "想取消订单")))
    assert row["similarity"] == pytest.approx(5 / 7)
    assert row["n_user_words"] == 7 + 5


def test_an_endless_session_is_compared_with_its_recent_past_only():
    first = "the very first question of them all"
    rows = [trace(0, ("user", first), session_id="s")]
    rows += [trace(i, ("user", f"a{i} b{i} c{i} d{i}"), session_id="s") for i in range(1, 100)]
    rows += [trace(100, ("user", first), session_id="s")]
    assert features_of(*rows)[-1]["similarity"] == 0


def test_the_longest_run_counts_calls_with_equal_arguments_only():
    (row,) = features_of(
        trace(0, *[("call", "search", '{"q": 1}')] * 2, ("call", "search", '{"q": 2}'), *[("call", "pay", "{}")] * 3)
    )
    assert (row["longest_run"], row["run_tool"]) == (3, "pay")


@pytest.mark.parametrize(
    ("after", "n_ignored"),
    [
        ([], 1),
        ([("call", "pay", "{}"), ("result", "pay", "paid")], 0),  # tried again
        ([("call", "bank_transfer", "{}")], 0),  # another way
        ([("call", "search", "{}")], 1),  # on with something that was done before
    ],
)
def test_an_error_is_ignored_when_nothing_is_done_about_it(after: list, n_ignored: int):
    (row,) = features_of(trace(0, ("call", "search", "{}"), ("call", "pay", "{}"), ("error", "pay", "refused"), *after))
    assert row["n_ignored_errors"] == n_ignored


@pytest.mark.parametrize(
    ("answer", "hedges"),
    [
        ("I’m not sure, maybe tomorrow.", ["i'm not sure", "maybe"]),
        ("Maybe. Perhaps!", ["maybe", "perhaps"]),
        ("Er ist vielleicht schon da.", ["vielleicht"]),
        ("明日届くと思います。", ["と思います"]),
        ("The maybelline parcel is at the door.", []),
    ],
)
def test_hedges_are_whole_phrases_in_many_languages(answer: str, hedges: list[str]):
    (row,) = features_of(trace(0, ("assistant", answer)))
    assert row["hedges"] == hedges


def test_hedges_are_counted_per_hundred_words_of_all_answers():
    # 2 hedges in 3 + 5 words
    (row,) = features_of(trace(0, ("assistant", "Maybe on Monday."), ("assistant", "Perhaps on Tuesday, at noon.")))
    assert row["hedges_per_100_words"] == pytest.approx(100 * 2 / 8)


def test_tokens_are_unknown_only_when_none_were_reported():
    none = trace(0, n_input_tokens=None, n_output_tokens=None)
    half = trace(1, n_input_tokens=70, n_output_tokens=None)
    assert [row["n_tokens"] for row in features_of(none, half)] == [None, 70]


def test_the_steps_of_a_trace_go_from_its_start_to_its_end():
    steps = trace_features(frame(trace(0, ("call", "search", "{}"), ("call", "pay", "{}")), trace(1))).steps
    assert steps.filter(pl.col("trace_id") == made_id(1)).select("before", "after").rows() == [
        (START, "search"),
        ("search", "pay"),
        ("pay", END),
    ]
    assert steps.filter(pl.col("trace_id") == made_id(2)).select("before", "after").rows() == [(START, END)]


def test_every_hedging_phrase_is_lower_case_and_found_by_itself():
    phrases = [" ".join(phrase.split()) for phrase in hedging_phrases()]
    rows = features_of(*[trace(i, ("assistant", f"Ok, {phrase}.")) for i, phrase in enumerate(phrases)])
    assert [phrase for phrase, row in zip(phrases, rows, strict=True) if row["hedges"] != [phrase]] == []
