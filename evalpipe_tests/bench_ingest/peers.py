"""The same requests to two other products, from one client: rows in their database per second, beside evalpipe's.

Each runs from a virtual environment of its own, on SQLite, with its defaults and without telemetry:
`BENCH_PEERS` names the folder with `venv-phoenix` (arize-phoenix) and `venv-mlflow` (mlflow).
"""

import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from evalpipe_tests.bench_ingest.load import send_in_turn
from evalpipe_tests.bench_ingest.measure import Finding
from evalpipe_tests.bench_ingest.receiving import BODY_SPANS, Stored

_START_S = 240.0  # Phoenix migrates its database first
_STOP_S = 120.0


@dataclass(frozen=True)
class Peer:
    """How one product is started, addressed and asked how many spans it has."""

    name: str
    folder: str
    command: Callable[[int, Path], Sequence[str]]
    environment: Callable[[int, Path], Mapping[str, str]]
    health: str
    headers: Mapping[str, str]
    database: str
    at_least: float  # times as fast evalpipe means to be

    def executable(self, peers: Path) -> Path:
        return peers / self.folder / "bin" / self.name


PEERS = (
    Peer(
        name="phoenix",
        folder="venv-phoenix",
        command=lambda _port, _folder: ("serve",),
        environment=lambda port, folder: {
            "PHOENIX_WORKING_DIR": str(folder),
            "PHOENIX_SQL_DATABASE_URL": f"sqlite:///{folder}/phoenix.db",
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(_free_port()),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        },
        health="/healthz",
        headers={"x-project-name": "bench"},
        database="phoenix.db",
        at_least=100,
    ),
    Peer(
        name="mlflow",
        folder="venv-mlflow",
        command=lambda port, folder: (
            *("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "art")),
        ),
        environment=lambda _port, _folder: {"MLFLOW_DISABLE_TELEMETRY": "true"},
        health="/health",
        headers={"x-mlflow-experiment-id": "0"},
        database="mlflow.db",
        at_least=25,
    ),
)


def beside_peers(ours: Stored, bodies: Sequence[bytes], peers: Path, folder: Path, for_s: float) -> Iterator[Finding]:
    """A line for each peer that is installed. It is given `for_s` seconds and counts what it has stored by then."""
    for peer in PEERS:
        if not peer.executable(peers).exists():
            continue
        own = folder / peer.name
        own.mkdir()
        port = _free_port()
        with _running(peer, peers, port, own):
            start = time.perf_counter()
            sent = send_in_turn(port, bodies, headers=peer.headers, for_s=for_s)
            # It may acknowledge first and store later: it has the rest of the time, or until it is done.
            while (n_stored := _n_stored(own / peer.database)) < sent.n_acknowledged * BODY_SPANS:
                if time.perf_counter() - start > for_s:
                    break
                time.sleep(0.2)
            wall_s = time.perf_counter() - start
        theirs = n_stored / wall_s
        yield Finding(
            f"spans stored per second, beside {peer.name}",
            f"{ours.per_s:,.0f} spans/s",
            f"{theirs:,.0f} spans/s: {sent.n_acknowledged * BODY_SPANS:,} acknowledged, {n_stored:,} stored "
            f"in {wall_s:.0f} s, {sent.n_put_off} times put off",
            ours.per_s / max(theirs, 1e-9),
            at_least=peer.at_least,
        )


@contextmanager
def _running(peer: Peer, peers: Path, port: int, folder: Path) -> Iterator[None]:
    environment = {**os.environ, "DO_NOT_TRACK": "1", **peer.environment(port, folder)}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [peer.executable(peers), *peer.command(port, folder)],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,  # so that its workers can be told to end, too
        )
    try:
        deadline = time.monotonic() + _START_S
        while not _is_healthy(port, peer.health):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{peer.name} did not start: {(folder / 'log.txt').read_text()[-2000:]}")
            time.sleep(0.5)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_healthy(port: int, path: str) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def _n_stored(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute("select count(*) from spans").fetchone()[0]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
