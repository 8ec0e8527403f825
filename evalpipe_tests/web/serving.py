"""The whole server as a process of its own: python -m evalpipe_tests.web.serving, with EVALPIPE_* as its settings."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from evalpipe.home import Home
from evalpipe.web.server import serve


class Serving:
    """A running server: where it listens, and its processes."""

    def __init__(self, process: "subprocess.Popen[str]", http: str, grpc: str) -> None:
        self.process = process
        self.http = http
        self.traces = f"{http}/v1/traces"  # the endpoint of spans
        self.grpc = grpc.removeprefix("http://")  # host:port

    @property
    def absorber_pid(self) -> int | None:
        """Its absorbing process; None while there is none."""
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for pid in path.read_text().split():
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        return None

    def end(self) -> int:
        """As a deployment ends it; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def serving(home: Path, **settings: object) -> Iterator[Serving]:
    """Run a server on free ports, which lands what it takes soon, until the block ends."""
    free = {"ingest__http_port": 0, "ingest__grpc_port": 0, "ingest__seal_s": 0.5, "home": home}
    variables = {f"EVALPIPE_{name.upper()}": str(value) for name, value in (free | settings).items()}
    command = [sys.executable, "-m", __name__]
    process = subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        http, grpc = (process.stdout.readline().split()[-1] for _ in range(2))
        yield Serving(process, http, grpc)
    finally:
        process.kill()
        process.wait()


def becomes_true(condition: Callable[[], bool], *, within_s: float = 20.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


if __name__ == "__main__":
    serve(Home.open(), announce=partial(print, flush=True))
