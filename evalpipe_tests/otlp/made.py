"""Export requests for tests, made by the real OpenTelemetry SDK, in both encodings."""

import base64
import json
import random
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Status, StatusCode, set_span_in_context

from evalpipe.otlp.payload import Payload

DAY_NS = 86_400 * 10**9
START_NS = 20_500 * DAY_NS  # 2026-02-16 00:00 UTC: date(1970, 1, 1) + 20,500 days


class Application:
    """An instrumented application: spans are nested with `span`, times are nanoseconds after START_NS."""

    def __init__(self, service: str = "shop", seed: int = 1, **resource: str) -> None:
        self._exporter = InMemorySpanExporter()
        attributes = {"service.name": service, "service.version": "1.2.3", **resource}
        provider = TracerProvider(resource=Resource(attributes), id_generator=_Ids(seed))
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._tracer = provider.get_tracer("made", "0.1")
        self._parents: list[Any] = []

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        at: int = 0,
        lasts: int = 1_000,
        error: str | None = None,
        events: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ):
        context = set_span_in_context(self._parents[-1]) if self._parents else None
        span = self._tracer.start_span(name, context, attributes=attributes, start_time=START_NS + at)
        for event, values in events:
            span.add_event(event, values, timestamp=START_NS + at)
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        self._parents.append(span)
        yield span
        self._parents.pop()
        span.end(START_NS + at + lasts)

    def request(self) -> ExportTraceServiceRequest:
        """Everything since the last call, children before their parents, as an exporter sends it."""
        spans = self._exporter.get_finished_spans()
        self._exporter.clear()
        return encode_spans(spans)


class _Ids(IdGenerator):
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) | 1

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) | 1


def request_of(*spans: Span, service: str = "shop") -> ExportTraceServiceRequest:
    """Spans in one request, without the SDK: for what the SDK would not send."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    attribute = resource_spans.resource.attributes.add(key="service.name")
    attribute.value.string_value = service
    resource_spans.scope_spans.add().spans.extend(spans)
    return request


def bare_span(number: int = 1, **changes: Any) -> Span:
    """A sound span, with fields changed."""
    fields: dict[str, Any] = {
        "trace_id": number.to_bytes(16, "big"),
        "span_id": number.to_bytes(8, "big"),
        "name": f"span {number}",
        "start_time_unix_nano": START_NS + number,
        "end_time_unix_nano": START_NS + number + 10,
    }
    return Span(**(fields | changes))


def json_document(request: ExportTraceServiceRequest) -> dict[str, Any]:
    """OTLP/JSON of a request: protobuf's own JSON, with the ids in hex as OTLP asks."""
    document = json_format.MessageToDict(request, use_integers_for_enums=True)
    _hex_ids(document)
    return document


def json_bytes(request: ExportTraceServiceRequest) -> bytes:
    """OTLP/JSON of a request on one line."""
    return json.dumps(json_document(request)).encode()


def protobuf_payload(request: ExportTraceServiceRequest, location: str = "payload 1") -> Payload:
    return Payload(request.SerializeToString(), "protobuf", location)


def json_payload(request: ExportTraceServiceRequest, location: str = "payload 1") -> Payload:
    return Payload(json_bytes(request), "json", location)


def _hex_ids(node: Any) -> None:
    if isinstance(node, list):
        for item in node:
            _hex_ids(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("traceId", "spanId", "parentSpanId"):
                node[key] = base64.b64decode(value).hex()
            else:
                _hex_ids(value)
