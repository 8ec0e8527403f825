"""OTLP requests as an agent application sends them, any number, the same for the same seed, one in memory at a time.

A trace has 12 spans: the agent, four model calls whose conversation grows, five tool calls, a retriever, a guardrail;
about 3.25 KB of protobuf a span, which gzip makes 5 to 6 times smaller, because a conversation repeats its context.
"""

import gzip
import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

SPANS_PER_TRACE = 12
_SERVICES = ("assistant", "billing", "checkout", "search", "support", "travel")
_TOOLS = ("search_orders", "get_customer", "issue_refund", "check_stock", "send_email", "book_slot")
_MODELS = ("gpt-5-mini", "claude-sonnet-4-5", "gemini-2.5-flash")
_ERROR_SHARE = 0.07  # of traces, with a failed tool call and an exception event
_FOREIGN_SHARE = 0.01  # of sentences, with characters outside ASCII: so most long messages have some
_FOREIGN = ("😀 merci, à bientôt", "ご注文を確認しました", "Überweisung fällig", "订单已发货 📦", "доставка завтра")
_N_SENTENCES = 60_000  # 5 MB of distinct text: more than any window in which a compressor finds repetitions
_BETWEEN_TRACES_NS = 500_000_000  # a day of these has 2 million spans at most


@dataclass(frozen=True)
class Traffic:
    """`n_spans` spans from `day` on: in one day unless `n_days` says more, which share them equally."""

    n_spans: int
    day: date
    n_days: int = 1
    first: int = 0  # how many spans of each day come before
    body_spans: int = 512  # spans a request; a trace may go on in the next one, as exporters cut it
    seed: int = 1

    def bodies(self) -> Iterator[bytes]:
        """The requests as protobuf, in the order of time."""
        for number in range(self.n_days):
            day = self.day + timedelta(days=number)
            share = self.n_spans // self.n_days + (number < self.n_spans % self.n_days)
            spans = itertools.islice(_spans(day, self.seed), self.first, self.first + share)
            while batch := list(itertools.islice(spans, self.body_spans)):
                yield _request(batch)

    def gzipped(self) -> Iterator[bytes]:
        """The requests as an exporter with compression sends them."""
        return (gzip.compress(body, compresslevel=6, mtime=0) for body in self.bodies())


def _request(spans: list[tuple[str, Span]]) -> bytes:
    """One request of spans with the service each is of."""
    by_service: dict[str, list[Span]] = {}
    for service, span in spans:
        by_service.setdefault(service, []).append(span)
    request = ExportTraceServiceRequest()
    for service, group in by_service.items():
        resource_spans = ResourceSpans(resource=_resource(service))
        resource_spans.scope_spans.add(scope=InstrumentationScope(name="bench.agent", version="1.4.0"), spans=group)
        request.resource_spans.append(resource_spans)
    return request.SerializeToString()


def _spans(day: date, seed: int) -> Iterator[tuple[str, Span]]:
    """The spans of one day without end."""
    midnight_ns = int(datetime.combine(day, time(), UTC).timestamp()) * 10**9
    for number in itertools.count():
        name = f"{seed} {day} {number}"
        trace_id = hashlib.md5(name.encode()).digest()
        trace = _Trace(random.Random(name), trace_id, midnight_ns + number * _BETWEEN_TRACES_NS)
        yield from ((trace.service, span) for span in trace.spans())


class _Trace:
    """One request to the application: the conversation so far, and the spans it left."""

    def __init__(self, chance: random.Random, trace_id: bytes, start_ns: int) -> None:
        self.chance = chance
        self.service = chance.choice(_SERVICES)
        self._model = chance.choice(_MODELS)
        self._id = trace_id
        self._now_ns = start_ns
        self._n_spans = 0
        self._session = f"session-{chance.getrandbits(32):08x}"
        self._user = f"user-{chance.randrange(50_000)}"

    def spans(self) -> list[Span]:
        """The twelve in order of start, the agent first."""
        question = _prose(self.chance, 4, 14)
        said: list[dict[str, object]] = [_message("system", _prose(self.chance, 6, 12)), _message("user", question)]
        agent = self._span("invoke_agent concierge", {"gen_ai.operation.name": "invoke_agent"})
        children = [self._guardrail(question), self._retriever(question)]
        failing = self.chance.randrange(5) if self.chance.random() < _ERROR_SHARE else None
        for turn, n_tools in enumerate((2, 2, 1, 0)):
            children.append(self._llm(said))
            for number in range(n_tools):
                children.append(self._tool(said, is_failing=turn * 2 + number == failing))
        answer = str(said[-1]["parts"][0]["content"])  # type: ignore[index]
        _put(agent, {"input.value": question, "output.value": answer, "gen_ai.agent.name": "concierge"})
        for child in children:
            child.parent_span_id = agent.span_id
        agent.end_time_unix_nano = self._now_ns
        return [agent, *children]

    def _llm(self, said: list[dict[str, object]]) -> Span:
        sent = orjson.dumps(said).decode()
        answer = _message("assistant", _prose(self.chance, 3, 12))
        said.append(answer)
        return self._span(
            f"chat {self._model}",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": self._model,
                "gen_ai.response.model": f"{self._model}-2026-01-15",
                "gen_ai.response.id": f"resp_{self.chance.getrandbits(64):016x}",
                "gen_ai.request.temperature": 0.2,
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": len(sent) // 4,
                "gen_ai.usage.output_tokens": self.chance.randrange(20, 400),
                "gen_ai.input.messages": sent,
                "gen_ai.output.messages": orjson.dumps([answer]).decode(),
            },
        )

    def _tool(self, said: list[dict[str, object]], *, is_failing: bool) -> Span:
        tool, call = self.chance.choice(_TOOLS), f"call_{self.chance.getrandbits(64):016x}"
        arguments = orjson.dumps({"order": self.chance.randrange(10**8), "reason": _prose(self.chance, 1, 4)}).decode()
        result = orjson.dumps({"rows": self.chance.randrange(40), "text": _prose(self.chance, 2, 13)}).decode()
        said.append(_message("tool", result))
        span = self._span(
            f"execute_tool {tool}",
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": tool,
                "gen_ai.tool.call.id": call,
                "gen_ai.tool.call.arguments": arguments,
                "gen_ai.tool.call.result": result,
                "http.response.status_code": 500 if is_failing else 200,
                "retry.count": self.chance.randrange(3),
            },
        )
        if is_failing:
            span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="upstream timed out"))
            event = span.events.add(name="exception", time_unix_nano=self._now_ns)
            _put(event, {"exception.type": "TimeoutError", "exception.message": _prose(self.chance, 1, 2)})
        return span

    def _retriever(self, question: str) -> Span:
        documents = [{"id": f"kb-{self.chance.randrange(9_000)}", "text": _prose(self.chance, 3, 8)} for _ in range(3)]
        return self._span(
            "retrieve knowledge",
            {
                "openinference.span.kind": "RETRIEVER",
                "input.value": question,
                "output.value": orjson.dumps(documents).decode(),
                "retrieval.top_k": 3,
            },
        )

    def _guardrail(self, question: str) -> Span:
        attributes = {"openinference.span.kind": "GUARDRAIL", "input.value": question, "guardrail.passed": True}
        return self._span("check input", attributes)

    def _span(self, name: str, attributes: dict[str, object]) -> Span:
        start_ns = self._now_ns + self.chance.randrange(1_000, 3_000_000)
        self._now_ns = start_ns + self.chance.randrange(1_000_000, 30_000_000)
        self._n_spans += 1
        span = Span(
            trace_id=self._id,
            span_id=(int.from_bytes(self._id[:8], "big") + self._n_spans & (2**64 - 1)).to_bytes(8, "big"),
            name=name,
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=self._now_ns,
        )
        own = {
            "session.id": self._session,
            "user.id": self._user,
            "thread.id": self.chance.randrange(2**40),
            "app.tenant": f"tenant-{self.chance.randrange(400)}",
            "app.locale": "en-GB",
        }
        _put(span, attributes | own)
        return span


@cache
def _resource(service: str) -> Resource:
    resource = Resource()
    _put(
        resource,
        {
            "service.name": service,
            "service.version": "2026.2.1",
            "service.instance.id": hashlib.md5(service.encode()).hexdigest(),
            "deployment.environment.name": "production",
            "telemetry.sdk.language": "python",
            "telemetry.sdk.version": "1.45.2",
        },
    )
    return resource


@cache
def _sentences() -> list[str]:
    """The pool that all prose is drawn from: words of 2 to 11 letters, the common ones often."""
    chance = random.Random(20_261_123)
    words = ["".join(chance.choices("etaoinshrdlucmfwypvbgk", k=chance.randint(2, 11))) for _ in range(6_000)]
    frequency = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(words))))
    sentences = []
    for _ in range(_N_SENTENCES):
        sentence = " ".join(chance.choices(words, cum_weights=frequency, k=chance.randint(7, 18)))
        foreign = f", {chance.choice(_FOREIGN)}" if chance.random() < _FOREIGN_SHARE else ""
        sentences.append(f"{sentence.capitalize()}{foreign}.")
    return sentences


def _prose(chance: random.Random, least: int, most: int) -> str:
    return " ".join(chance.choices(_sentences(), k=chance.randint(least, most)))


def _message(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _put(owner: Span | Span.Event | Resource, attributes: dict[str, object]) -> None:
    owner.attributes.extend(KeyValue(key=key, value=_any_value(value)) for key, value in attributes.items())


def _any_value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case list():
            any_value = AnyValue()
            any_value.array_value.values.extend(_any_value(item) for item in value)
            return any_value
        case _:
            return AnyValue(string_value=str(value))
