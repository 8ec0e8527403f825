"""OTLP files as cases: what the pipeline makes of the same spans."""

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import zstandard
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import set_span_in_context

from evalpipe.demo.export import OtlpFileExporter
from evalpipe.errors import InputError
from evalpipe.gate.cases import read_cases
from evalpipe.home import Home
from evalpipe.ids import fingerprint
from evalpipe.tables import TRACES
from evalpipe.traces.on_lake import roll_up_day, take_in_day
from evalpipe_tests.otlp.made import START_NS

DAY, LATER = date(2026, 2, 16), datetime(2026, 2, 16, 12, tzinfo=UTC)  # of START_NS, and some hours after it


def exported(path: Path, *, at: int = START_NS, n: int = 3) -> Path:
    """What the SDK exports of an agent that calls a tool in each of `n` turns of one conversation."""
    resource = Resource({"service.name": "shop", "service.version": "2.0.0", "evalpipe.gate.id": "ci-7"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(SimpleSpanProcessor(OtlpFileExporter(path)))
    tracer = provider.get_tracer("shop", "1")
    for turn in range(n):
        start = at + turn * 10**9
        asked, answered = ([{"role": r, "parts": [{"type": "text", "content": c}]}] for r, c in said(turn))
        root = tracer.start_span(
            "invoke_agent",
            attributes={"gen_ai.operation.name": "invoke_agent", "session.id": "s-1"},
            start_time=start,
        )
        inside = set_span_in_context(root)
        tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "track"}
        tool |= {"gen_ai.tool.call.arguments": f'{{"order": {turn}}}', "gen_ai.tool.call.result": "in Bern"}
        tracer.start_span("track", inside, attributes=tool, start_time=start + 10).end(start + 20)
        model = {"gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o", "gen_ai.provider.name": "openai"}
        model |= {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20}
        model |= {"gen_ai.input.messages": json.dumps(asked), "gen_ai.output.messages": json.dumps(answered)}
        tracer.start_span("chat", inside, attributes=model, start_time=start + 30).end(start + 40)
        root.end(start + 50)
    provider.shutdown()
    return path


def said(turn: int) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("user", f"Where is order {turn}?"), ("assistant", f"Order {turn} is in Bern.")


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.binpb"])
def test_the_cases_of_an_exporters_file_are_the_traces_that_the_pipeline_makes(tmp_path, name):
    path = exported(tmp_path / name)
    home = Home.open(tmp_path / "home")
    home.ingest([path], now=LATER)
    take_in_day(home.landing, home.lake, DAY, reading=home.reading, now=LATER, made_from=fingerprint)
    roll_up_day(home.lake, DAY, settings=home.settings.observe, now=LATER, made_from=1, code_version=1)

    cases = read_cases(path, is_strict=True)

    order = ["start_unix_ns", "trace_id"]
    assert cases.traces.sort(order).equals(home.lake.read(TRACES).sort(order))
    assert cases.traces["response"].to_list() == [said(turn)[1][1] for turn in range(3)]
    assert cases.traces.select("session_id", "turn_index", "n_tool_calls").rows() == [("s-1", t, 1) for t in range(3)]
    assert cases.about.is_empty()


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, ".gz"), (zstandard.compress, ".zst")])
@pytest.mark.parametrize("name", ["traces.jsonl", "traces.binpb"])
def test_otlp_is_known_by_its_content_compressed_or_not(tmp_path, name, pack, suffix):
    plain = exported(tmp_path / name)
    packed = tmp_path / f"cases.jsonl{suffix}"
    packed.write_bytes(pack(plain.read_bytes()))
    assert read_cases(packed).traces.equals(read_cases(plain).traces)


def test_traces_of_any_year_are_judged(tmp_path):
    # A replay may run on a clock that stands still, or long ago: a file has no day partitions to fit.
    cases = read_cases(exported(tmp_path / "traces.jsonl", at=1_000))
    assert cases.traces["day"].unique().to_list() == [date(1970, 1, 1)]


def test_traces_are_rolled_up_batch_by_batch_to_the_same_rows(tmp_path, monkeypatch):
    path = exported(tmp_path / "traces.jsonl", n=5)
    whole = read_cases(path).traces
    monkeypatch.setattr("evalpipe.gate.case_spans._BATCH_SPANS", 4)
    assert read_cases(path).traces.equals(whole)


def test_what_of_an_otlp_file_is_no_trace_is_refused_in_its_place(tmp_path):
    path = exported(tmp_path / "traces.jsonl", n=1)
    request = json.loads(path.read_text())
    request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = "0" * 32
    lines = [json.dumps(request), '{"resourceLogs": []}', '{"input": "q", "output": "a"}', '{"resourceSp']
    path.write_text("\n".join(lines))
    cases = read_cases(path)
    assert cases.traces.height == 1
    assert [one.line for one in cases.refused] == [2, 3, 4, 1]
    reasons = [one.reason for one in cases.refused]
    assert "resourceLogs are not traces" in reasons[0]
    assert "no resourceSpans" in reasons[1]
    assert "ends within" in reasons[2]
    assert reasons[3].startswith("span 1: its trace id is all zeros")
    with pytest.raises(InputError, match="4 of 5 cases"):
        read_cases(path, is_strict=True)


def test_an_otlp_file_without_spans_decides_nothing(tmp_path):
    path = tmp_path / "traces.json"
    path.write_text('{"resourceSpans": []}')
    with pytest.raises(InputError, match="no cases"):
        read_cases(path)
