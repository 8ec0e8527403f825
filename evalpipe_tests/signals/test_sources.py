from typing import Any

import pytest

from evalpipe.signals.messages import message_frame
from evalpipe.signals.sources import source_features
from evalpipe_tests.signals.made import frame, trace


def sources_of(*messages: tuple[str, ...]) -> list[dict[str, Any]]:
    return source_features(message_frame(frame(trace(0, *messages)), frame())).rows(named=True)


def test_the_share_counts_different_content_words_and_numbers_found_nowhere():
    # lamp, costs, 30, euros, arrives, monday: of these six, arrives and monday are in no source
    (found,) = sources_of(
        ("user", "what does the lamp cost?"),
        ("result", "search", "lamp: costs 30.00 euros"),
        ("assistant", "The lamp costs 30 euros. It arrives on Monday, yes, Monday."),
    )
    assert found["unsupported"] == pytest.approx(2 / 6)
    assert found["n_unsupported_numbers"] == 0


def test_the_sentences_with_invented_numbers_are_the_evidence_as_they_stand():
    (found,) = sources_of(
        ("result", "search", "lamp: costs 30.50 euros"),
        ("assistant", "The LAMP costs 30.50 euros. You get 15 % off  with code X99!\nLovely weather."),
    )
    assert found["n_unsupported_numbers"] == 1
    assert found["evidence"] == [
        {"signal": "unsupported", "step": 1, "text": "You get 15 % off  with code X99!"},
        {"signal": "unsupported", "step": 1, "text": "Lovely weather."},
    ]


def test_only_the_final_answer_is_compared_and_it_supports_itself_in_nothing():
    (found,) = sources_of(("assistant", "unicorns"), ("result", "search", "lamp"), ("assistant", "unicorns"))
    assert found["unsupported"] == 1


@pytest.mark.parametrize(
    "messages",
    [
        [("user", "hello"), ("assistant", "good day")],  # no source
        [("result", "search", "lamp")],  # no answer
        [("result", "search", "lamp"), ("assistant", "")],
        [],
    ],
)
def test_without_a_source_or_an_answer_there_is_nothing_to_compare(messages: list[tuple[str, ...]]):
    assert sources_of(*messages) == []


def test_a_system_message_is_a_source_when_it_is_of_one_trace_alone():
    """Retrieved context often stands in the system message; what all traces are told is an instruction."""
    context = [trace(n, ("system", f"lamp number {n}"), ("assistant", f"lamp {n}")) for n in range(2)]
    told = [trace(n, ("system", "be kind"), ("assistant", "lamp")) for n in range(2, 4)]
    found = source_features(message_frame(frame(*context, *told), frame()))
    assert found["unsupported"].to_list() == [0, 0]


def test_batches_find_the_same(monkeypatch: pytest.MonkeyPatch):
    rows = [
        trace(n, ("result", "search", f"lamp {n}"), ("assistant", f"the lamp {n} is {'blue' * (n % 3)} today"))
        for n in range(9)
    ]
    messages = message_frame(frame(*rows), frame())
    whole = source_features(messages)
    monkeypatch.setattr("evalpipe.signals.sources._BATCH_CHARS", 50)
    assert source_features(messages).equals(whole)
    assert whole.height == 9
