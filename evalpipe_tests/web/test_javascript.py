"""OpenTelemetry's own JavaScript exporters against the receivers, set up as their documentation shows."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from evalpipe.home import Home
from evalpipe.otlp.wire import decode
from evalpipe.traces.conventions import PROMOTION
from evalpipe_tests.web.running import Running, running

FOLDER = Path(__file__).parent / "javascript"
KEY = "key-1"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed; the JavaScript exporters need Node 20.6 or later"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules").is_dir(),
        reason="the JavaScript exporters are not installed. Run: npm ci --prefix evalpipe_tests/web/javascript",
    ),
]
every_protocol = pytest.mark.parametrize("protocol", ["http", "proto", "grpc"])


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, tokens=[KEY]) as receiver:
        receiver.now_ns = time.time_ns()  # Node's clock cannot be set
        yield receiver


def exported(receiver: Running, protocol: str, *key: str, headers: str = "") -> str:
    """What export.mjs printed. It gets the headers in code when it has a key, else from the environment."""
    assert NODE is not None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{receiver.grpc}" if protocol == "grpc" else receiver.http
    if headers:
        environment["OTEL_EXPORTER_OTLP_HEADERS"] = headers
    command = [NODE, str(FOLDER / "export.mjs"), protocol, *key]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or done.stderr


def landed(receiver: Running) -> list[tuple[str, str, int | None]]:
    """Name, service and status code of every span that was acknowledged, from the segments that it landed in."""
    home = Home.open(receiver.folder.parent.parent)
    segments = home.absorb(datetime.now(UTC)).segment_ids
    spans = decode((payload for segment in segments for payload in home.landing.payloads(segment)), PROMOTION).spans
    return sorted(spans.select("name", "service_name", "status_code").iter_rows())


def sent(protocol: str) -> list[tuple[str, str, int | None]]:
    service = f"shop over {protocol}"
    return [("chat", service, 0), ("execute_tool", service, 2), ("invoke_agent", service, 0)]  # 2 is an error


@every_protocol
def test_spans_land_with_the_key_in_code(receiver, protocol):
    assert exported(receiver, protocol, KEY) == "ok"
    assert landed(receiver) == sent(protocol)


@every_protocol
def test_spans_land_with_the_key_in_the_environment(receiver, protocol):
    header = f"Authorization={quote(f'Bearer {KEY}')}"  # Authorization=Bearer%20key-1
    assert exported(receiver, protocol, headers=header) == "ok"
    assert landed(receiver) == sent(protocol)


@every_protocol
def test_an_exporter_is_told_that_its_key_is_wrong(receiver, protocol):
    told = exported(receiver, protocol, "wrong")
    assert "Unauthorized" in told or "UNAUTHENTICATED" in told
    assert receiver.journalled() == []
