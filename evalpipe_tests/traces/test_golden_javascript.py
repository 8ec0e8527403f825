"""The shop's conversation as JavaScript libraries really sent it (golden/make/README.md).

Expected is what the scripted model and its tool said (golden/make/server.py, make_vercel.mjs), never what spans say.
"""

import json
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from evalpipe.otlp.payload import Payload
from evalpipe.otlp.wire import decode
from evalpipe.traces.conventions import PROMOTION, in_one_vocabulary
from evalpipe.traces.messages import Step, steps_of
from evalpipe_tests.traces.golden.read import Golden, golden
from evalpipe_tests.traces.made import said

VERCEL = ("vercel_4", "vercel_5", "vercel_6", "vercel_7", "vercel_7_legacy")
TOOL, STREAM, ANTHROPIC, OBJECT, EMBEDDING, FAILING_TOOL, REFUSED = range(7)  # the traces of make_vercel.mjs in order

SYSTEM = ("system", "You are the shop's assistant.", None, None)
WHERE = ("user", "Where is order 1042?", None, None)
CALL = ("tool_call", {"order_id": "1042"}, "get_order", None)
RESULT = ("tool_result", {"order_id": "1042", "status": "shipped"}, "get_order", False)
LEFT = ("assistant", "Order 1042 left the warehouse on Monday.", None, None)
WHEN = ("user", "When does it arrive?", None, None)
ARRIVES = ("assistant", "It arrives on Thursday.", None, None)


def recordings(*names):
    return pytest.mark.parametrize("name", names)


@cache
def recorded(name: str) -> Golden:
    return golden(name)


def trace(name, number):
    return recorded(name).traces.row(number, named=True)


def spans(name, number, operation):
    """SPANS rows of one trace and operation, in order of their start."""
    rows = recorded(name).spans.filter(trace_id=trace(name, number)["trace_id"], operation=operation)
    return rows.sort("start_unix_ns").to_dicts()


def transcript(name, number):
    return [
        (step["role"], _parsed(step["content"]), step["tool"], step["is_error"])
        for step in trace(name, number)["transcript"]
    ]


def _body(name):
    return (Path(__file__).parent / "golden" / f"{name}.json").read_bytes()


def _parsed(text):
    return json.loads(text) if text.startswith("{") else text


@recordings(*VERCEL, "openinference_js")
def test_a_turn_with_a_tool_call_reads_as_it_was_said(name):
    instructions = [] if name == "openinference_js" else [SYSTEM]  # its instrumentation leaves their text out
    assert transcript(name, TOOL) == [*instructions, WHERE, CALL, RESULT, LEFT]
    row = trace(name, TOOL)
    # 52 + 89 tokens read and 17 + 12 written in two calls; outer spans repeat the last call or the sums.
    assert said(row, "n_input_tokens", "n_output_tokens", "n_llm_calls", "n_tool_calls", "n_tool_errors") == {
        "n_input_tokens": 141,
        "n_output_tokens": 29,
        "n_llm_calls": 2,
        "n_tool_calls": 1,
        "n_tool_errors": 0,
    }
    assert (row["session_id"], row["user_id"], row["defects"]) == ("conversation-7", "ada", [])


@recordings(*VERCEL)
def test_the_calls_of_a_turn_with_a_tool(name):
    first, second = spans(name, TOOL, "llm")
    assert (first["finish_reason"], second["finish_reason"]) == ("tool-calls", "stop")
    assert steps_of(first["output"], "assistant")[0].tool == "get_order"
    assert steps_of(second["output"], "assistant")[0].content == LEFT[1]
    assert {first["model"], second["model"]} == {"scripted-1-2026-02-16"}
    assert first["provider"].partition(".")[0] == "openai"  # before version 7 with the API: openai.responses
    (tool,) = spans(name, TOOL, "tool")
    assert said(tool, "tool_name", "tool_call_id", "tool_input", "tool_output", "is_tool_success") == {
        "tool_name": "get_order",
        "tool_call_id": "call_1042",
        "tool_input": '{"order_id":"1042"}',
        "tool_output": '{"order_id":"1042","status":"shipped"}',
        "is_tool_success": True,
    }


@recordings(*VERCEL, "openinference_js")
def test_a_streamed_answer_is_one_step_after_the_history(name):
    instructions = [] if name == "openinference_js" else [SYSTEM]
    assert transcript(name, STREAM) == [*instructions, WHERE, LEFT, WHEN, ARRIVES]
    assert (trace(name, STREAM)["request"], trace(name, STREAM)["response"]) == (WHEN[1], ARRIVES[1])


@recordings(*VERCEL[1:], "openinference_js")
def test_tokens_from_the_cache_are_inside_the_input_tokens(name):
    (call,) = spans(name, STREAM, "llm")
    assert (call["n_input_tokens"], call["n_cached_tokens"], call["n_output_tokens"]) == (120, 64, 9)


def test_nan_is_no_number_of_tokens_and_is_kept():
    (call,) = spans("vercel_4", STREAM, "llm")
    assert (call["n_input_tokens"], call["n_output_tokens"]) == (None, None)
    assert json.loads(call["attributes"])["ai.usage.promptTokens"] == "NaN"


@recordings(*VERCEL)
def test_anthropic_counts_its_cache_beside_the_input_tokens(name):
    # 40 input tokens, 64 read from the cache and 16 written to it: 120 in all.
    (call,) = spans(name, ANTHROPIC, "llm")
    assert (call["n_input_tokens"], call["n_cached_tokens"], call["n_cache_write_tokens"]) == (120, 64, 16)
    assert (trace(name, ANTHROPIC)["n_input_tokens"], trace(name, ANTHROPIC)["n_output_tokens"]) == (120, 9)


@recordings(*VERCEL)
def test_an_answer_that_is_an_object_is_said_once(name):
    spoken = [step for step in transcript(name, OBJECT) if step[0] != "system"]  # version 4 instructs with the schema
    assert spoken == [
        ("user", "Describe order 1042.", None, None),
        ("assistant", {"order_id": "1042", "status": "shipped"}, None, None),
    ]
    assert (trace(name, OBJECT)["n_input_tokens"], trace(name, OBJECT)["n_output_tokens"]) == (33, 14)


@recordings(*VERCEL)
def test_an_embedding_counts_once(name):
    row = trace(name, EMBEDDING)
    assert (row["n_input_tokens"], row["n_output_tokens"], row["n_llm_calls"]) == (6, None, 0)


@recordings(*VERCEL)
def test_a_tool_that_throws(name):
    row = trace(name, FAILING_TOOL)
    assert (row["n_tool_calls"], row["n_tool_errors"]) == (1, 1)
    asked, called, (role, told, *result), *rest = transcript(name, FAILING_TOOL)
    assert (asked, called) == (WHERE, CALL)
    assert (role, *result) == ("tool_result", "get_order", True)
    assert told.endswith("The order book is closed.")
    assert rest == ([] if name == "vercel_4" else [LEFT])  # version 4 gives up, later ones tell the model


@recordings(*VERCEL)
def test_a_call_that_failed_was_asked_and_not_answered(name):
    assert transcript(name, REFUSED) == [("user", "Break.", None, None)]
    (call,) = spans(name, REFUSED, "llm")
    assert (trace(name, REFUSED)["status"], call["status"]) == ("error", "error")
    assert call["status_message"] == "The script breaks here."


@pytest.mark.parametrize(
    ("name", "dialect"),
    [*((name, "vercel") for name in VERCEL if name != "vercel_7"), ("vercel_7", "gen_ai")],
)
def test_every_span_has_its_operation_and_dialect(name, dialect):
    rows = recorded(name).spans
    assert rows["dialect"].unique().to_list() == [dialect]
    assert rows.filter(operation="other").is_empty()


def test_a_large_batch_is_read_as_a_small_one_is():
    raw = decode([Payload(_body("vercel_5"), "json", "seg_1 payload 1")], PROMOTION).spans
    large = in_one_vocabulary(pl.concat([raw] * 3_000, rechunk=True))  # 54,000 spans: polars splits what is as large
    assert large["operation"].to_list() == in_one_vocabulary(raw)["operation"].to_list() * 3_000


@recordings(*VERCEL)
def test_no_span_and_no_text_is_lost(name):
    sent = json.loads(_body(name))
    for span in sent["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        (row,) = recorded(name).spans.filter(pl.col("span_id") == span["spanId"]).to_dicts()
        kept = json.loads(row["attributes"] or "{}")
        for attribute in span["attributes"]:
            text = attribute["value"].get("stringValue")
            # The value of an embedding is JSON, a text within quotes.
            assert text is None or kept.get(attribute["key"]) == text or {text, text.strip('"')} & set(row.values())


@pytest.mark.parametrize("prompt", ["hi", [{"role": "user", "content": "hi"}]])
def test_a_prompt_is_words_or_messages(prompt):
    body = json.dumps({"system": "be brief", "prompt": prompt})
    assert steps_of(body, "user") == [Step("system", "be brief"), Step("user", "hi")]


def test_outputs_that_the_recordings_do_not_have():
    # Version 4's result of a tool that failed on its own, and version 5's result in parts.
    old = {"type": "tool-result", "toolCallId": "c1", "toolName": "f", "result": "gone", "isError": True}
    parts = {"type": "content", "value": [{"type": "text", "text": "here"}, {"type": "media", "data": "aGk="}]}
    new = {"type": "tool-result", "toolCallId": "c2", "toolName": "f", "output": parts}
    thought = [{"type": "redacted-reasoning", "data": "x"}, {"type": "text", "text": "done"}]
    messages = [{"role": "tool", "content": [old, new]}, {"role": "assistant", "content": thought}]
    assert steps_of(json.dumps(messages), "user") == [
        Step("tool_result", "gone", "f", "c1", is_error=True),
        Step("tool_result", "here\n[media]", "f", "c2", is_error=False),
        Step("assistant", "done"),
    ]
