"""Both receivers on free loopback ports within a test: the real servers in a thread, without the absorbing process."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import SecretStr

from evalpipe.otlp.journal import Journal, Received, read_journal
from evalpipe.redaction.redactor import Redactor
from evalpipe.settings import IngestSettings, ObserveSettings, Settings
from evalpipe.web.app import web_app
from evalpipe.web.intake import Intake
from evalpipe.web.otlp_grpc import serving_grpc
from evalpipe.web.server import serving_http
from evalpipe.web.tokens import token_digests
from evalpipe_tests.otlp.made import START_NS, bare_span, request_of

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


@dataclass
class Running:
    """A running receiver, what it has written, and what a test may turn."""

    folder: Path
    n_waiting_bytes: Callable[[], int]  # received and not answered yet
    http: str = ""
    traces: str = ""  # the endpoint of spans
    grpc: str = ""  # host:port
    now_ns: int = START_NS + 10 * 10**9  # its clock: ten seconds after the spans of made.py
    n_backlog_bytes: int = 0
    is_absorbing: bool = True

    @property
    def port(self) -> int:
        return int(self.http.rpartition(":")[2])

    def journalled(self) -> list[Received]:
        """Everything durable so far."""
        items = [item for path in sorted(self.folder.iterdir()) for item in read_journal(path)]
        assert all(isinstance(item, Received) for item in items)
        return [item for item in items if isinstance(item, Received)]


@contextmanager
def running(
    home: Path,
    *,
    tokens: Sequence[str] = (),
    observe: ObserveSettings | None = None,
    journal: Callable[[Path, IngestSettings], Journal] = Journal,
    redactor: Redactor | None = None,
    **ingest: Any,
) -> Iterator[Running]:
    """Run until the block ends; `ingest` are IngestSettings."""
    secrets = tuple(SecretStr(token) for token in tokens)
    settings = Settings(
        home=home,
        ingest=IngestSettings(http_port=0, grpc_port=0, tokens=secrets, **ingest),
        observe=observe or ObserveSettings(),
    )
    with (
        start_blocking_portal(backend_options={"use_uvloop": True}) as portal,
        portal.wrap_async_context_manager(_running(settings, journal, redactor or Redactor())) as receiver,
    ):
        yield receiver


@asynccontextmanager
async def _running(
    settings: Settings, journal: Callable[[Path, IngestSettings], Journal], redactor: Redactor
) -> AsyncIterator[Running]:
    receiver = Running(settings.home / "landing" / "journals", lambda: intake.n_waiting_bytes)
    receiver.folder.parent.mkdir(parents=True, exist_ok=True)
    digests = token_digests(settings.ingest)
    intake = Intake(
        journal(receiver.folder, settings.ingest),
        settings,
        redactor=redactor,
        backlog_bytes=lambda: receiver.n_backlog_bytes,
        clock_ns=lambda: receiver.now_ns,
    )
    app = web_app(intake, digests, is_absorbing=lambda: receiver.is_absorbing)
    scheme = "http" if settings.ingest.tls_key is None else "https"
    async with (
        intake,
        serving_grpc(intake, digests) as grpc_port,
        serving_http(app, settings.ingest) as http_port,
    ):
        receiver.http = f"{scheme}://127.0.0.1:{http_port}"
        receiver.traces = f"{receiver.http}/v1/traces"
        receiver.grpc = f"127.0.0.1:{grpc_port}"
        yield receiver


def body_of(*numbers: int) -> bytes:
    """A protobuf request with these spans of made.py."""
    return request(*numbers).SerializeToString()


def request(*numbers: int) -> ExportTraceServiceRequest:
    return request_of(*(bare_span(number) for number in numbers))
