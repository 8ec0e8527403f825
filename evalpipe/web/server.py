"""One process that receives and shows: HTTP and gRPC in one event loop, and the absorber beside it. A signal ends it.

Everything starts in the order in which it is needed and ends in the opposite one: first nothing more is accepted
and what is in flight is answered, then the journal is closed, then what is in it is absorbed.
"""

import asyncio
import logging
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import uvicorn
import uvloop
from starlette.types import ASGIApp

from evalpipe.errors import SettingsError
from evalpipe.home import Home
from evalpipe.otlp.journal import Journal
from evalpipe.otlp.on_lake import backlog_bytes
from evalpipe.settings import IngestSettings
from evalpipe.web.absorber import absorbing
from evalpipe.web.app import web_app
from evalpipe.web.hook_desk import answering
from evalpipe.web.hook_http import Hook
from evalpipe.web.http_protocol import GuardedProtocol
from evalpipe.web.intake import Intake
from evalpipe.web.otlp_grpc import DRAIN_S, serving_grpc
from evalpipe.web.review_pages import review_of
from evalpipe.web.tokens import require_safe_binding, token_digests

_KEEP_ALIVE_S = 75  # longer than exporters pause between batches: a connection closed just then loses one
_OTHER_FILES = 256  # descriptors that are no client's connection: journal, tables, libraries

_logger = logging.getLogger(__name__)


def serve(home: Home, *, announce: Callable[[str], None] = _logger.info) -> None:
    """Receive until SIGTERM or SIGINT, then finish what is in flight and return.

    `announce` is given a line with each address, once requests are answered. Raises SettingsError when anyone on the
    network could write, or when an address cannot be had.
    """

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await receive(home, stop, announce=announce)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_signalled())


async def receive(home: Home, stop: asyncio.Event, *, announce: Callable[[str], None] = _logger.info) -> None:
    """Receive until `stop` is set; as `serve`, in a loop that runs already."""
    ingest = home.settings.ingest
    require_safe_binding(ingest)
    digests = token_digests(ingest)
    intake = Intake(
        Journal(home.landing.journals, ingest),
        home.settings,
        redactor=home.redactor,
        backlog_bytes=partial(backlog_bytes, home.landing),
        clock_ns=time.time_ns,
    )
    async with (
        absorbing(home.settings) as is_absorbing,
        answering(home) as desk,
        intake,
        serving_grpc(intake, digests) as grpc_port,
        serving_http(
            web_app(
                intake,
                digests,
                is_absorbing=is_absorbing,
                review=review_of(home),
                hook=Hook(desk, home.settings.hook, timeout_s=ingest.request_timeout_s, closing=stop),
            ),
            ingest,
        ) as http_port,
    ):
        announce(f"OTLP/HTTP: {_url(ingest, http_port)}")
        announce(f"OTLP/gRPC: {_url(ingest, grpc_port)}")
        announce(f"Review page: {_url(ingest, http_port)}/review")
        if desk is not None:
            announce(f"Gate webhook: {_url(ingest, http_port)}/gate")
        await stop.wait()


@asynccontextmanager
async def serving_http(app: ASGIApp, ingest: IngestSettings) -> AsyncIterator[int]:
    """Serve `app` on the address of the settings; the port comes out. Raises SettingsError when it cannot be had."""
    n_connections = _with_descriptors(ingest.max_connections)
    config = uvicorn.Config(
        app,
        loop="none",
        http=partial(  # pyright: ignore[reportArgumentType]
            GuardedProtocol, timeout_s=ingest.request_timeout_s, max_connections=n_connections
        ),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(DRAIN_S),
        ssl_certfile=ingest.tls_certificate,
        ssl_keyfile=ingest.tls_key,
    )
    listener = _listener(ingest)
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """uvicorn's server, except that signals are not its own affair."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        yield


def _listener(ingest: IngestSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in ingest.host else socket.AF_INET
    try:
        return socket.create_server((ingest.host, ingest.http_port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"{ingest.host}:{ingest.http_port} cannot be listened on: {error.strerror}. Stop the program that uses "
            "it, or set EVALPIPE_INGEST__HTTP_PORT or EVALPIPE_INGEST__HOST to another."
        ) from error


def _with_descriptors(n_connections: int) -> int:
    """Allow this process so many connections; fewer come out where the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = n_connections + _OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        _logger.warning("the system allows %s open files, so fewer clients than %s", allowed, n_connections)
    return min(n_connections, allowed - _OTHER_FILES)


def _url(ingest: IngestSettings, port: int) -> str:
    scheme = "http" if ingest.tls_certificate is None else "https"
    host = f"[{ingest.host}]" if ":" in ingest.host else ingest.host
    return f"{scheme}://{host}:{port}"
