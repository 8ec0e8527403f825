"""The JSON form of an export request -> spans.

As OTLP asks: ids are hex in any case, 64-bit integers are strings or numbers, enums are integers, unknown fields
are ignored. Beyond that, what hand-made exporters send is taken where it has one meaning.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from evalpipe.otlp.columns import Origin, Outline, RawSpan, Summary, origin_of
from evalpipe.otlp.values import MalformedError, integer, mapping, pairs_from_json, sequence, text

_UINT64 = range(2**64)
_INT32 = range(-(2**31), 2**31)
_STATUS_CODES = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}

Pairs = list[tuple[str, Any]]


def json_spans(body: bytes) -> Iterator[tuple[Origin, RawSpan, Pairs] | tuple[MalformedError, Any]]:
    """Origin, span and attributes of every span in order; of a malformed one, what is wrong and itself.

    Raises MalformedError when it is no export request, or when a resource or a scope is malformed.
    """
    for resource_spans in _resource_spans(body):
        resource = dict(pairs_from_json(mapping(resource_spans.get("resource")).get("attributes")))
        for scope_spans in map(mapping, sequence(resource_spans.get("scopeSpans"))):
            scope = mapping(scope_spans.get("scope"))
            origin = origin_of(
                resource,
                text(scope.get("name"), "scope.name"),
                text(scope.get("version"), "scope.version"),
                dict(pairs_from_json(scope.get("attributes"))),
            )
            for item in sequence(scope_spans.get("spans")):
                try:
                    span = mapping(item)
                    yield origin, _span(span), list(pairs_from_json(span.get("attributes")))
                except MalformedError as error:
                    yield error, item


def json_summary(body: bytes) -> Summary:
    """The ids and times of every span. Raises MalformedError when it is no export request."""
    outlines = [_outline(item) for item in _span_items(body)]
    starts = [0 if isinstance(outline, MalformedError) else outline.start_unix_ns for outline in outlines]
    return Summary(starts, outlines)


def json_ids(body: bytes) -> Iterator[tuple[str, str]]:
    """Trace id and span id of every span whose ids and times can be read."""
    for outline in map(_outline, _span_items(body)):
        if not isinstance(outline, MalformedError):
            yield outline.trace_id, outline.span_id


def _span_items(body: bytes) -> Iterator[Any]:
    for resource_spans in _resource_spans(body):
        for scope_spans in map(mapping, sequence(resource_spans.get("scopeSpans"))):
            yield from sequence(scope_spans.get("spans"))


def _outline(item: Any) -> Outline | MalformedError:
    try:
        span = mapping(item)
        return Outline(
            _id(span, "traceId"),
            _id(span, "spanId"),
            _id(span, "parentSpanId"),
            _time(span, "startTimeUnixNano"),
            _time(span, "endTimeUnixNano"),
        )
    except MalformedError as error:
        return error


def _resource_spans(body: bytes) -> list[dict[str, Any]]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"it is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise MalformedError("it is JSON, but no object with resourceSpans")
    if document and "resourceSpans" not in document:
        keys = ", ".join(key[:40] for key in list(document)[:4])
        raise MalformedError(f"it has {keys} but no resourceSpans; evalpipe reads traces")
    return [mapping(item) for item in sequence(document.get("resourceSpans"))]


def _span(span: dict[str, Any]) -> RawSpan:
    status = mapping(span.get("status"))
    code = status.get("code")
    return RawSpan(
        _id(span, "traceId"),
        _id(span, "spanId"),
        _id(span, "parentSpanId"),
        text(span.get("name"), "name"),
        _time(span, "startTimeUnixNano"),
        _time(span, "endTimeUnixNano"),
        _STATUS_CODES.get(code, 0) if isinstance(code, str) else integer(code, "status.code", _INT32),
        text(status.get("message"), "status.message"),
        [_event(mapping(event)) for event in sequence(span.get("events"))],
        [_link(mapping(link)) for link in sequence(span.get("links"))],
    )


def _event(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": text(event.get("name"), "an event's name"),
        "time_unix_ns": _time(event, "timeUnixNano"),
        "attributes": dict(pairs_from_json(event.get("attributes"))),
    }


def _link(link: dict[str, Any]) -> dict[str, Any]:
    attributes = dict(pairs_from_json(link.get("attributes")))
    return {"trace_id": _id(link, "traceId"), "span_id": _id(link, "spanId"), "attributes": attributes}


def _id(span: dict[str, Any], key: str) -> str:
    return text(span.get(key), key).lower()


def _time(span: dict[str, Any], key: str) -> int:
    return integer(span.get(key), key, _UINT64)
