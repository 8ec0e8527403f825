from typing import Any

import polars as pl
import pytest

from evalpipe.signals.messages import message_frame
from evalpipe.signals.tools import only_looks, tool_features
from evalpipe_tests.signals.made import YESTERDAY, frame, trace


def tools_of(*messages: tuple[str, ...]) -> dict[str, Any]:
    return tool_features(message_frame(frame(trace(0, *messages)), frame())).row(0, named=True)


def calls(*names: str) -> list[tuple[str, str, str]]:
    return [("call", name, "{}") for name in names]


def test_calls_are_kept_in_order_with_their_steps():
    found = tools_of(("user", "hello"), ("call", "search", "{}"), ("result", "search", "1"), ("call", "pay", "{}"))
    assert found["calls"] == [{"tool": "search", "step": 1}, {"tool": "pay", "step": 3}]


def test_only_traces_of_today_that_use_a_tool_have_a_row():
    messages = message_frame(frame(trace(0, ("user", "hi"))), frame(trace(1, *calls("a"), day=YESTERDAY)))
    assert tool_features(messages).is_empty()


@pytest.mark.parametrize(
    ("made", "n_repeats", "repeated"),
    [
        ("a", 1, []),
        ("abc", 1, []),
        ("aab", 2, ["a"]),
        ("abbba", 3, ["b"]),
        ("ababab", 3, ["a", "b"]),
        ("ababa", 2, ["a", "b"]),  # the third time is not complete
        ("xabcabcx", 2, ["a", "b", "c"]),
        ("aaaa", 4, ["a"]),  # and not twice 'a, a'
        ("abcdeabcde", 1, []),  # five steps are the rhythm of a task
    ],
)
def test_the_longest_run_is_of_a_call_or_of_a_cycle(made: str, n_repeats: int, repeated: list[str]):
    found = tools_of(*calls(*made))
    assert (found["n_repeats"], found["repeated"]) == (n_repeats, repeated)


def test_calls_with_other_arguments_repeat_nothing():
    assert tools_of(("call", "search", '{"q": 1}'), ("call", "search", '{"q": 2}'))["n_repeats"] == 1


def test_what_comes_back_in_between_does_not_end_a_run_and_its_two_ends_are_the_evidence():
    found = tools_of(("user", "go"), ("call", "a", "{}"), ("result", "a", "wait"), ("call", "a", "{}"))
    assert found["n_repeats"] == 2
    assert [(place["signal"], place["step"]) for place in found["evidence"]] == [("repetition", 1), ("repetition", 3)]


def test_two_traces_side_by_side_do_not_make_a_run():
    messages = message_frame(frame(trace(0, *calls("a")), trace(1, *calls("a"))), frame())
    assert tool_features(messages)["n_repeats"].to_list() == [1, 1]


@pytest.mark.parametrize(
    ("after", "n_ignored"),
    [
        ([], 1),
        ([("call", "pay", "{}"), ("result", "pay", "paid")], 0),  # tried again
        ([("call", "bank_transfer", "{}")], 0),  # another way
        ([("call", "search", "{}")], 1),  # on with something that was done before
    ],
)
def test_an_error_is_ignored_when_nothing_is_done_about_it(after: list[tuple[str, ...]], n_ignored: int):
    found = tools_of(*calls("search", "pay"), ("error", "pay", "refused"), *after)
    assert found["n_ignored_errors"] == n_ignored


def test_an_ignored_error_shows_in_its_message():
    found = tools_of(*calls("pay"), ("error", "pay", "Refused: " + "x" * 900))
    assert found["ignored_tool"] == "pay"
    assert found["evidence"] == [{"signal": "ignored_error", "step": 1, "text": "Refused: " + "x" * 191}]


def test_an_error_without_a_recorded_call_is_ignored_too():
    found = tools_of(("error", "pay", "refused"))
    assert (found["n_ignored_errors"], found["n_repeats"], found["calls"]) == (1, 0, [])


@pytest.mark.parametrize(
    ("tool", "is_looking"),
    [
        *(("get_order", True), ("orders.list", True), ("searchFlights", True), ("mcp__shop__check_stock", True)),
        *(("issue_refund", False), ("budget", False), ("updateAddress", False), ("(unnamed)", False)),
    ],
)
def test_tools_that_only_look_are_known_by_a_word_of_their_name(tool: str, is_looking: bool):
    assert pl.select(only_looks(pl.lit(tool))).item() is is_looking


def test_a_runaway_trace_keeps_its_first_thousand_calls():
    assert len(tools_of(*calls(*["a"] * 1_500))["calls"]) == 1_000
