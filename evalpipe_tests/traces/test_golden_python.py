"""The shop's conversation as eleven Python instrumentations really sent it (golden/make/README.md).

All of them ran the same application against the same scripted model, so all must come out the same. Expected is what
that model and the shop said (golden/make/server.py, shop.py), never what the spans say of it.
"""

import json
from functools import cache

import pytest

from evalpipe_tests.traces.golden.read import Golden, golden

SYSTEM = ("system", "You help customers of a shop.", None)
FIRST_TURN = [
    ("user", "Where is order 1042?", None),
    ("tool_call", {"order_id": "1042"}, "get_order"),
    ("tool_result", {"order_id": "1042", "status": "shipped"}, "get_order"),
    ("assistant", "Order 1042 left the warehouse on Monday.", None),
]
SECOND_TURN = [("user", "When does it arrive?", None), ("assistant", "It arrives on Thursday.", None)]
JOKE = [
    ("user", "Tell me a parcel joke.", None),
    ("assistant", "Why did the parcel blush? It saw the label.", None),
]
BREAKDOWN = [("user", "Break.", None)]
FIRST, SECOND, STREAMED, FAILED, EMBEDDED = range(5)  # the traces of a recording in order

WITH_TOOL_SPANS = ("openinference", "openllmetry", "openllmetry_flat", "pydantic_ai_1", "pydantic_ai_2", "langsmith")
WITH_MESSAGES = (*WITH_TOOL_SPANS, "openinference_langchain", "openai_v2", "logfire", "logfire_4")
WITHOUT_CACHED_TOKENS = ("openai_v2", "openai_v2_old", "pydantic_ai_1")  # they do not say how many were cached
ALL = (*WITH_MESSAGES, "openai_v2_old")


def recordings(*names):
    return pytest.mark.parametrize("name", names)


@cache
def recorded(name: str) -> Golden:
    return golden(name)


def trace(name, number):
    return recorded(name).traces.row(number, named=True)


def transcript(name, number):
    return [_step(step) for step in trace(name, number)["transcript"]]


def spans_of(name, number, operation):
    """SPANS rows of one trace and operation, in order of their start."""
    spans = recorded(name).spans.filter(trace_id=trace(name, number)["trace_id"], operation=operation)
    return spans.sort("start_unix_ns").to_dicts()


def _step(step):
    is_json = step["role"] in ("tool_call", "tool_result")
    return step["role"], json.loads(step["content"]) if is_json else step["content"], step["tool"]


@recordings(*WITH_MESSAGES)
def test_a_turn_with_a_tool_call_reads_as_it_was_said(name):
    assert transcript(name, FIRST) == [SYSTEM, *FIRST_TURN]
    row = trace(name, FIRST)
    assert (row["request"], row["response"]) == ("Where is order 1042?", "Order 1042 left the warehouse on Monday.")


@recordings(*WITH_MESSAGES)
def test_the_second_turn_has_its_history_once(name):
    assert transcript(name, SECOND) == [SYSTEM, *FIRST_TURN, *SECOND_TURN]
    row = trace(name, SECOND)
    assert (row["request"], row["response"]) == ("When does it arrive?", "It arrives on Thursday.")


@recordings(*WITH_MESSAGES)
def test_a_streamed_answer_is_one_step(name):
    assert transcript(name, STREAMED) == JOKE
    assert trace(name, STREAMED)["request"] == "Tell me a parcel joke."


@recordings(*WITH_MESSAGES)
def test_a_call_that_failed_was_asked_and_not_answered(name):
    assert transcript(name, FAILED) == BREAKDOWN
    row = trace(name, FAILED)
    assert (row["request"], row["response"]) == ("Break.", None)


@recordings(*ALL)
def test_a_call_that_failed_is_an_error(name):
    (call,) = spans_of(name, FAILED, "llm")
    assert call["status"] == "error"


@recordings(*ALL)
def test_every_token_counts_once(name):
    # 52 + 89 read and 17 + 12 written in two calls; agents, workflows and runs may repeat the sums.
    assert _tokens(trace(name, FIRST)) == (141, 29)
    assert _tokens(trace(name, SECOND)) == (120, 9)
    assert _tokens(trace(name, FAILED)) == (None, None)


# It counts streamed tokens itself, and only of models that it knows.
@recordings(*(name for name in ALL if name != "openllmetry_flat"))
def test_the_tokens_of_a_streamed_answer_count_once(name):
    assert _tokens(trace(name, STREAMED)) == (21, 11)


def _tokens(row):
    return row["n_input_tokens"], row["n_output_tokens"]


@recordings(*(name for name in ALL if name not in WITHOUT_CACHED_TOKENS))
def test_cached_tokens_are_inside_the_input_tokens(name):
    (call,) = spans_of(name, SECOND, "llm")
    assert (call["n_input_tokens"], call["n_cached_tokens"]) == (120, 64)


@recordings(*ALL)
def test_the_model_that_answered_is_known(name):
    models = {(call["provider"].lower(), call["model"]) for call in spans_of(name, FIRST, "llm")}
    assert models == {("openai", "scripted-1-2026-02-16")}


@recordings(*(name for name in ALL if name not in ("pydantic_ai_1", "logfire_4")))  # they do not say
def test_why_the_model_stopped_is_known(name):
    first, second = (call["finish_reason"] for call in spans_of(name, FIRST, "llm"))
    # OpenAI says tool_calls, OpenTelemetry tool_call.
    assert (first.removesuffix("s"), second) == ("tool_call", "stop")


@recordings(*WITH_TOOL_SPANS)
def test_a_tool_span_is_a_tool_call_that_worked(name):
    (call,) = spans_of(name, FIRST, "tool")
    assert (call["tool_name"], call["is_tool_success"]) == ("get_order", True)
    assert '"order_id"' in call["tool_input"]
    assert json.loads(call["tool_output"]) == {"order_id": "1042", "status": "shipped"}
    row = trace(name, FIRST)
    assert (row["n_llm_calls"], row["n_tool_calls"], row["n_tool_errors"]) == (2, 1, 0)


@pytest.mark.parametrize(
    ("name", "dialects"),
    [
        ("openinference", {"openinference"}),
        ("openinference_langchain", {"openinference"}),
        ("openllmetry", {"traceloop"}),
        ("openllmetry_flat", {"traceloop"}),
        ("openai_v2", {"gen_ai", "plain", "none"}),
        ("openai_v2_old", {"gen_ai_1_36", "none"}),
        ("pydantic_ai_1", {"logfire"}),
        ("pydantic_ai_2", {"logfire"}),
        ("logfire", {"logfire"}),
        ("logfire_4", {"logfire"}),
        ("langsmith", {"langsmith"}),
    ],
)
def test_every_span_is_read_by_its_own_dialect(name, dialects):
    assert set(recorded(name).spans["dialect"]) <= dialects


@pytest.mark.parametrize(
    ("name", "session_id", "user_id"),
    [
        ("openinference", "chat-7", "ada"),
        ("openinference_langchain", "chat-7", "ada"),
        ("openllmetry", "chat-7", "ada"),
        ("openllmetry_flat", "chat-7", "ada"),
        ("openai_v2", "chat-7", None),
        ("logfire", "chat-7", None),
        ("logfire_4", "chat-7", None),
        ("langsmith", "chat-7", "ada"),
    ],
)
def test_both_turns_are_in_one_session(name, session_id, user_id):
    turns = recorded(name).traces.head(2).select("session_id", "user_id", "turn_index").rows()
    assert turns == [(session_id, user_id, 0), (session_id, user_id, 1)]


def test_pydantic_ai_names_a_conversation_itself():
    first, second, streamed = recorded("pydantic_ai_2").traces["session_id"].head(3)
    assert first == second != streamed


@recordings("pydantic_ai_1", "pydantic_ai_2", "logfire", "logfire_4")
def test_a_session_id_that_logfire_blanked_out_is_none(name):
    spans = recorded(name).spans
    assert not spans["session_id"].drop_nulls().str.contains("Scrubbed").any()
    # Nothing is lost: what it sent stays an attribute.
    assert spans["attributes"].str.contains('"session.id":"[Scrubbed', literal=True).any()


@recordings("openinference", "openai_v2")
def test_an_embedding_reads_tokens_and_says_nothing(name):
    (call,) = spans_of(name, EMBEDDED, "embedding")
    assert (call["model"], *_tokens(call)) == ("scripted-embedding-1", 6, None)


def test_messages_that_go_out_as_log_records_are_not_in_the_traces():
    """OpenTelemetry's older instrumentation sends messages as OTLP logs: its traces have the calls and their usage."""
    row = trace("openai_v2_old", FIRST)
    assert (row["n_llm_calls"], row["request"], row["transcript"]) == (2, None, [])
