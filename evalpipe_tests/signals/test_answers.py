import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.signals.answers import answer_features
from evalpipe.signals.messages import message_frame
from evalpipe_tests.signals.made import frame, made_id, trace

ASKED = ("user", "where is my parcel, and when will it be here")


def features_of(*rows: dict[str, Any], earlier: tuple[dict[str, Any], ...] = ()) -> list[dict[str, Any]]:
    found = answer_features(message_frame(frame(*rows), frame(*earlier)))
    by_id = {row["trace_id"]: row for row in found.iter_rows(named=True)}
    return [by_id[row["trace_id"]] for row in rows]


def answered(*texts: str) -> dict[str, Any]:
    (row,) = features_of(trace(0, ASKED, *[("assistant", text) for text in texts]))
    return row


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
    assert answered(answer)["hedges"] == hedges


def test_hedges_are_counted_per_hundred_words_of_all_answers():
    # 2 hedges in 3 + 5 words
    row = answered("Maybe on Monday.", "Perhaps on Tuesday, at noon.")
    assert (row["n_answer_words"], row["hedges_per_100_words"]) == (8, pytest.approx(100 * 2 / 8))
    assert row["evidence"] == [
        {"signal": "hedging", "step": 1, "text": "Maybe on Monday."},
        {"signal": "hedging", "step": 2, "text": "Perhaps on Tuesday, at noon."},
    ]


def test_refusals_are_counted_by_sentence():
    row = answered("I'm sorry. As an AI, I can't help with that. Please contact support! It is open.")
    assert row["n_refusals"] == 2
    assert row["refusals"] == ["as an ai", "i can't help with", "please contact support"]
    assert [place["text"] for place in row["evidence"]] == [
        "As an AI, I can't help with that.",
        "Please contact support!",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        "Dabei kann ich Ihnen leider nicht helfen.",
        "Je ne suis pas en mesure de répondre.",
        "申し訳ありませんが、お答えできません。",
        "抱歉，我无法提供这个信息。",
        "죄송하지만 도와드릴 수 없습니다.",
    ],
)
def test_refusals_are_known_in_many_languages(answer: str):
    assert answered(answer)["n_refusals"] == 1


def test_what_an_earlier_trace_answered_already_is_not_counted_again():
    said = [ASKED, ("assistant", "Maybe. I can't help with that.")]
    first = trace(0, *said, session_id="s")
    second = trace(1, *said, ("user", "and who delivers on sunday"), ("assistant", "We do."), session_id="s")
    _, row = features_of(first, second)
    assert (row["n_answer_words"], row["hedges"], row["n_refusals"]) == (2, [], 0)


SENTENCE = "Your parcel is on its way to you."


@pytest.mark.parametrize(
    ("answer", "broken_output"),
    [
        ("It is here.", 0.0),
        (" \n\t ", 1.0),
        ("Run this:\n```\npip install lamp", 0.8),
        ("Run this:\n```\npip install lamp\n```", 0.0),
        ('{"items": [{"name": "lamp"', 0.8),
        ('```json\n{"items": [{"name": "la', 0.8),
        ('{"items": []}', 0.0),
        ("[The shop](https://example.com) has it.", 0.0),
        ("[1] A lamp. [2] A door.", 0.0),
        (f"{SENTENCE} {SENTENCE} Really. {SENTENCE}", 0.6),
        (f"{SENTENCE} {SENTENCE}", 0.0),
        ("- Yes\n- Yes\n- Yes", 0.0),
        ("Hello {{first_name}}, it is here.", 0.6),
        ("Use `{{first_name}}` in the template.", 0.0),
        ("Hello undefined, it is here.", 0.6),
        ("The variable is undefined.", 0.0),
        ("It costs $NaN.", 0.6),
        ("Your order: [object Object]", 0.6),
    ],
)
def test_an_answer_is_whole_or_broken(answer: str, broken_output: float):
    row = answered(answer)
    assert row["broken_output"] == broken_output
    assert row["is_cut_off"] is (broken_output == 0.8)
    places = [place for place in row["evidence"] if place["signal"] == "broken_output"]
    assert len(places) == (broken_output > 0)
    assert all(place["step"] == 1 and (place["text"] is None or place["text"] in answer) for place in places)


@pytest.mark.parametrize(
    ("answer", "is_json"),
    [
        ('{"a": 1}', True),
        (' [{"a": 1}]\n', True),
        ('```json\n{"a": 1}\n```', True),
        ('Here: {"a": 1}', False),
        ('{"a": 1', False),
        ("42", False),
        ('"text"', False),
    ],
)
def test_an_answer_is_json_when_it_is_one_object_or_array(answer: str, is_json: bool):
    assert answered(answer)["is_json"] is is_json


def test_only_the_final_answer_is_looked_at_for_breaks():
    assert answered("Hello {{name}}", "It is here.")["broken_output"] == 0


def test_an_answer_in_another_language_is_shown():
    answer = "Das Paket ist auf dem Weg zu Ihnen und wird am Montag da sein."
    row = answered(answer)
    assert (row["request_language"], row["answer_language"], row["language_mismatch"]) == ("en", "de", 1.0)
    assert row["evidence"] == [{"signal": "language_mismatch", "step": 1, "text": answer}]


def test_without_an_answer_its_figures_are_unknown():
    (row,) = features_of(trace(0, ASKED))
    assert (row["hedges"], row["refusals"], row["language_mismatch"], row["evidence"]) == ([], [], 0.0, [])
    for unknown in ("n_answer_words", "hedges_per_100_words", "n_refusals", "broken_output", "is_json", "is_cut_off"):
        assert row[unknown] is None


def test_only_traces_of_today_have_rows():
    earlier = trace(0, ASKED, ("assistant", "Maybe."), session_id="s")
    found = answer_features(message_frame(frame(trace(1, ASKED, session_id="s")), frame(earlier)))
    assert found["trace_id"].to_list() == [made_id(2)]


def test_a_day_without_traces_has_no_rows():
    assert answer_features(message_frame(frame(), frame())).is_empty()


@settings(deadline=None)
@given(st.lists(st.text(max_size=300), min_size=1, max_size=3))
def test_any_text_is_survived_and_evidence_stands_in_it(texts: list[str]):
    row = answered(*texts)
    assert row["broken_output"] in (0.0, 0.6, 0.8, 1.0)
    assert all(place["text"] is None or place["text"] in texts[place["step"] - 1] for place in row["evidence"])


def test_an_answer_of_five_megabytes_costs_a_few_seconds():
    started = time.process_time()
    row = answered('{"a": [' + '{"text": "maybe {{ it ``` is. "},\n' * 160_000)
    assert time.process_time() - started < 10
    assert row["is_cut_off"]
