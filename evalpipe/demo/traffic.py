"""An online shop's support agent, simulated: it answers customers and reports itself through the OpenTelemetry SDK.

What it says is in dialogue.py and failures.py, who asks in sessions.py. This file turns turns into spans and cases.
The planted truth is returned to the caller alone: it is in no span and no case.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from evalpipe.demo.dialogue import Turn
from evalpipe.demo.export import OtlpFileExporter, SeededIdGenerator
from evalpipe.demo.plan import (
    SERVICE_NAME,
    Candidate,
    DemoPlan,
    FailureMode,
    release_of,
)
from evalpipe.demo.sessions import Session, sessions_of_day
from evalpipe.demo.shop import ToolCall
from evalpipe.errors import StateError

_MODEL = "shop-llm-large-2"
_PROVIDER = "example.ai"
_SYSTEM_PROMPT = (
    "You are the support agent of an online shop. Use the tools. Check the refund policy before you issue a refund. "
    "State only what tools and help pages say. Do not ask for what the customer has told you. If a tool fails and "
    "fails again, say so and hand over to a colleague."
)
_UNLIMITED = SpanLimits.UNSET
_NS_PER_S = 1_000_000_000
_CHARS_PER_TOKEN = 4
_TIMEOUT_S = 10.0  # as the error message says


class WeekTraffic(NamedTuple):
    """A week as files, one a day, and what is wrong with its traces: `truth` has every trace, None for a good one."""

    paths: list[Path]
    truth: dict[str, str | None]
    n_traces: int


def week_of_traffic(plan: DemoPlan, week_index: int, out_dir: Path) -> WeekTraffic:
    """Simulate one week into `out_dir`, which is created. Equal (plan, week_index) give equal bytes.

    Working days are OTLP/JSON lines, weekends length-prefixed protobuf: the two things collectors leave.
    Raises StateError when the OpenTelemetry SDK is switched off.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    release = release_of(week_index)
    paths: list[Path] = []
    truth: dict[str, str | None] = {}
    for n, day in enumerate(plan.days_of(week_index)):
        chance = plan.chance("day", week_index, n)
        sessions = sessions_of_day(plan.sessions_in(week_index), day, release.rates, chance)
        path = out_dir / f"{SERVICE_NAME}-{day}.{'binpb' if day.weekday() >= 5 else 'jsonl'}"
        # Ids name the day: two runs of the demo with different weeks may share a lake.
        ids, durations = plan.chance("ids", day), plan.chance("durations", week_index, n)
        truth |= _export_day(path, day, sessions, release.version, ids=ids, durations=durations)
        paths.append(path)
    return WeekTraffic(paths, truth, len(truth))


def release_cases(plan: DemoPlan, candidate: Candidate, n: int, *, seed: int) -> list[dict[str, Any]]:
    """What a release candidate answered to `n` test requests, as cases for the gate."""
    version, rates = candidate.version, candidate.rates
    chance = plan.chance("release", version, seed)
    turns: list[Turn] = []
    while len(turns) < n:
        day = sessions_of_day(plan.sessions_per_day, plan.start_day, rates, chance)
        turns += [turn for session in day for turn in session.turns]
    return [_case(f"{version}-{index:04d}", version, turn) for index, turn in enumerate(turns[:n])]


def write_cases(path: Path, cases: Sequence[Mapping[str, Any]]) -> Path:
    """One case a line, JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases), encoding="utf-8")
    return path


def _case(case_id: str, version: str, turn: Turn) -> dict[str, Any]:
    return {
        "id": case_id,
        "input": turn.request,
        "output": turn.answer,
        "messages": [{"role": "user", "content": turn.request}, {"role": "assistant", "content": turn.answer}],
        "tool_calls": [
            {"name": step.name, "arguments": step.arguments, "result": step.result, "is_error": step.is_error}
            for step in turn.steps
        ],
        "metadata": {"service": SERVICE_NAME, "version": version},
    }


def _export_day(
    path: Path, day: date, sessions: Sequence[Session], version: str, *, ids: Random, durations: Random
) -> dict[str, FailureMode | None]:
    exporter = OtlpFileExporter(path)
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource(
            {
                "service.name": SERVICE_NAME,
                "service.version": version,
                "deployment.environment.name": "production",
            }
        ),
        shutdown_on_exit=False,
        id_generator=SeededIdGenerator(ids),
        # Every limit is set, so that no OTEL_* variable of the machine changes the spans.
        span_limits=SpanLimits(*[_UNLIMITED] * 8),
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("shop_assistant.agent", "1.0")
    truth = {
        _emit(tracer, session.session_id, turn, start_ns, durations): turn.failure_mode
        for session, turn, start_ns in _by_start(day, sessions)
    }
    provider.shutdown()
    if exporter.n_spans == 0:
        raise StateError("the demo's application emitted no spans: OTEL_SDK_DISABLED is set. Unset it and start again.")
    return truth


def _by_start(day: date, sessions: Sequence[Session]) -> list[tuple[Session, Turn, int]]:
    """Every turn of the day with its start in nanoseconds since 1970; sessions overlap, as they do in production."""
    midnight_ns = int(datetime.combine(day, time(), UTC).timestamp()) * _NS_PER_S
    starts = []
    for session in sessions:
        at_s = session.starts_at_s
        for turn, gap_s in zip(session.turns, session.gaps_s, strict=True):
            at_s += gap_s
            starts.append((session, turn, midnight_ns + _ns(at_s)))
            at_s += _longest_s(turn)
    return sorted(starts, key=lambda start: start[2])


def _longest_s(turn: Turn) -> float:
    """What answering may take at most, seconds: nobody asks the next question before the answer is there."""
    return 3.0 * (len(turn.steps) + 1) + _TIMEOUT_S * sum(map(_is_timeout, turn.steps))


def _is_timeout(step: ToolCall) -> bool:
    return step.is_error and step.result.startswith("TimeoutError")


def _emit(tracer: Tracer, session_id: str, turn: Turn, start_ns: int, chance: Random) -> str:
    """Report one turn as a trace: the agent's root span, then model and tool calls in turn below it. Returns its id."""
    root = tracer.start_span(
        f"invoke_agent {SERVICE_NAME}",
        context=Context(),
        start_time=start_ns,
        attributes={
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": SERVICE_NAME,
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.conversation.id": session_id,
            "session.id": session_id,
            "user.id": turn.customer.id,
            "input.value": turn.request,
            "output.value": turn.answer,
        },
    )
    below_root = set_span_in_context(root, Context())
    history: list[dict[str, Any]] = [_message("user", {"type": "text", "content": turn.request})]
    now_ns = start_ns + _ns(chance.uniform(0.002, 0.02))
    for call_id, step in _with_call_ids(turn.steps, chance):
        wanted = {"type": "tool_call", "id": call_id, "name": step.name, "arguments": step.arguments}
        now_ns = _emit_chat(tracer, below_root, history, _message("assistant", wanted), "tool_calls", now_ns, chance)
        now_ns = _emit_tool(tracer, below_root, step, call_id, now_ns, chance)
        history.append(_message("assistant", wanted))
        history.append(_message("tool", {"type": "tool_call_response", "id": call_id, "response": step.result}))
    answer = _message("assistant", {"type": "text", "content": turn.answer})
    now_ns = _emit_chat(tracer, below_root, history, answer, "stop", now_ns, chance)
    root.end(end_time=now_ns + _ns(chance.uniform(0.001, 0.01)))
    return f"{root.get_span_context().trace_id:032x}"


def _emit_chat(
    tracer: Tracer,
    below_root: Context,
    history: Sequence[Mapping[str, Any]],
    output: Mapping[str, Any],
    finish_reason: str,
    start_ns: int,
    chance: Random,
) -> int:
    read, written = _json([*history]), _json([{**output, "finish_reason": finish_reason}])
    n_output_tokens = max(1, round(len(written) / _CHARS_PER_TOKEN * chance.uniform(0.9, 1.15)))
    span = tracer.start_span(
        f"chat {_MODEL}",
        context=below_root,
        kind=SpanKind.CLIENT,
        start_time=start_ns,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.request.model": _MODEL,
            "gen_ai.response.model": _MODEL,
            "gen_ai.system_instructions": _json([{"type": "text", "content": _SYSTEM_PROMPT}]),
            "gen_ai.input.messages": read,
            "gen_ai.output.messages": written,
            "gen_ai.response.finish_reasons": (finish_reason,),
            "gen_ai.usage.input_tokens": (len(_SYSTEM_PROMPT) + len(read)) // _CHARS_PER_TOKEN,
            "gen_ai.usage.output_tokens": n_output_tokens,
        },
    )
    return _end(span, start_ns + _ns(0.35 + n_output_tokens * chance.uniform(0.008, 0.015)))


def _emit_tool(tracer: Tracer, below_root: Context, step: ToolCall, call_id: str, start_ns: int, chance: Random) -> int:
    span = tracer.start_span(
        f"execute_tool {step.name}",
        context=below_root,
        start_time=start_ns,
        attributes={
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": step.name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call_id,
            "gen_ai.tool.call.arguments": _json(step.arguments),
        },
    )
    end_ns = start_ns + _ns(_TIMEOUT_S if _is_timeout(step) else chance.lognormvariate(-1.8, 0.6))
    if step.is_error:
        error_type, _, message = step.result.partition(": ")
        details = {"exception.type": error_type, "exception.message": message}
        span.add_event("exception", details, timestamp=end_ns)
        span.set_attribute("error.type", error_type)
        span.set_status(Status(StatusCode.ERROR, step.result))
    else:
        span.set_attribute("gen_ai.tool.call.result", step.result)
    return _end(span, end_ns)


def _with_call_ids(steps: Sequence[ToolCall], chance: Random) -> Iterator[tuple[str, ToolCall]]:
    for step in steps:
        yield f"call_{chance.getrandbits(48):012x}", step


def _message(role: str, part: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": [part]}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _end(span: Span, end_ns: int) -> int:
    span.end(end_time=end_ns)
    return end_ns


def _ns(seconds: float) -> int:
    return round(seconds * _NS_PER_S)
