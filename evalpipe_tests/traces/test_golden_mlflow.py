"""What MLflow 3.17.2 sends over OTLP. Expected figures are those of the scripted model: golden/make/server.py."""

import json

import polars as pl

from evalpipe_tests.traces.golden.read import golden, steps_of
from evalpipe_tests.traces.made import said

SPANS, TRACES = golden("mlflow")


def transcript(i):
    return steps_of(TRACES.row(i, named=True))


def test_every_span_is_what_its_quoted_type_says():
    assert SPANS["dialect"].unique().to_list() == ["mlflow"]
    first = SPANS.filter(trace_id=TRACES["trace_id"][0]).sort("start_unix_ns")
    assert first["operation"].to_list() == ["agent", "llm", "tool", "llm"]


def test_a_turn_with_a_tool_call_reads_as_it_was_said():
    assert transcript(0) == [
        ("system", "You help customers of a shop.", None),
        ("user", "Where is order 1042?", None),
        ("tool_call", '{"order_id": "1042"}', "get_order"),
        ("tool_result", '{"order_id": "1042", "status": "shipped"}', "get_order"),
        ("assistant", "Order 1042 left the warehouse on Monday.", None),
    ]
    row = TRACES.row(0, named=True)
    assert (row["request"], row["response"]) == ("Where is order 1042?", "Order 1042 left the warehouse on Monday.")
    assert (row["session_id"], row["user_id"]) == ("chat-7", "ada")
    # 52 + 89 read, 17 + 12 written.
    assert (row["n_input_tokens"], row["n_output_tokens"]) == (141, 29)
    assert (row["n_llm_calls"], row["n_tool_calls"], row["n_tool_errors"]) == (2, 1, 0)


def test_the_second_turn_has_its_history_once():
    assert transcript(1) == [
        *transcript(0),
        ("user", "When does it arrive?", None),
        ("assistant", "It arrives on Thursday.", None),
    ]
    assert TRACES["request"][1] == "When does it arrive?"


def test_a_text_is_no_json():
    (agent,) = SPANS.filter(trace_id=TRACES["trace_id"][0], operation="agent").to_dicts()
    assert agent["output"] == "Order 1042 left the warehouse on Monday."
    assert "mlflow.spanOutputs" not in json.loads(agent["attributes"])


def test_a_streamed_answer_is_one_step():
    assert transcript(2) == [
        ("user", "Tell me a parcel joke.", None),
        ("assistant", "Why did the parcel blush? It saw the label.", None),
    ]
    assert (TRACES["n_input_tokens"][2], TRACES["n_output_tokens"][2]) == (21, 11)


def test_failures_are_errors():
    call, tool = (SPANS.filter(trace_id=TRACES["trace_id"][i]).row(0, named=True) for i in (3, 4))
    assert (call["operation"], call["status"]) == ("llm", "error")
    assert said(tool, "tool_name", "is_tool_success", "status_message") == {
        "tool_name": "cancel_order",
        "is_tool_success": False,
        "status_message": "LookupError: order 1042 has left",
    }


def test_cached_tokens_are_counted_once_whoever_reports_them():
    columns = ("n_input_tokens", "n_cached_tokens", "n_cache_write_tokens", "n_output_tokens", "finish_reason")
    (openai,) = SPANS.filter(trace_id=TRACES["trace_id"][1], operation="llm").select(columns).rows()
    assert openai == (120, 64, None, 9, "stop")
    # Anthropic answered input_tokens 40; MLflow adds the 64 and the 16 itself and says so in its total of 129.
    (anthropic,) = SPANS.filter(name="Messages.create").select(columns).rows()
    assert anthropic == (120, 64, 16, 9, "end_turn")


def test_what_mlflow_sends_as_gen_ai_reads_the_same():
    """The same application with MLFLOW_ENABLE_OTEL_GENAI_SEMCONV=true."""
    spans, traces = golden("mlflow_gen_ai")
    assert spans["dialect"].unique().to_list() == ["gen_ai"]
    columns = ("request", "response", "session_id", "n_input_tokens", "n_output_tokens", "n_llm_calls", "n_tool_errors")
    # The agent is sent without its input: its question is then that of its first model call.
    assert traces.select(columns).rows() == TRACES.select(columns).rows()
    roles = pl.col("transcript").list.eval(pl.element().struct.field("role"))
    assert traces.select(roles).rows() == TRACES.select(roles).rows()
