"""From OpenTelemetry SDK spans to collector-style files: OTLP/JSON lines, or length-prefixed protobuf.

The same bytes a collector's file exporter leaves: one export batch per line or record. Reading them is otlp/.
"""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator

_BATCH_SPANS = 512  # the SDK's own default export batch: a trace may straddle two
_ID_KEYS = {"traceId", "spanId", "parentSpanId"}


class OtlpFileExporter(SpanExporter):
    """Writes ended spans to `path`, which it replaces: `.jsonl` is OTLP/JSON lines, anything else protobuf records.

    Spans are batched by count alone, never by time, so equal spans give equal bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_spans = 0
        self._waiting: list[ReadableSpan] = []
        self._encode = _json_line if path.suffix == ".jsonl" else _protobuf_record
        path.write_bytes(b"")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans; they are on disk after `force_flush` or `shutdown` at the latest."""
        self._waiting.extend(spans)
        self.n_spans += len(spans)
        if len(self._waiting) >= _BATCH_SPANS:
            self._write()
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 (the SDK's signature)
        """Write what waits."""
        self._write()
        return True

    def shutdown(self) -> None:
        """Write what waits; nothing stays open."""
        self._write()

    def _write(self) -> None:
        if self._waiting:
            with self.path.open("ab") as file:
                file.write(self._encode(self._waiting))
            self._waiting.clear()


class SeededIdGenerator(IdGenerator):
    """Trace and span ids from a random stream: the same simulation has the same ids."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def generate_trace_id(self) -> int:
        """A non-zero 128-bit number."""
        return self._chance.getrandbits(128) or 1

    def generate_span_id(self) -> int:
        """A non-zero 64-bit number."""
        return self._chance.getrandbits(64) or 1


def _protobuf_record(spans: Sequence[ReadableSpan]) -> bytes:
    message = encode_spans(spans).SerializeToString(deterministic=True)
    return len(message).to_bytes(4, "big") + message


def _json_line(spans: Sequence[ReadableSpan]) -> bytes:
    request: dict[str, Any] = MessageToDict(encode_spans(spans), use_integers_for_enums=True)
    for span in _spans_of(request):
        for key in _ID_KEYS & span.keys():
            span[key] = base64.b64decode(span[key]).hex()  # protobuf's JSON has base64 here, OTLP's has hex
    return orjson.dumps(request) + b"\n"


def _spans_of(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource_spans in request["resourceSpans"]:
        for scope_spans in resource_spans["scopeSpans"]:
            yield from scope_spans["spans"]
