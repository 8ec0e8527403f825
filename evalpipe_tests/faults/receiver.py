"""`evalpipe serve` in a process of its own, which can be killed and started again on the same home and port."""

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

SERVE = ("-m", "evalpipe", "serve")
_START_S = 60.0  # a cold import on a busy machine
_PORTS = (20_000, 32_768)  # Linux gives away 32768 and above (net.ipv4.ip_local_port_range)
_CHANCE = random.SystemRandom()  # two processes of tests that begin with the same seed differ


class Receiver:
    """A receiver on loopback; within `with` it runs. Its address stays the same over all its lives."""

    def __init__(self, home: Path, *, program: Sequence[str] = SERVE, **settings: object) -> None:
        self.home = home
        self.http_port, self.grpc_port = _free_ports(2)
        self._program = program
        self._environment = {
            **os.environ,
            "EVALPIPE_HOME": str(home),
            "EVALPIPE_INGEST__HTTP_PORT": str(self.http_port),
            "EVALPIPE_INGEST__GRPC_PORT": str(self.grpc_port),
            **{f"EVALPIPE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it takes requests."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._program], env=self._environment, stdout=log, stderr=log, cwd=Path.cwd()
            )
        deadline = time.monotonic() + _START_S
        while self._status("/readyz") != 200:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the receiver did not start: {(self.home / 'serve.log').read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell. Its children must notice by themselves."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> int:
        """End it as a deployment does; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=60)
        self._process = None
        return code

    def _status(self, path: str) -> int | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def _free_ports(n: int) -> list[int]:
    """Below those that the kernel gives away by itself: while a receiver is dead, nobody else gets its ports."""
    ports: list[int] = []
    while len(ports) < n:
        with contextlib.suppress(OSError):
            port = _CHANCE.randrange(*_PORTS)
            socket.create_server(("127.0.0.1", port)).close()
            ports.append(port)
    return ports
