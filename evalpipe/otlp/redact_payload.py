"""An export request with placeholders in every string, before it lands: then the originals are nowhere.

What is personal or secret is redaction/'s. Ids and times stay: they are no strings in protobuf, and named in JSON.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import orjson
import polars as pl
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from evalpipe.otlp.payload import Encoding
from evalpipe.otlp.values import MalformedError
from evalpipe.redaction.tables import all_detectors
from evalpipe.redaction.texts import redacted_texts
from evalpipe.settings import Detector, RedactionSettings

_SHORTEST_CARD = 10**12  # 13 digits: no smaller number is anything that redaction knows
_IDS_AND_TIMES = frozenset(
    ("traceId", "spanId", "parentSpanId", "startTimeUnixNano", "endTimeUnixNano", "timeUnixNano")
)


class _Place(NamedTuple):
    """A string somewhere in a request, and how to put another there."""

    text: str
    put: Callable[[str], None]


def redacted_payload(body: bytes, encoding: Encoding, settings: RedactionSettings, key: bytes) -> bytes:
    """`body`, decompressed, as the detectors of all groups ask; the same bytes when they find nothing.

    A whole number that is a card becomes a string. Values of type bytes are not read. Raises MalformedError when it
    is no export request, which cannot be read and so not be redacted.
    """
    detectors = all_detectors(settings)
    if not detectors:
        return body
    if encoding == "protobuf":
        request = _parsed(body)
        return request.SerializeToString() if _redact(_in_protobuf(request), detectors, key) else body
    document = {"": _loaded(body)}
    try:
        return orjson.dumps(document[""]) if _redact(_in_json(document), detectors, key) else body
    except TypeError as error:
        raise MalformedError("it nests deeper than JSON is written") from error


def _redact(places: Iterator[_Place], detectors: Collection[Detector], key: bytes) -> bool:
    """Redact all places at once; whether any of them changed."""
    found = list(places)
    before = pl.Series([place.text for place in found], dtype=pl.String)
    after = redacted_texts(before, detectors, key)
    rows = (before != after).arg_true()
    for row, text in zip(rows, after.gather(rows), strict=True):
        found[row].put(text)
    return len(rows) > 0


def _in_protobuf(request: Message) -> Iterator[_Place]:
    """Every string of a message and of those inside it, those of fields that came with newer versions of OTLP too."""
    waiting = [request]
    while waiting:
        message = waiting.pop()
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                waiting.extend(value if field.is_repeated else [value])
            elif field.type == FieldDescriptor.TYPE_STRING:
                yield from _strings(message, field, value)
            elif field.name == "int_value" and value >= _SHORTEST_CARD:
                # Setting another member of AnyValue's oneof takes this one away.
                yield _Place(str(value), lambda text, message=message: setattr(message, "string_value", text))


def _strings(message: Message, field: FieldDescriptor, value: Any) -> Iterator[_Place]:
    if not field.is_repeated:
        yield _Place(value, lambda text: setattr(message, field.name, text))
        return
    for number, item in enumerate(value):
        yield _Place(item, lambda text, number=number: value.__setitem__(number, text))


def _in_json(document: dict[str, Any]) -> Iterator[_Place]:
    """Every string and whole number that is a value, however deep; names of members are OTLP's own."""
    waiting: list[Any] = [document]
    while waiting:
        node = waiting.pop()
        for name, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
            if isinstance(value, (dict, list)):
                waiting.append(value)
            elif name not in _IDS_AND_TIMES and (
                isinstance(value, str) or (isinstance(value, int) and value >= _SHORTEST_CARD)
            ):
                yield _Place(str(value), lambda text, node=node, name=name: _put(node, name, text))


def _put(node: Any, name: str | int, text: str) -> None:
    if name == "intValue":
        del node[name]
        name = "stringValue"
    node[name] = text


def _parsed(body: bytes) -> ExportTraceServiceRequest:
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise MalformedError("it is no protobuf ExportTraceServiceRequest") from error


def _loaded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"it is not JSON: {error}") from error
