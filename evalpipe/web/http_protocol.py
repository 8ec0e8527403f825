"""uvicorn's HTTP protocol with what a server on an open port needs besides: a deadline for every request's headers,
and a bound on connections. The deadline of a body is the endpoint's.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class GuardedProtocol(HttpToolsProtocol):
    """Closes a connection whose bytes, for longer than the timeout, have not made a request to work on.

    That is a client that never finishes its headers, or never ends a body which has been answered already.
    """

    def __init__(self, *arguments: Any, timeout_s: float, max_connections: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._timeout_s = timeout_s
        self._max_connections = max_connections
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            transport.abort()
        else:
            self._start_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is None and self.cycle.response_complete:
            self._start_deadline()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._stop_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self._timeout_s, self.transport.abort)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
