"""What no recording of LangSmith shows (evalpipe_tests/traces/test_golden_python.py has those)."""

import json

import pytest

from evalpipe_tests.traces.made import only_span, said


@pytest.mark.parametrize(
    ("kind", "operation_name", "operation"),
    [
        ("retriever", "embeddings", "retriever"),  # the exporter's own table says so
        ("prompt", "chat", "other"),
        ("parser", "parser", "other"),
        ("chain", "chain", "chain"),
    ],
)
def test_langsmiths_kind_is_believed_before_its_operation(kind, operation_name, operation):
    row = only_span({"langsmith.span.kind": kind, "gen_ai.operation.name": operation_name})
    assert said(row, "operation", "dialect") == {"operation": operation, "dialect": "langsmith"}


def test_a_project_is_no_conversation():
    row = only_span({"langsmith.span.kind": "chain", "langsmith.trace.session_id": "1d5a", "langsmith.trace.name": "a"})
    assert row["session_id"] is None
    assert json.loads(row["attributes"])["langsmith.trace.session_id"] == "1d5a"


@pytest.mark.parametrize("name", ["session_id", "thread_id", "conversation_id"])
def test_a_conversation_has_one_of_three_names(name):
    assert only_span({"langsmith.span.kind": "chain", f"langsmith.metadata.{name}": "chat-7"})["session_id"] == "chat-7"


def test_what_a_run_returned_is_its_output():
    row = only_span({"langsmith.span.kind": "chain", "gen_ai.completion": '{"answer": "here", "sources": []}'})
    assert row["output"] == '{"answer": "here", "sources": []}'


def test_cached_tokens_are_read_from_either_place():
    usage = {"input_tokens": 120, "input_token_details": {"cache_read": 64, "cache_creation": 16}}
    call = {"langsmith.span.kind": "llm", "gen_ai.usage.input_tokens": 120, "gen_ai.usage.total_tokens": 129}
    call["gen_ai.usage.output_tokens"] = 9
    columns = ("n_input_tokens", "n_cached_tokens", "n_cache_write_tokens")
    for attributes in (
        {"langsmith.metadata.usage_metadata": json.dumps(usage)},
        {"gen_ai.usage.input_token_details": json.dumps(usage["input_token_details"])},
    ):
        assert list(said(only_span({**call, **attributes}), *columns).values()) == [120, 64, 16]
