"""One small golden fixture per dialect, written by hand from the conventions themselves."""

import json

import pytest

from evalpipe.tables import SPANS
from evalpipe.traces.conventions import DIALECTS, FIELDS, OPERATIONS
from evalpipe_tests.otlp.made import Application
from evalpipe_tests.traces.made import only_span, said, spans_of

MODEL_COLUMNS = (
    *("dialect", "operation", "provider", "model", "session_id", "user_id", "input", "output", "instructions"),
    *("n_input_tokens", "n_output_tokens", "cost_usd", "finish_reason"),
)
TOOL_COLUMNS = (
    *("dialect", "operation", "tool_name", "tool_call_id", "tool_input", "tool_output", "is_tool_success"),
    *("input", "output"),
)


def test_gen_ai_as_of_1_37():
    messages = '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]'
    answer = '[{"role":"assistant","parts":[{"type":"text","content":"hello"}],"finish_reason":"stop"}]'
    row = only_span(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.conversation.id": "conv_5",
            "gen_ai.input.messages": messages,
            "gen_ai.output.messages": answer,
            "gen_ai.system_instructions": '[{"type":"text","content":"be brief"}]',
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 3,
        }
    )
    assert said(row, *MODEL_COLUMNS) == {
        "dialect": "gen_ai",
        "operation": "llm",
        "provider": "openai",
        "model": "gpt-4o-2024-08-06",
        "session_id": "conv_5",
        "input": messages,
        "output": answer,
        "instructions": '[{"type":"text","content":"be brief"}]',
        "n_input_tokens": 12,
        "n_output_tokens": 3,
        "finish_reason": "stop",
    }
    # The operation is coarser than the name it was read from, and the model asked for is not the one that answered.
    assert json.loads(row["attributes"]) == {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}


def test_gen_ai_tool_as_of_1_38():
    row = only_span(
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get_order",
            "gen_ai.tool.call.id": "call_1",
            "gen_ai.tool.call.arguments": '{"id":7}',
            "gen_ai.tool.call.result": '{"state":"sent"}',
        }
    )
    assert said(row, *TOOL_COLUMNS) == {
        "dialect": "gen_ai",
        "operation": "tool",
        "tool_name": "get_order",
        "tool_call_id": "call_1",
        "tool_input": '{"id":7}',
        "tool_output": '{"state":"sent"}',
        "is_tool_success": True,
    }


def test_gen_ai_1_27_with_its_messages_in_two_events():
    row = only_span(
        {
            "gen_ai.system": "anthropic",
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "claude",
            "gen_ai.usage.prompt_tokens": 9,
            "gen_ai.usage.completion_tokens": 4,
        },
        events=[
            ("gen_ai.content.prompt", {"gen_ai.prompt": '[{"role":"user","content":"hi"}]'}),
            ("gen_ai.content.completion", {"gen_ai.completion": '[{"role":"assistant","content":"hello"}]'}),
        ],
    )
    assert said(row, *MODEL_COLUMNS) == {
        "dialect": "gen_ai_1_36",
        "operation": "llm",
        "provider": "anthropic",
        "model": "claude",
        "input": '[{"role":"user","content":"hi"}]',
        "output": '[{"role":"assistant","content":"hello"}]',
        "n_input_tokens": 9,
        "n_output_tokens": 4,
    }


def test_gen_ai_1_28_with_an_event_per_message():
    row = only_span(
        {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o"},
        events=[
            ("gen_ai.system.message", {"content": "be brief"}),
            ("gen_ai.user.message", {"content": "hi"}),
            ("gen_ai.assistant.message", {"tool_calls": '[{"id":"c1","function":{"name":"f","arguments":"{}"}}]'}),
            ("gen_ai.tool.message", {"content": "42", "id": "c1"}),
            ("gen_ai.choice", {"index": 0, "finish_reason": "length", "message": '{"content":"it is 42"}'}),
        ],
    )
    assert json.loads(row["input"]) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]
    assert json.loads(row["output"]) == [{"role": "assistant", "content": "it is 42"}]
    assert row["finish_reason"] == "length"


def test_openinference_model_call_with_flattened_messages():
    prefix = "llm.input_messages"
    row = only_span(
        {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o",
            "llm.provider": "openai",
            "session.id": "s1",
            "user.id": "u1",
            "input.value": '{"messages":"as sent"}',
            "input.mime_type": "application/json",
            f"{prefix}.1.message.role": "user",
            f"{prefix}.1.message.contents.0.message_content.type": "text",
            f"{prefix}.1.message.contents.0.message_content.text": "hi",
            f"{prefix}.0.message.role": "system",
            f"{prefix}.0.message.content": "be brief",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c1",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "f",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": "{}",
            "llm.token_count.prompt": 11,
            "llm.token_count.completion": 2,
            "llm.token_count.total": 13,
            "llm.cost.total": 0.25,
        }
    )
    assert json.loads(row["input"]) == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "contents": [{"type": "text", "text": "hi"}]},
    ]
    assert json.loads(row["output"]) == [
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]}
    ]
    assert said(row, *MODEL_COLUMNS) | {"input": "", "output": ""} == {
        "dialect": "openinference",
        "operation": "llm",
        "provider": "openai",
        "model": "gpt-4o",
        "session_id": "s1",
        "user_id": "u1",
        "input": "",
        "output": "",
        "n_input_tokens": 11,
        "n_output_tokens": 2,
        "cost_usd": 0.25,
    }
    assert json.loads(row["attributes"]) == {
        "openinference.span.kind": "LLM",
        "input.mime_type": "application/json",
        "input.value": '{"messages":"as sent"}',
        "llm.token_count.total": 13,
    }


def test_openinference_tool_reads_its_arguments_from_the_input():
    row = only_span(
        {
            "openinference.span.kind": "TOOL",
            "tool.name": "get_order",
            "tool.parameters": '{"id":"int"}',
            "input.value": '{"id":7}',
            "output.value": "sent",
        }
    )
    assert said(row, *TOOL_COLUMNS) == {
        "dialect": "openinference",
        "operation": "tool",
        "tool_name": "get_order",
        "tool_input": '{"id":7}',
        "tool_output": "sent",
        "is_tool_success": True,
    }


def test_the_plain_set():
    model = only_span(
        {
            "gen_ai.system": "openai",
            "gen_ai.request.model": "gpt-4o",
            "input.value": "hi",
            "output.value": "hello",
            "gen_ai.usage.input_tokens": 5,
            "gen_ai.usage.output_tokens": 1,
            "session.id": "s1",
        }
    )
    assert said(model, *MODEL_COLUMNS) == {
        "dialect": "plain",
        "operation": "llm",
        "provider": "openai",
        "model": "gpt-4o",
        "session_id": "s1",
        "input": "hi",
        "output": "hello",
        "n_input_tokens": 5,
        "n_output_tokens": 1,
    }
    tool = only_span({"tool.name": "get_order", "tool.input": "{}", "tool.output": "gone", "tool.success": False})
    assert said(tool, *TOOL_COLUMNS) == {
        "dialect": "plain",
        "operation": "tool",
        "tool_name": "get_order",
        "tool_input": "{}",
        "tool_output": "gone",
        "is_tool_success": False,
    }


def test_a_span_of_no_convention_is_kept_as_it_is():
    row = only_span({"http.method": "GET"})
    assert (row["dialect"], row["operation"]) == ("none", "other")
    assert json.loads(row["attributes"]) == {"http.method": "GET"}


@pytest.mark.parametrize(
    ("attributes", "options", "expected"),
    [
        ({}, {}, True),
        ({}, {"error": "boom"}, False),
        ({"error.type": "timeout"}, {}, False),
        ({"tool.success": True}, {"error": "logged, but it worked"}, True),
        ({"tool.success": "false"}, {}, False),
        ({"tool.success": "who knows"}, {}, True),
    ],
)
def test_whether_a_tool_call_worked(attributes, options, expected):
    assert only_span({"tool.name": "f", **attributes}, **options)["is_tool_success"] is expected


def test_only_tool_calls_can_work_or_fail():
    assert only_span({"gen_ai.request.model": "m", "tool.success": True})["is_tool_success"] is None


@pytest.mark.parametrize(
    ("attributes", "operation"),
    [
        ({"openinference.span.kind": "RERANKER"}, "retriever"),
        ({"openinference.span.kind": "EVALUATOR"}, "other"),
        ({"openinference.span.kind": "agent"}, "agent"),
        ({"openinference.span.kind": '"TOOL"'}, "tool"),
        ({"openinference.span.kind": "CHAIN", "gen_ai.operation.name": "chat"}, "chain"),
        ({"openinference.span.kind": "NOVEL", "gen_ai.operation.name": "chat"}, "llm"),
        ({"gen_ai.operation.name": "embeddings"}, "embedding"),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "m"}, "agent"),
        ({"gen_ai.tool.call.id": "c1", "gen_ai.request.model": "m"}, "tool"),
        ({"embedding.model_name": "e"}, "embedding"),
        ({"llm.model_name": "m"}, "llm"),
        ({"input.value": "x"}, "other"),
    ],
)
def test_the_operation_is_what_the_span_says_else_what_it_carries(attributes, operation):
    assert only_span(attributes)["operation"] == operation


def test_an_agent_that_repeats_the_usage_of_its_calls_is_not_counted():
    row = only_span(
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "llm.cost.total": 0.5,
        }
    )
    assert (row["n_input_tokens"], row["n_output_tokens"], row["cost_usd"]) == (None, None, None)
    kept = json.loads(row["attributes"])
    assert (kept["gen_ai.usage.input_tokens"], kept["llm.cost.total"]) == (100, 0.5)


def test_an_embedding_reads_tokens_and_writes_none():
    row = only_span(
        {"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 4, "gen_ai.usage.output_tokens": 0}
    )
    assert (row["n_input_tokens"], row["n_output_tokens"]) == (4, None)


def test_json_quoted_values_are_read_and_unreadable_ones_are_kept():
    row = only_span(
        {
            "gen_ai.operation.name": '"chat"',
            "session.id": '"s1"',
            "gen_ai.request.model": '"gpt-4o"',
            "gen_ai.usage.input_tokens": '"12"',
            "gen_ai.usage.output_tokens": "plenty",
        }
    )
    assert said(row, "operation", "session_id", "model", "n_input_tokens", "n_output_tokens") == {
        "operation": "llm",
        "session_id": "s1",
        "model": "gpt-4o",
        "n_input_tokens": 12,
    }
    assert json.loads(row["attributes"])["gen_ai.usage.output_tokens"] == "plenty"


def test_equal_values_under_two_names_are_said_once():
    row = only_span({"session.id": "s1", "gen_ai.conversation.id": "s1", "gen_ai.system": "x", "llm.provider": "x"})
    assert row["attributes"] is None


def test_different_values_under_two_names_are_both_kept():
    row = only_span({"session.id": "s1", "gen_ai.conversation.id": "c1"})
    assert row["session_id"] == "s1"
    assert json.loads(row["attributes"]) == {"gen_ai.conversation.id": "c1"}


def test_structured_attributes_are_json():
    app = Application()
    with app.span("s", {"gen_ai.operation.name": "chat", "gen_ai.response.finish_reasons": ["stop", "length"]}):
        pass
    (row,) = spans_of(app).to_dicts()
    assert row["finish_reason"] == "stop,length"


def test_retrieved_documents_are_the_output_of_a_retriever():
    row = only_span(
        {
            "openinference.span.kind": "RETRIEVER",
            "input.value": "colour of grass",
            "retrieval.documents.0.document.content": "Grass is green.",
            "retrieval.documents.0.document.score": 0.5,
        }
    )
    assert json.loads(row["output"]) == [{"content": "Grass is green.", "score": 0.5}]


def test_the_tables_of_dialects_name_real_columns():
    assert {field.column for field in FIELDS} <= set(SPANS.column_names)
    assert {name for field in FIELDS for name in field.operations} <= set(OPERATIONS)
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)
