"""The protobuf form of an export request -> spans, by protobuf's own objects, one at a time.

The readable reference: protobuf_bulk.py reads most spans faster and must give the same, and leaves the rest to here.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from evalpipe.otlp.columns import MAX_UNIX_NS, Origin, Outline, RawSpan, Summary, origin_of
from evalpipe.otlp.values import MalformedError, from_protobuf

Pairs = list[tuple[str, Any]]

_NO_TRACE_ID, _NO_SPAN_ID = bytes(16), bytes(8)  # zeros say that there is none


def protobuf_spans(body: bytes) -> Iterator[tuple[Origin, RawSpan, Pairs]]:
    """Origin, span and attributes of every span in order. Raises MalformedError when it is no export request."""
    for origin, spans in scopes(body):
        for span in spans:
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
                    events(span),
                    links(span),
                ),
                pairs(span),
            )


def scopes(body: bytes) -> Iterator[tuple[Origin, Iterable[Any]]]:
    """The origin of every scope in order, and protobuf's objects of its spans. Raises as `protobuf_spans` does."""
    for resource_spans in _request(body).resource_spans:
        resource = dict(pairs(resource_spans.resource))
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope
            yield origin_of(resource, scope.name, scope.version, dict(pairs(scope))), scope_spans.spans


def pairs(holder: Any) -> Pairs:
    """The attributes of a span, an event, a link, a resource or a scope."""
    return [(pair.key, from_protobuf(pair.value)) for pair in holder.attributes]


def events(span: Any) -> list[dict[str, Any]]:
    """The events of a span, for JSON."""
    return [
        {"name": event.name, "time_unix_ns": event.time_unix_nano, "attributes": dict(pairs(event))}
        for event in span.events
    ]


def links(span: Any) -> list[dict[str, Any]]:
    """The links of a span, for JSON."""
    return [
        {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex(), "attributes": dict(pairs(link))}
        for link in span.links
    ]


def protobuf_summary(body: bytes) -> Summary:
    """The starts of all spans, and the spans whose ids or times are not plainly sound.

    Asked of every request that is received, so a sound span costs no object. Raises MalformedError when it is no
    export request.
    """
    starts: list[int] = []
    doubtful: list[Outline | MalformedError] = []
    for spans in _span_lists(body):
        starts += [span.start_time_unix_nano for span in spans]
        doubtful += [
            Outline(
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.start_time_unix_nano,
                span.end_time_unix_nano,
            )
            for span in spans
            if not (
                0 < span.start_time_unix_nano <= span.end_time_unix_nano <= MAX_UNIX_NS
                and len(trace_id := span.trace_id) == 16
                and trace_id != _NO_TRACE_ID
                and len(span_id := span.span_id) == 8
                and span_id != _NO_SPAN_ID
                and len(span.parent_span_id) in (0, 8)
            )
        ]
    return Summary(starts, doubtful)


def protobuf_ids(body: bytes) -> Iterator[tuple[str, str]]:
    """Trace id and span id of every span. Raises MalformedError when it is no export request."""
    for spans in _span_lists(body):
        for span in spans:
            yield span.trace_id.hex(), span.span_id.hex()


def _span_lists(body: bytes) -> Iterator[Any]:
    for resource_spans in _request(body).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            yield scope_spans.spans


def _request(body: bytes) -> ExportTraceServiceRequest:
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise MalformedError(
            "it is no protobuf ExportTraceServiceRequest; is it damaged, or logs or metrics?"
        ) from error
