"""What no recording of Logfire or Pydantic AI shows (evalpipe_tests/traces/test_golden_python.py has those)."""

import json

from evalpipe_tests.traces.made import Application, only_span, said, spans_of

USAGE = ("n_input_tokens", "n_output_tokens", "n_cached_tokens", "n_cache_write_tokens")


def test_a_pending_span_is_left_out():
    app = Application()
    pending = {"logfire.span_type": "pending_span", "logfire.pending_parent_id": "0" * 16}
    with app.span("chat", {"logfire.span_type": "span"}), app.span("chat", pending):
        pass
    assert spans_of(app)["parent_span_id"].to_list() == [None]


def test_an_agent_of_pydantic_ai_1_is_one_though_it_does_not_say_so():
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "where?"}]}])
    row = only_span({"pydantic_ai.all_messages": messages, "final_result": "here", "gen_ai.usage.input_tokens": 141})
    assert said(row, "operation", "input", "output", *USAGE) == {
        "operation": "agent",
        "input": messages,
        "output": "here",
    }


def test_anthropics_own_usage_leaves_cached_tokens_out():
    # Logfire 4 passes Anthropic's figures on: 40 were neither read from the cache (64) nor written to it (16).
    usage = {
        "input_tokens": 40,
        "cache_read_input_tokens": 64,
        "cache_creation_input_tokens": 16,
        "output_tokens": 9,
    }
    response = {"message": {"role": "assistant", "content": "It arrives on Thursday."}, "usage": usage}
    attributes = {
        "logfire.span_type": "span",
        "gen_ai.request.model": "claude",
        "gen_ai.usage.input_tokens": 40,
        "response_data": json.dumps(response),
    }
    assert list(said(only_span(attributes), *USAGE).values()) == [120, 9, 64, 16]


def test_the_pieces_of_a_streamed_answer_are_its_output():
    response = json.dumps({"combined_chunk_content": "It arrives on Thursday.", "chunk_count": 2})
    row = only_span({"logfire.span_type": "log", "gen_ai.request.model": "scripted-1", "response_data": response})
    assert said(row, "operation", "output") == {"operation": "llm", "output": "It arrives on Thursday."}


def test_the_reported_cost_is_the_calls_not_the_agents():
    call = {"gen_ai.operation.name": "chat", "logfire.span_type": "span", "operation.cost": 0.25}
    assert only_span(call)["cost_usd"] == 0.25
    assert only_span({**call, "gen_ai.operation.name": "invoke_agent"})["cost_usd"] is None
