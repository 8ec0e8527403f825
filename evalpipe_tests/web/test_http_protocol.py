import socket
import time
from contextlib import ExitStack, suppress

import httpx
import pytest

from evalpipe_tests.web.running import PROTOBUF, Running, body_of, running

TIMEOUT_S = 1.0


def connected(receiver: Running) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", receiver.port))
    connection.settimeout(5)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has ended the connection, without waiting for it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def trickle(connection: socket.socket, data: bytes, *, for_s: float) -> None:
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        connection.sendall(data)
        time.sleep(0.01)


@pytest.mark.parametrize("n_slow", [300])  # 2,000 pass too, in 8 s
def test_clients_that_trickle_their_headers_are_closed_and_the_others_served(tmp_path, n_slow: int):
    head = b"POST /v1/traces HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % number for number in range(10_000))
    with running(tmp_path, request_timeout_s=TIMEOUT_S) as receiver, httpx.Client(headers=PROTOBUF) as good:
        slow = [connected(receiver) for _ in range(n_slow)]
        deadline = time.monotonic() + 10 * TIMEOUT_S
        n_sent, slowest_s = 0, 0.0
        while not all(map(is_closed, slow)) and time.monotonic() < deadline:
            for connection in slow:
                with suppress(OSError):  # The server has closed it, or will soon.
                    connection.send(head[n_sent : n_sent + 1])
            n_sent += 1
            started = time.monotonic()
            assert good.post(receiver.traces, content=body_of(n_sent)).status_code == 200
            slowest_s = max(slowest_s, time.monotonic() - started)
            time.sleep(0.01)

        assert all(map(is_closed, slow))
        assert slowest_s < TIMEOUT_S  # nobody waited for them
        assert len(receiver.journalled()) == n_sent
        for connection in slow:
            connection.close()


def test_a_connection_that_never_says_anything_is_closed(tmp_path):
    with running(tmp_path, request_timeout_s=0.3) as receiver, connected(receiver) as silent:
        assert silent.recv(1) == b""


def test_a_refused_body_that_never_ends_is_closed(tmp_path):
    with running(tmp_path, request_timeout_s=0.3) as receiver, connected(receiver) as endless:
        endless.sendall(b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        assert endless.recv(65_536).startswith(b"HTTP/1.1 415 ")
        with pytest.raises(ConnectionError):
            trickle(endless, b"1\r\nx\r\n", for_s=5)


def test_a_client_may_pause_longer_than_a_request_may_take(tmp_path):
    with running(tmp_path, request_timeout_s=0.2) as receiver, connected(receiver) as patient:
        for number in (1, 2, 3):
            body = body_of(number)
            patient.sendall(
                b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
                b"content-length: %d\r\n\r\n" % len(body) + body
            )
            assert patient.recv(65_536).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.4)
        assert len(receiver.journalled()) == 3


def test_connections_beyond_the_limit_are_closed_until_others_end(tmp_path):
    with running(tmp_path, max_connections=3) as receiver:
        with ExitStack() as held:
            for _ in range(3):
                held.enter_context(connected(receiver))
            time.sleep(0.2)
            with connected(receiver) as one_too_many:
                time.sleep(0.2)
                assert is_closed(one_too_many)
        time.sleep(0.2)
        assert httpx.post(receiver.traces, content=body_of(1), headers=PROTOBUF).status_code == 200


def test_what_is_no_http_is_closed_and_the_others_served(tmp_path):
    with running(tmp_path) as receiver:
        with connected(receiver) as strange:
            strange.sendall(b"\x16\x03\x01\x02\x00 not http \r\n\r\n")
            assert strange.recv(65_536).startswith(b"HTTP/1.1 400 ")
        assert httpx.post(receiver.traces, content=body_of(1), headers=PROTOBUF).status_code == 200
