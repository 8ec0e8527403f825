"""Runs a program against the scripted model and writes what it exported as a golden fixture.

    python -m evalpipe_tests.traces.golden.make.record NAME -- COMMAND ARGUMENT ...

writes golden/NAME.json: one OTLP/JSON request with everything the command exported. The command finds the model in
OPENAI_BASE_URL and ANTHROPIC_BASE_URL and the receiver in OTEL_EXPORTER_OTLP_ENDPOINT, as any deployment does.
What names the machine is no part of a fixture: such resource attributes are left out, and a source file of a stack
trace is known by its name alone.
"""

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from evalpipe_tests.otlp.made import json_document
from evalpipe_tests.traces.golden.make.server import Server

GOLDEN = Path(__file__).parent.parent
_OF_THE_MACHINE = ("process.", "host.", "os.", "service.instance.id")
# One of a plain value, which is easier read on one line.
_ATTRIBUTE = re.compile(r'\{\s+"key": (.*),\s+"value": \{\s+(.*)\s+\}\s+\}')
_FOLDERS = re.compile(r"(?:[\w.@+-]*/)+(?=[\w.@+-]+\.(?:py|js|mjs|cjs|ts)\b)")


def record(name: str, command: list[str]) -> Path:
    """Runs `command` to its end and writes golden/NAME.json. Raises CalledProcessError when it fails."""
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        subprocess.run(command, env={**os.environ, **_environment(server.url)}, check=True)
    finally:
        server.shutdown()
    document = {"resourceSpans": [item for export in server.exports for item in _request(*export)["resourceSpans"]]}
    for resource_spans in document["resourceSpans"]:
        resource = resource_spans.get("resource", {})
        resource["attributes"] = [
            attribute
            for attribute in resource.get("attributes", [])
            if not attribute["key"].startswith(_OF_THE_MACHINE)
        ]
    path = GOLDEN / f"{name}.json"
    text = _ATTRIBUTE.sub(r'{"key": \1, "value": {\2}}', json.dumps(document, indent=1, ensure_ascii=False))
    path.write_text(_FOLDERS.sub("", text) + "\n")
    return path


def _environment(url: str) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": "shop",
        "GIT_DIR": os.devnull,  # some libraries report the commit that they run in
    }


def _request(kind: str, encoding: str, body: bytes) -> dict[str, Any]:
    plain = gzip.decompress(body) if encoding == "gzip" else body
    if kind.startswith("application/json"):
        return json.loads(plain)
    request = ExportTraceServiceRequest()
    request.ParseFromString(plain)
    return json_document(request)


if __name__ == "__main__":
    fixture, separator, *program = sys.argv[1:]
    if separator != "--" or not program:
        sys.exit("usage: record NAME -- COMMAND ARGUMENT ...")
    sys.stdout.write(f"{record(fixture, program)}\n")
