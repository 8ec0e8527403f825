"""The protobuf form of an export request -> spans, by protobuf's own objects.

The readable reference that any faster decoder is tested against.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from evalpipe.otlp.columns import Origin, RawSpan, origin_of
from evalpipe.otlp.values import MalformedError, from_protobuf

Pairs = list[tuple[str, Any]]


def protobuf_spans(body: bytes) -> Iterator[tuple[Origin, RawSpan, Pairs]]:
    """Origin, span and attributes of every span in order. Raises MalformedError when it is no export request."""
    for resource_spans in _request(body).resource_spans:
        resource = dict(_pairs(resource_spans.resource.attributes))
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            origin = origin_of(resource, scope.name, scope.version, dict(_pairs(scope.attributes)))
            for span in scope_spans.spans:
                status = span.status
                yield (
                    origin,
                    RawSpan(
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.name,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        status.code,
                        status.message,
                        [_event(event) for event in span.events],
                        [_link(link) for link in span.links],
                    ),
                    _pairs(span.attributes),
                )


def protobuf_ids_and_starts(body: bytes) -> Iterator[tuple[str, str, int]]:
    """Trace id, span id and start of every span, and nothing else of it."""
    for resource_spans in _request(body).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield span.trace_id.hex(), span.span_id.hex(), span.start_time_unix_nano


def _request(body: bytes) -> ExportTraceServiceRequest:
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise MalformedError(
            "it is no protobuf ExportTraceServiceRequest; is it damaged, or logs or metrics?"
        ) from error


def _pairs(attributes: Any) -> Pairs:
    return [(pair.key, from_protobuf(pair.value)) for pair in attributes]


def _event(event: Any) -> dict[str, Any]:
    return {"name": event.name, "time_unix_ns": event.time_unix_nano, "attributes": dict(_pairs(event.attributes))}


def _link(link: Any) -> dict[str, Any]:
    attributes = dict(_pairs(link.attributes))
    return {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex(), "attributes": attributes}
