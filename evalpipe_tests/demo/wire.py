"""Reads the demo's files with nothing but opentelemetry-proto: an oracle that shares no code with evalpipe."""

import base64
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class WireTrace:
    """All spans of a trace, in order of start, with the release that its resource names."""

    version: str
    spans: list[Span] = field(default_factory=list)

    @cached_property
    def root(self) -> Span:
        (root,) = [span for span in self.spans if not span.parent_span_id]
        return root

    @cached_property
    def tools(self) -> list[Span]:
        return [span for span in self.spans if attributes(span)["gen_ai.operation.name"] == "execute_tool"]

    @cached_property
    def calls(self) -> list[tuple[str, str, bool]]:
        """(tool, arguments, is_error) of each call, in order."""
        return [
            (
                attributes(span)["gen_ai.tool.name"],
                attributes(span)["gen_ai.tool.call.arguments"],
                span.status.code == 2,
            )
            for span in self.tools
        ]

    @cached_property
    def answer(self) -> str:
        return attributes(self.root)["output.value"]

    @cached_property
    def request(self) -> str:
        return attributes(self.root)["input.value"]


def attributes(span: Span) -> dict[str, Any]:
    """String and integer attributes of a span."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def traces_in(paths: list[Path]) -> dict[str, WireTrace]:
    """Every trace of the files by hex id."""
    traces: dict[str, WireTrace] = {}
    for path in paths:
        for request in requests_in(path):
            for resource_spans in request.resource_spans:
                resource = {pair.key: pair.value.string_value for pair in resource_spans.resource.attributes}
                for scope_spans in resource_spans.scope_spans:
                    for span in scope_spans.spans:
                        trace = traces.setdefault(span.trace_id.hex(), WireTrace(resource["service.version"]))
                        trace.spans.append(span)
    for trace in traces.values():
        trace.spans.sort(key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano))
    return traces


def requests_in(path: Path) -> list[ExportTraceServiceRequest]:
    """The export requests of a JSON lines file, or of length-prefixed protobuf."""
    data = path.read_bytes()
    if path.suffix == ".jsonl":
        return [
            ParseDict(_with_base64_ids(json.loads(line)), ExportTraceServiceRequest()) for line in data.splitlines()
        ]
    requests, at = [], 0
    while at < len(data):
        n_bytes = int.from_bytes(data[at : at + 4], "big")
        requests.append(ExportTraceServiceRequest.FromString(data[at + 4 : at + 4 + n_bytes]))
        at += 4 + n_bytes
    return requests


def _with_base64_ids(value: Any) -> Any:
    # protobuf's own JSON mapping wants base64 where OTLP/JSON has hex.
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else _with_base64_ids(item)
            for key, item in value.items()
        }
    return [_with_base64_ids(item) for item in value] if isinstance(value, list) else value
