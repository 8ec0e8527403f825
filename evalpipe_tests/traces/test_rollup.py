import json
import random
from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from evalpipe.otlp.payload import Payload
from evalpipe.tables import SESSIONS, SPANS, TRACES
from evalpipe.traces.rollup import session_frame
from evalpipe_tests.otlp.made import DAY_NS, START_NS, Application, json_payload, protobuf_payload, request_of
from evalpipe_tests.traces.made import DAY, frames_of, spans_of, traces_on, written

AGENT = {"operation": "agent", "span_id": "root", "name": "invoke_agent", "input": "hi", "output": "hello"}


def only_trace(*rows) -> dict:
    (row,) = traces_on(written(*rows), DAY).to_dicts()
    return row


def support_application() -> Application:
    """An agent that answers two questions in one trace, with a tool that fails once."""
    app = Application(**{"deployment.environment.name": "production", "evalpipe.gate.id": "ci-7"})
    session = {"session.id": "s1", "user.id": "u1"}
    call = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "get_order", "arguments": "{}"}}]}
    history = [
        {"role": "user", "content": "where is it?"},
        call,
        {"role": "tool", "tool_call_id": "c1", "content": "timeout"},
    ]
    root = {
        **session,
        "gen_ai.operation.name": "invoke_agent",
        "input.value": "where is it?",
        "output.value": "I do not know.",
        "gen_ai.usage.input_tokens": 30,
    }
    chat = {**session, "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 15}
    with app.span("invoke_agent support", root, lasts=9_000):
        with app.span("chat m", {**chat, "input.value": json.dumps(history[:1]), "output.value": json.dumps([call])}):
            pass
        tool = {**session, "gen_ai.tool.name": "get_order", "gen_ai.tool.call.id": "c1", "tool.output": "timeout"}
        with app.span("execute_tool get_order", tool, at=1_000, error="timeout"):
            pass
        answer = {**chat, "input.value": json.dumps(history), "output.value": "I do not know."}
        with app.span("chat m", {**answer, "gen_ai.usage.output_tokens": 4}, at=3_000):
            pass
    return app


def test_a_trace_as_a_reader_sees_it():
    (row,) = traces_on(spans_of(support_application()), DAY).to_dicts()
    transcript = row.pop("transcript")
    del row["trace_id"]
    assert row == {
        "day": DAY,
        "session_id": "s1",
        "user_id": "u1",
        "turn_index": 0,
        "service_name": "shop",
        "service_version": "1.2.3",
        "environment": "production",
        "gate_ref": "ci-7",
        "model": "m",
        "name": "invoke_agent support",
        "request": "where is it?",
        "response": "I do not know.",
        "n_spans": 4,
        "n_llm_calls": 2,
        "n_tool_calls": 1,
        "n_tool_errors": 1,
        "n_user_messages": 1,
        "n_input_tokens": 30,  # 15 + 15; the agent's 30 are the same tokens
        "n_output_tokens": 4,
        "cost_usd": None,
        "is_cost_estimated": None,
        "duration_ns": 9_000,
        "start_unix_ns": START_NS,
        "end_unix_ns": START_NS + 9_000,
        "status": "unset",
        "is_open": False,
        "is_complete": True,
        "defects": [],
    }
    assert [(step["role"], step["tool"], step["content"], step["is_error"]) for step in transcript] == [
        ("user", None, "where is it?", None),
        ("tool_call", "get_order", "{}", None),
        ("tool_result", "get_order", "timeout", True),
        ("assistant", None, "I do not know.", None),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_how_spans_were_delivered_makes_no_difference(seed):
    request = support_application().request()
    whole = traces_on(frames_of(protobuf_payload(request)).spans, DAY)
    spans = [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
    random.Random(seed).shuffle(spans)
    resource = request.resource_spans[0].resource

    def payload(number: int, *some) -> Payload:
        part = request_of(*some)
        part.resource_spans[0].resource.CopyFrom(resource)
        return (protobuf_payload, json_payload)[number % 2](part, f"payload {number}")

    # Each span alone, some twice, in any order and in both encodings.
    deliveries = [payload(n, span) for n, span in enumerate([*spans, spans[0]])]

    scattered = traces_on(frames_of(*deliveries).spans.sample(fraction=1.0, shuffle=True, seed=seed), DAY)

    assert_frame_equal(scattered, whole)


def test_a_trace_belongs_to_the_day_of_its_first_span():
    spans = written(
        {**AGENT, "at": DAY_NS - 5, "lasts": 100},
        {"span_id": "late", "parent_span_id": "root", "at": DAY_NS + 5},
    )
    assert traces_on(spans, DAY)["n_spans"].to_list() == [2]
    assert traces_on(spans, DAY + timedelta(days=1)).is_empty()


def test_turns_are_counted_over_the_days_read_together():
    spans = written(
        {**AGENT, "trace_id": "yesterday", "at": -DAY_NS},
        {**AGENT, "trace_id": "second", "at": 20},
        {**AGENT, "trace_id": "first", "at": 10},
        {**AGENT, "trace_id": "elsewhere", "session_id": "other", "at": 5},
        {**AGENT, "trace_id": "alone", "session_id": None},
    )
    traces = traces_on(spans, DAY)
    turns = dict(traces.select("trace_id", "turn_index").iter_rows())
    assert turns == {"first": 1, "second": 2, "elsewhere": 0, "alone": None}


DEFECTS = {
    "no session": ([{**AGENT, "session_id": None}], ["missing_session"]),
    "no root": ([{**AGENT, "parent_span_id": "gone"}], ["missing_root", "orphan_span"]),
    "an orphan beside a root": ([AGENT, {"span_id": "b", "parent_span_id": "gone"}], ["orphan_span"]),
    "a circle of parents": (
        [{"span_id": "a", "parent_span_id": "b"}, {"span_id": "b", "parent_span_id": "a"}],
        ["missing_root"],
    ),
    "a span without an end": ([{**AGENT, "is_finished": False}], ["unfinished"]),
    "an answer at the token limit": (
        [AGENT, {"span_id": "b", "parent_span_id": "root", "operation": "llm", "finish_reason": "length"}],
        ["truncated_output"],
    ),
    "an answer at another maker's token limit": (
        [AGENT, {"span_id": "b", "parent_span_id": "root", "operation": "llm", "finish_reason": "MAX_TOKENS"}],
        ["truncated_output"],
    ),
    "an output cut within its JSON": ([{**AGENT, "output": '[{"role": "assi'}], ["truncated_output"]),
    "an output that merely starts with a bracket": ([{**AGENT, "output": "[see above] yes"}], []),
    "nothing wrong": ([AGENT], []),
}


@pytest.mark.parametrize("case", DEFECTS)
def test_defects(case):
    rows, expected = DEFECTS[case]
    row = only_trace(*rows)
    assert row["defects"] == expected
    assert row["is_complete"] is (not expected)


def test_spans_of_other_traces_are_no_parents():
    spans = written(AGENT, {**AGENT, "trace_id": "u", "span_id": "x", "parent_span_id": "root"})
    assert traces_on(spans, DAY)["defects"].to_list() == [[], ["missing_root", "orphan_span"]]


def llm(span_id: str, **fields):
    return {"operation": "llm", "span_id": span_id, "parent_span_id": "root", **fields}


def test_tokens_are_summed_over_model_and_embedding_calls():
    row = only_trace(
        AGENT,
        llm("a", n_input_tokens=10, n_output_tokens=2, cost_usd=0.1),
        llm("b", n_input_tokens=20, n_output_tokens=None, cost_usd=0.2),
        {"operation": "embedding", "span_id": "c", "parent_span_id": "root", "n_input_tokens": 5},
    )
    assert (row["n_input_tokens"], row["n_output_tokens"]) == (35, 2)
    assert row["cost_usd"] == pytest.approx(0.3)


def test_a_call_that_two_instrumentations_wrapped_is_counted_once():
    row = only_trace(
        AGENT,
        llm("outer", n_input_tokens=10),
        {**llm("inner", n_input_tokens=10), "parent_span_id": "outer"},
        llm("other", n_input_tokens=1),
    )
    assert row["n_input_tokens"] == 11


def test_an_agents_own_figure_stands_only_where_no_call_reports_one():
    agent = {**AGENT, "attributes": '{"gen_ai.usage.input_tokens": 100, "llm.cost.total": 0.5}'}
    step = {
        "operation": "chain",
        "span_id": "step",
        "parent_span_id": "root",
        "attributes": '{"gen_ai.usage.input_tokens": 40}',
    }
    alone = only_trace(agent, step)
    assert (alone["n_input_tokens"], alone["n_output_tokens"], alone["cost_usd"]) == (100, None, 0.5)
    assert only_trace(agent, step, llm("a", n_input_tokens=90))["n_input_tokens"] == 90


def test_undefined_is_not_zero():
    row = only_trace(AGENT)
    assert (row["n_input_tokens"], row["n_output_tokens"], row["cost_usd"]) == (None, None, None)


def test_a_trace_of_one_model_call_is_a_trace():
    row = only_trace({"operation": "llm", "span_id": "a", "input": "hi", "output": "hello", "model": "m"})
    assert (row["request"], row["response"], row["model"], row["n_llm_calls"]) == ("hi", "hello", "m", 1)


def test_a_trace_without_any_words_has_an_empty_transcript():
    row = only_trace({"span_id": "a"})
    assert (row["transcript"], row["request"], row["response"], row["n_user_messages"]) == ([], None, None, 0)


def test_calls_are_counted_from_messages_where_there_are_no_tool_spans():
    call = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]}
    messages = json.dumps(
        [{"role": "user", "content": "hi"}, call, {"role": "tool", "tool_call_id": "c1", "content": "x"}]
    )
    row = only_trace(AGENT, llm("a", input=messages, output="hello"))
    assert (row["n_tool_calls"], row["n_tool_errors"]) == (1, 0)


def test_what_is_known_of_a_trace_may_be_on_any_of_its_spans():
    row = only_trace(
        {**AGENT, "session_id": None},
        {"span_id": "b", "parent_span_id": "root", "session_id": "s9", "user_id": "u9", "service_version": "2"},
    )
    assert (row["session_id"], row["user_id"], row["service_version"]) == ("s9", "u9", "2")


def test_no_spans_are_no_traces():
    assert traces_on(SPANS.empty(), DAY).schema == TRACES.schema
    assert session_frame(TRACES.empty()).schema == SESSIONS.schema


def session(*requests: str | None) -> dict:
    rows = [{**AGENT, "trace_id": f"t{n:03}", "at": n, "input": text} for n, text in enumerate(requests)]
    (row,) = session_frame(traces_on(written(*rows), DAY)).to_dicts()
    return row


def test_a_session_is_its_traces_in_order():
    spans = written(
        {**AGENT, "trace_id": "b", "at": 10, "lasts": 7, "user_id": "u1"},
        {**AGENT, "trace_id": "c", "at": 5},
        {**AGENT, "trace_id": "a", "at": 20},
        {**AGENT, "trace_id": "x", "session_id": None},
        {**llm("m", n_input_tokens=3), "trace_id": "a", "at": 21},
    )
    (row,) = session_frame(traces_on(spans, DAY)).to_dicts()
    assert row == {
        "session_id": "s",
        "service_name": "shop",
        "user_id": "u1",
        "trace_ids": ["c", "b", "a"],
        "n_turns": 3,
        "n_resubmissions": 2,  # all three ask "hi"
        "n_input_tokens": 3,
        "n_output_tokens": None,
        "cost_usd": None,
        "start_unix_ns": START_NS + 5,
        "end_unix_ns": START_NS + 31,
        "first_day": DAY,
        "last_day": DAY,
    }


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        (("one two three four five", "one two three four five"), 1),
        (("one two three four", "one two three four five"), 1),  # 4 of 5 words: 0.8
        (("one two three four", "one two three six"), 0),  # 3 of 5 words: 0.6
        (("Where is my order?", "where is my ORDER"), 1),
        (("a b c d e", "x", "e d c b a"), 1),
        (("same", "same", "same"), 2),
        ((None, None), 0),
        (("", "?!"), 0),
    ],
)
def test_resubmissions_are_requests_that_nearly_repeat_an_earlier_one(requests, expected):
    assert session(*requests)["n_resubmissions"] == expected


def test_frames_are_in_order_of_their_key():
    rows = [{**AGENT, "trace_id": name, "session_id": name} for name in ("c", "a", "b")]
    traces = traces_on(written(*rows), DAY)
    assert traces["trace_id"].to_list() == ["a", "b", "c"]
    assert session_frame(traces.reverse())["session_id"].to_list() == ["a", "b", "c"]
    assert traces.select(pl.col("trace_id").is_unique().all()).item()


def test_a_cost_is_estimated_when_any_of_it_is():
    spans = written(
        {"span_id": "a", "operation": "llm", "cost_usd": 0.5, "is_cost_estimated": False},
        {"span_id": "b", "operation": "llm", "cost_usd": 0.25, "is_cost_estimated": True},
        {"span_id": "c", "trace_id": "u", "operation": "llm", "cost_usd": 0.5, "is_cost_estimated": False},
        {"span_id": "d", "trace_id": "v", "operation": "llm"},
    )
    found = traces_on(spans).select("trace_id", "cost_usd", "is_cost_estimated").rows()
    assert found == [("t", 0.75, True), ("u", 0.5, False), ("v", None, None)]
