import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.signals.messages import message_frame
from evalpipe.signals.requests import NEARLY_SAME, request_features
from evalpipe_tests.signals.made import frame, made_id, trace

HOUR = 3_600 * 10**9


def features_of(*rows: dict[str, Any], earlier: tuple[dict[str, Any], ...] = ()) -> list[dict[str, Any]]:
    found = request_features(message_frame(frame(*rows), frame(*earlier)))
    by_id = {row["trace_id"]: row for row in found.iter_rows(named=True)}
    return [by_id[row["trace_id"]] for row in rows]


def similarity(first: str, second: str) -> float:
    """Of two requests of a session, among a day of other requests to the same service."""
    others = [trace(i, ("user", f"tell me about article {i} of the catalogue")) for i in range(2, 40)]
    row, *_ = features_of(trace(0, ("user", first), ("user", second)), *others)
    return row["similarity"]


def test_what_users_say_is_counted():
    (row,) = features_of(trace(0, ("user", "where is my parcel"), ("assistant", "There."), ("user", "想取消我的订单")))
    assert (row["n_user_messages"], row["n_new_requests"], row["n_user_words"]) == (2, 2, 4 + 7)


def test_a_conversation_that_is_sent_again_with_every_request_is_counted_once():
    asked = [("user", text) for text in ("where is my parcel", "who delivers on sunday", "how do i pay by card")]
    rows = [trace(i, *asked[: i + 1], session_id="s") for i in range(3)]
    assert [row["n_new_requests"] for row in features_of(*rows)] == [1, 1, 1]
    assert [row["n_times_asked"] for row in features_of(*rows)] == [1, 1, 1]


def test_a_window_of_the_conversation_is_no_resubmission():
    """The last two messages are sent each time: only the newest of them is new."""
    texts = ["where is my parcel", "can i change the colour", "who delivers on sunday", "how do i pay by card"]
    rows = [trace(i, *[("user", text) for text in texts[max(0, i - 1) : i + 1]], session_id="s") for i in range(4)]
    assert [row["n_new_requests"] for row in features_of(*rows)] == [1, 1, 1, 1]
    assert max(row["n_times_asked"] for row in features_of(*rows)) == 1


def test_the_same_request_in_the_next_trace_is_a_resubmission():
    text = "please cancel my order of yesterday"
    first, second = features_of(trace(0, ("user", text), session_id="s"), trace(1, ("user", text), session_id="s"))
    assert (first["similarity"], first["n_times_asked"], first["evidence"]) == (None, 1, [])
    assert (second["similarity"], second["n_times_asked"]) == (pytest.approx(1), 2)
    assert second["evidence"] == [{"signal": "resubmission", "step": 0, "text": text}]


def test_a_request_of_an_earlier_day_of_the_session_counts_but_has_no_row():
    text = "please cancel my order of yesterday"
    earlier = trace(0, ("user", text), session_id="s")
    (row,) = features_of(trace(1, ("user", text), session_id="s"), earlier=(earlier,))
    assert row["n_times_asked"] == 2


def test_similarity_is_the_cosine_of_weighted_words():
    # Stems of 6 letters or fewer weigh length / 5, times 1 - ln((1 + n_with) / (1 + n)) of n = 2 requests:
    # shared "cance" and "order" (n_with 2, factor 1) 1 each and "my" 0.4; alone (n_with 1, factor 1 + ln(3 / 2)
    # = 1.405) "now" 0.6 * 1.405 = 0.843, "pleas" 1.405. (2.4) / sqrt((2.4 + 0.843) * (2.4 + 1.405)) = 0.683
    (row,) = features_of(trace(0, ("user", "cancel my order NOW"), ("user", "please, cancel my order!")))
    assert row["similarity"] == pytest.approx(0.683, abs=0.001)
    assert row["n_times_asked"] == 2


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        ("Where is my order 4411?", "what's the status of order 4411", "Where is my order 5120?"),
        ("how do I reset my password", "I forgot my password, how can I change it", "is my password stored safely"),
        ("when will my parcel be delivered", "the delivery date of my parcel?", "can my parcel be left at the door"),
        ("Wo ist meine Bestellung?", "Wo bleibt denn meine Bestellung", "Ich möchte meine Bestellung stornieren"),
        ("我的订单在哪里", "我的订单到哪里了", "我想退货我的灯"),
    ],
)
def test_another_wording_is_nearer_than_another_request_of_the_topic(first: str, same: str, other: str):
    assert similarity(first, same) > similarity(first, other) + 0.1
    assert similarity(first, other) < NEARLY_SAME


def test_short_answers_and_other_sessions_are_no_resubmission():
    text = "please cancel my order"
    rows = features_of(trace(0, ("user", "yes"), ("user", "yes")), trace(1, ("user", text)), trace(2, ("user", text)))
    assert [row["similarity"] for row in rows] == [None, None, None]


def test_saying_yes_to_what_was_proposed_is_no_resubmission():
    asked = ("user", "please cancel my order of yesterday")
    (row,) = features_of(trace(0, asked, ("assistant", "All of it?"), ("user", "Yes, cancel my order of yesterday.")))
    assert row["n_times_asked"] == 1


def test_a_question_that_begins_with_ok_is_a_request():
    (row,) = features_of(trace(0, ("user", "where is my order"), ("user", "Ok, but where is my order?")))
    assert row["n_times_asked"] == 2


def test_a_user_without_sessions_is_known_by_his_id_within_a_day_and_a_service():
    def asked(number: int, hour: int, **columns: Any) -> dict[str, Any]:
        return trace(
            number,
            ("user", "please cancel my order of yesterday"),
            **{"session_id": None, "user_id": "ann", "start_unix_ns": hour * HOUR, **columns},
        )

    rows = [
        asked(0, 0),
        asked(1, 1),
        asked(2, 26),  # 25 hours after the one before
        asked(3, 27, service_name="bank"),
        asked(4, 28, user_id=None),
    ]
    assert [row["n_times_asked"] for row in features_of(*rows)] == [1, 2, 1, 1, 1]


def test_a_user_without_sessions_may_send_the_conversation_so_far():
    asked = [("user", text) for text in ("where is my parcel", "who delivers on sunday")]
    rows = [trace(i, *asked[: i + 1], session_id=None, user_id="ann") for i in range(2)]
    assert [row["n_times_asked"] for row in features_of(*rows)] == [1, 1]


def test_a_program_that_asks_all_day_under_one_id_does_not_repeat_itself():
    rows = [trace(i, ("user", "summarise the news please"), session_id=None, user_id="job") for i in range(201)]
    assert {row["similarity"] for row in features_of(*rows)} == {None}


def test_an_endless_session_is_compared_with_its_recent_past_only():
    first = "the very first question of them all"
    rows = [trace(0, ("user", first), session_id="s")]
    rows += [trace(i, ("user", f"a{i} b{i} c{i} d{i}"), session_id="s") for i in range(1, 50)]
    rows += [trace(50, ("user", first), session_id="s")]
    assert features_of(*rows)[-1]["similarity"] == 0


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("No, I said the red one. That's wrong.", ["no i said", "that's wrong"]),
        ("Das ist falsch, ich will mit einem Menschen sprechen", ["das ist falsch", "mit einem menschen sprechen"]),
        ("違いますか。", ["違います"]),
        ("違います。質問に答えて", ["違います", "質問に答えて"]),
        ("答非所问,转人工", ["答非所问", "转人工"]),
        ("WHERE IS MY PARCEL", ["capitals"]),
        ("where is it???", ["???"]),
        ("order 4411 for NASA and IBM!", []),
    ],
)
def test_dissatisfaction_shows_in_phrases_capitals_and_punctuation(text: str, signs: list[str]):
    (row,) = features_of(trace(0, ("assistant", "Done."), ("user", text)))
    assert row["complaints"] == signs
    assert row["n_complaints"] == len(signs)
    assert all(place["text"] in text and place["step"] == 1 for place in row["evidence"])
    assert bool(row["evidence"]) == bool(signs)


@pytest.mark.parametrize(
    ("messages", "is_left"),
    [
        ([("user", "hello"), ("assistant", "hi")], False),
        ([("user", "hello"), ("assistant", "hi"), ("user", "and now")], True),
        ([("user", "hello"), ("call", "search", "{}"), ("result", "search", "found")], True),
        ([("user", "hello"), ("assistant", " \n")], True),
        ([("user", "a person, please"), ("call", "transfer", "{}"), ("result", "transfer", "ok")], False),
        ([("user", "a person, please"), ("call", "transfer", "{}"), ("error", "transfer", "503")], True),
        ([("assistant", "hi")], False),
    ],
)
def test_a_user_is_left_unanswered_when_nothing_is_said_or_done_after_his_last_message(messages: list, is_left: bool):
    (row,) = features_of(trace(0, *messages))
    assert row["is_left_unanswered"] is is_left


def test_a_trace_without_user_messages_has_a_row_and_one_without_steps_has_none():
    found = request_features(message_frame(frame(trace(0, ("assistant", "hi")), trace(1)), frame()))
    assert found["trace_id"].to_list() == [made_id(1)]
    assert found.row(0, named=True) == {
        **{"trace_id": made_id(1), "n_user_messages": 0, "n_new_requests": 0, "n_user_words": 0, "similarity": None},
        **{"n_times_asked": 1, "n_complaints": 0, "complaints": [], "is_left_unanswered": False, "evidence": []},
    }


def test_a_day_without_traces_has_no_rows():
    assert request_features(message_frame(frame(), frame())).is_empty()


@settings(deadline=None)
@given(st.lists(st.text(max_size=120), max_size=5))
def test_any_text_is_survived(texts: list[str]):
    (row,) = features_of(trace(0, *[("user", text) for text in texts], ("assistant", "")))
    assert row["n_user_messages"] == len(texts)
    assert row["similarity"] is None or 0 <= row["similarity"] <= 1
    assert all(place["text"] in texts[place["step"]] for place in row["evidence"])


def test_requests_of_five_megabytes_cost_a_few_seconds():
    words = "where is my parcel of monday? "
    started = time.process_time()
    (row,) = features_of(trace(0, ("user", words * 170_000), ("user", "!?" * 2_500_000)))
    assert time.process_time() - started < 10
    assert row["n_user_words"] == 6 * 170_000
    assert all(len(place["text"]) <= 200 for place in row["evidence"])


def test_rows_do_not_depend_on_the_order_of_the_traces():
    rows = [trace(i, ("user", f"where is my parcel {i % 3}"), session_id="s") for i in range(6)]
    there, back = (request_features(message_frame(frame(*order), frame())) for order in (rows, rows[::-1]))
    assert there.equals(back)
    assert there["trace_id"].is_sorted()
