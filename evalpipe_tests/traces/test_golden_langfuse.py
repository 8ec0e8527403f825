"""What Langfuse's Python SDK 5.0.4 sends. Expected figures are those of the scripted model: golden/make/server.py."""

import json

import pytest

from evalpipe_tests.traces.golden.read import golden, steps_of
from evalpipe_tests.traces.made import said

ARGUMENTS = '{"order_id": "1042"}'
RESULT = '{"order_id": "1042", "status": "shipped"}'
SPANS, TRACES = golden("langfuse")


def transcript(i):
    return steps_of(TRACES.row(i, named=True))


def test_the_observations_are_what_their_types_say():
    assert SPANS["dialect"].unique().to_list() == ["langfuse"]
    first = SPANS.filter(trace_id=TRACES["trace_id"][0]).sort("start_unix_ns")
    assert first["operation"].to_list() == ["agent", "llm", "tool", "llm"]


def test_a_turn_with_a_tool_call_reads_as_it_was_said():
    assert transcript(0) == [
        ("system", "You help customers of a shop.", None),
        ("user", "Where is order 1042?", None),
        ("tool_call", ARGUMENTS, "get_order"),
        ("tool_result", RESULT, "get_order"),
        ("assistant", "Order 1042 left the warehouse on Monday.", None),
    ]
    row = TRACES.row(0, named=True)
    assert (row["request"], row["response"]) == ("Where is order 1042?", "Order 1042 left the warehouse on Monday.")
    # 52 + 89 read, 17 + 12 written.
    assert (row["n_input_tokens"], row["n_output_tokens"]) == (141, 29)
    assert (row["n_llm_calls"], row["n_tool_calls"], row["n_tool_errors"]) == (2, 1, 0)


def test_the_second_turn_has_its_history_once():
    assert transcript(1) == [*transcript(0), ("user", "When does it arrive?", None), SECOND_ANSWER]
    assert TRACES["request"][1] == "When does it arrive?"


SECOND_ANSWER = ("assistant", "It arrives on Thursday.", None)


def test_session_user_release_and_environment_are_known():
    columns = ("session_id", "user_id", "service_version", "environment", "service_name")
    assert TRACES.select(columns).unique().rows() == [("chat-7", "ada", "2.1.0", "staging", "shop")]


def test_a_streamed_answer_is_one_step():
    assert transcript(2) == [
        ("user", "Tell me a parcel joke.", None),
        ("assistant", "Why did the parcel blush? It saw the label.", None),
    ]
    (row,) = SPANS.filter(trace_id=TRACES["trace_id"][2]).to_dicts()
    assert said(row, "model", "n_input_tokens", "n_output_tokens", "n_cached_tokens", "finish_reason") == {
        "model": "scripted-1-2026-02-16",
        "n_input_tokens": 21,
        "n_output_tokens": 11,
        "n_cached_tokens": 0,
        "finish_reason": "stop",
    }


def test_failures_are_errors():
    call, tool = (SPANS.filter(trace_id=TRACES["trace_id"][i]).row(0, named=True) for i in (3, 4))
    assert (call["status"], call["status_message"]) == ("error", "Error code: 400 - The script breaks here.")
    assert (call["cost_usd"], call["n_input_tokens"]) == (0.0, None)
    assert said(tool, "tool_name", "is_tool_success", "status_message") == {
        "tool_name": "cancel_order",
        "is_tool_success": False,
        "status_message": "order 1042 has left",
    }


def test_cached_tokens_are_inside_openais_figure():
    (answer,) = SPANS.filter(trace_id=TRACES["trace_id"][1], operation="llm").to_dicts()
    assert (answer["n_input_tokens"], answer["n_cached_tokens"]) == (120, 64)


def test_langfuses_own_usage_adds_up():
    (row,) = SPANS.filter(name="by hand").to_dicts()
    # input 40 + read from the cache 64 + written to it 16
    assert (row["n_input_tokens"], row["n_cached_tokens"], row["n_cache_write_tokens"]) == (120, 64, 16)
    assert (row["n_output_tokens"], row["cost_usd"]) == (9, 0.75)


@pytest.mark.parametrize("key", ["usage_details", "cost_details"])
def test_what_is_read_in_part_is_kept_whole(key):
    (row,) = SPANS.filter(name="by hand").to_dicts()
    assert f"langfuse.observation.{key}" in json.loads(row["attributes"])
