"""One small golden fixture per dialect, written by hand from the conventions themselves."""

import json

import pytest

from evalpipe.tables import SPANS
from evalpipe.traces.dialects import DIALECTS
from evalpipe.traces.fields import FIELDS, OPERATIONS, figure_in
from evalpipe_tests.otlp.made import Application, bare_span, protobuf_payload, request_of
from evalpipe_tests.traces.made import frames_of, only_span, said, spans_of

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


def test_an_empty_text_yields_to_the_next_key_and_is_better_than_none():
    tool = {"openinference.span.kind": "TOOL", "tool.output": ""}
    assert only_span(tool)["tool_output"] == ""
    row = only_span({**tool, "output.value": "sent"})
    assert row["tool_output"] == "sent"
    assert json.loads(row["attributes"])["tool.output"] == ""


def test_a_member_of_an_attribute_is_read_and_the_attribute_kept():
    usage = '{"input_tokens":8,"output_tokens":2}'
    row = only_span({"mlflow.spanType": '"LLM"', "mlflow.chat.tokenUsage": usage, "mlflow.llm.cost": "no object"})
    assert (row["n_input_tokens"], row["n_output_tokens"], row["cost_usd"]) == (8, 2, None)
    kept = json.loads(row["attributes"])
    assert (kept["mlflow.chat.tokenUsage"], kept["mlflow.llm.cost"]) == (usage, "no object")


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ('"hi \\u00e9\\n"', "hi \u00e9\n"),
        ('{"a": 2.50, "b": "x"}', '{"a": 2.50, "b": "x"}'),
        ("[1]", "[1]"),
        ("7", "7"),
        ('"cut off', '"cut off'),
        ("null", None),
    ],
)
def test_a_text_that_is_json_in_its_dialect_loses_its_quotes_and_nothing_else_changes(sent, read):
    row = only_span({"mlflow.spanType": '"CHAIN"', "mlflow.spanOutputs": sent})
    assert row["output"] == read
    if read is None:
        assert json.loads(row["attributes"])["mlflow.spanOutputs"] == sent


def test_a_quoted_text_is_what_was_said_in_every_other_dialect():
    assert only_span({"output.value": '"quoted"'})["output"] == '"quoted"'


CACHED = "llm.token_count.prompt_details.cache_read"
WRITTEN = "llm.token_count.prompt_details.cache_write"


@pytest.mark.parametrize(
    ("figures", "n_input"),
    [
        ({"llm.token_count.prompt": 100, CACHED: 60}, 100),  # inside, as nearly all count
        ({"llm.token_count.prompt": 40, CACHED: 60, WRITTEN: 5}, 105),  # 60 of 40 cannot be inside: 40 + 60 + 5
        ({"llm.token_count.prompt": 100, CACHED: 60, "llm.token_count.total": 109}, 100),  # 100 + 9
        ({"llm.token_count.prompt": 100, CACHED: 60, "llm.token_count.total": 169}, 160),  # 100 + 9 + 60
        ({"llm.token_count.prompt": 100, CACHED: 60, "llm.token_count.total": 7}, 100),  # no sum of anything
        ({"llm.token_count.prompt": 100, CACHED: 0, "llm.token_count.total": 109}, 100),
        ({CACHED: 60}, None),
    ],
)
def test_input_tokens_hold_the_cached_ones_once(figures, n_input):
    row = only_span({"openinference.span.kind": "LLM", "llm.token_count.completion": 9, **figures})
    assert (row["n_input_tokens"], row["n_cached_tokens"]) == (n_input, figures[CACHED])


def test_the_figure_that_was_sent_stays_an_attribute_where_the_cached_tokens_were_added():
    row = only_span({"openinference.span.kind": "LLM", "llm.token_count.prompt": 40, CACHED: 60})
    assert json.loads(row["attributes"])["llm.token_count.prompt"] == 40


def test_the_usage_of_all_calls_together_is_no_usage():
    row = only_span({"gen_ai.operation.name": "chat", "gen_ai.aggregated_usage.input_tokens": 9})
    assert row["n_input_tokens"] is None


def test_a_pending_span_repeats_the_one_that_follows_and_is_left_out():
    app = Application()
    with app.span("chat", {"logfire.span_type": "span"}), app.span("chat", {"logfire.span_type": "pending_span"}):
        pass
    (row,) = spans_of(app).to_dicts()
    assert json.loads(row["attributes"]) == {"logfire.span_type": "span"}


def test_a_dialect_may_say_in_an_attribute_that_a_span_failed():
    row = only_span({"langfuse.observation.type": "tool", "langfuse.observation.level": "ERROR"})
    assert (row["status"], row["is_tool_success"]) == ("error", False)


def test_a_tool_is_called_as_its_span_only_where_the_dialect_says_so():
    assert only_span({"langfuse.observation.type": "tool"})["tool_name"] == "the span"
    assert only_span({"gen_ai.operation.name": "execute_tool"})["tool_name"] is None


def test_the_instrumentation_scope_betrays_a_dialect():
    def dialect(scope):
        request = request_of(bare_span())
        request.resource_spans[0].scope_spans[0].scope.name = scope
        return frames_of(protobuf_payload(request)).spans["dialect"].item()

    assert dialect("openinference.instrumentation.langchain") == "openinference"
    assert dialect("langfuse-sdk") == "langfuse"
    assert dialect("langfuse-sdk-of-mine") == dialect("my.langfuse-sdk") == "none"


def test_what_the_resource_says_of_a_release_stands_before_what_a_span_says():
    row = only_span({"langfuse.release": "9", "langfuse.environment": "test"})
    assert (row["service_version"], row["environment"]) == ("1.2.3", "test")
    assert json.loads(row["attributes"]) == {"langfuse.release": "9"}


def test_unsaid_values_keep_their_types_and_their_neighbours():
    attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.usage.input_tokens": 7,
        "llm.cost.total": 0.5,
        "tool.success": True,
        "tool.name": 'a "quoted"\n name',
        "llm.finish_reason": "\u4f60",
    }
    row = only_span(attributes)
    assert json.loads(row["attributes"]) | {"llm.finish_reason": row["finish_reason"]} == attributes


def test_figures_of_agents_are_found_among_their_attributes():
    usage = '{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}'
    attributes = {"langfuse.observation.usage_details": usage, "mlflow.llm.cost": "cut off {"}
    assert figure_in(attributes, "n_input_tokens") == 3
    assert figure_in(attributes, "n_cached_tokens") == 2
    assert figure_in(attributes, "cost_usd") is None


def test_the_tables_of_dialects_name_real_columns():
    columns = {field.column for field in FIELDS}
    assert columns <= set(SPANS.column_names)
    assert {name for field in FIELDS for name in field.operations} <= set(OPERATIONS)
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)
    for dialect in DIALECTS:
        assert dialect.fields.keys() <= columns
        operations = {operation for words in dialect.kinds.values() for operation in words.values()}
        assert operations | {operation for _, operation in dialect.infers} <= set(OPERATIONS)
        words = [*dialect.kinds.values(), *dialect.fails.values(), *dialect.drops.values()]
        assert all(word == word.lower() for said in words for word in said)
