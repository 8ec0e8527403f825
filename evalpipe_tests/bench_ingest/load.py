"""Clients that send requests over HTTP: many at once, as cheaply as Python can, or one that is patient."""

import asyncio
import http.client
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple, cast

import uvloop

PROTOBUF = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
_WAIT_S = 0.2  # after "come back later", whatever longer time was asked for: the server should never be idle


class Sent(NamedTuple):
    """What came of it. Only 200 is an acknowledgement."""

    n_acknowledged: int
    n_put_off: int  # 429 and 503
    wall_s: float


def send_at_once(port: int, bodies: Sequence[bytes], *, n_requests: int, n_clients: int) -> Sent:
    """Send `n_requests` (bodies over and over) over keep-alive connections, each with one request on its way."""
    head = "".join(f"{name}: {value}\r\n" for name, value in PROTOBUF.items())
    requests = [
        f"POST /v1/traces HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        for body in bodies
    ]
    return uvloop.run(_send_at_once(port, islice(cycle(requests), n_requests), n_clients))


def send_in_turn(
    port: int, bodies: Iterable[bytes], *, headers: Mapping[str, str] | None = None, for_s: float = float("inf")
) -> Sent:
    """One client: each body until it is acknowledged, then the next, until the time is over."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    start = time.perf_counter()
    n_acknowledged = n_put_off = 0
    for body in bodies:
        while time.perf_counter() - start < for_s:
            connection.request("POST", "/v1/traces", body, PROTOBUF | dict(headers or {}))
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 200:
                n_acknowledged += 1
                break
            if answer.status not in (429, 503):
                raise RuntimeError(f"the server answered {answer.status}: {text[:300]!r}")
            n_put_off += 1
            time.sleep(_WAIT_S)
    connection.close()
    return Sent(n_acknowledged, n_put_off, time.perf_counter() - start)


async def _send_at_once(port: int, requests: Iterator[bytes], n_clients: int) -> Sent:
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    clients = [_Client(requests, loop.create_future()) for _ in range(n_clients)]
    await asyncio.gather(
        *(loop.create_connection(lambda client=client: client, "127.0.0.1", port) for client in clients)
    )
    await asyncio.gather(*(client.done for client in clients))
    n_put_off = sum(client.n_put_off for client in clients)
    return Sent(sum(client.n_acknowledged for client in clients), n_put_off, time.perf_counter() - start)


class _Client(asyncio.Protocol):
    """One connection. httpx would cost more than the server that it measures."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self.done = done
        self.n_acknowledged = self.n_put_off = 0
        self._requests = requests
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has no common base class with it
        self._send_next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0)
        if not end or len(body) < length:
            return
        status, self._answer = int(head[9:12]), b""
        if status not in (200, 429, 503):
            self._end(RuntimeError(f"the server answered {head!r}: {body[:300]!r}"))
            return
        self.n_acknowledged += status == 200
        self.n_put_off += status != 200
        self._send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server closed the connection"))

    def _send_next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._end(None)
        else:
            self._transport.write(request)

    def _end(self, problem: Exception | None) -> None:
        if self.done.done():
            return
        if problem is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(problem)
        self._transport.close()
