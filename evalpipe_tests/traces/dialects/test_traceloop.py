"""What no recording of OpenLLMetry shows (evalpipe_tests/traces/test_golden_python.py has those)."""

import json

import pytest

from evalpipe_tests.traces.made import only_span, said

ABOUT = "traceloop.association.properties."


@pytest.mark.parametrize(
    ("attributes", "operation"),
    [
        ({"traceloop.span.kind": "workflow"}, "chain"),
        ({"traceloop.span.kind": "task"}, "chain"),
        ({"traceloop.span.kind": "agent"}, "agent"),
        ({"traceloop.span.kind": "tool"}, "tool"),
        ({"traceloop.span.kind": "unknown"}, "other"),
        ({"llm.request.type": "completion"}, "llm"),
        ({"llm.request.type": "embedding"}, "embedding"),
        ({"llm.request.type": "rerank"}, "retriever"),
    ],
)
def test_a_span_is_what_its_kind_says(attributes, operation):
    assert said(only_span(attributes), "operation", "dialect") == {"operation": operation, "dialect": "traceloop"}


@pytest.mark.parametrize("name", ["session_id", "conversation_id", "thread_id", "chat_id"])
def test_a_session_has_one_of_several_names(name):
    assert only_span({f"{ABOUT}{name}": "chat-7"})["session_id"] == "chat-7"


def test_an_association_with_another_name_stays_an_attribute():
    row = only_span({f"{ABOUT}tier": "gold", "traceloop.span.kind": "task"})
    assert json.loads(row["attributes"])[f"{ABOUT}tier"] == "gold"


def test_langchains_callbacks_wrap_inputs_and_outputs():
    attributes = {
        "traceloop.span.kind": "workflow",
        "traceloop.entity.input": json.dumps({"inputs": {"question": "where?"}, "tags": [], "kwargs": {}}),
        "traceloop.entity.output": json.dumps({"outputs": {"answer": "here"}, "kwargs": {}}),
    }
    row = only_span(attributes)
    assert (json.loads(row["input"]), json.loads(row["output"])) == ({"question": "where?"}, {"answer": "here"})
    # The wrapper says more than its content, so it stays.
    assert json.loads(row["attributes"]).keys() >= {"traceloop.entity.input", "traceloop.entity.output"}


def test_a_task_that_calls_itself_failed_is_an_error():
    row = only_span({"traceloop.span.kind": "tool", "gen_ai.task.status": "failure"})
    assert (row["status"], row["is_tool_success"]) == ("error", False)


def test_anthropics_cached_tokens_are_in_its_total():
    # OpenLLMetry adds Anthropic's 40 + 64 read from the cache + 16 written to it, and says so by 120 + 9 = 129.
    attributes = {
        "llm.request.type": "chat",
        "gen_ai.usage.prompt_tokens": 120,
        "gen_ai.usage.completion_tokens": 9,
        "gen_ai.usage.cache_read_input_tokens": 64,
        "gen_ai.usage.cache_creation_input_tokens": 16,
        "llm.usage.total_tokens": 129,
    }
    columns = ("n_input_tokens", "n_output_tokens", "n_cached_tokens", "n_cache_write_tokens")
    assert list(said(only_span(attributes), *columns).values()) == [120, 9, 64, 16]
