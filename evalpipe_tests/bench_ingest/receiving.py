"""The receiver under load, with the clients on the same cores; and the whole way, from a request to a row."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.home import Home
from evalpipe.tables import SPANS
from evalpipe_tests.bench_ingest.load import send_at_once, send_in_turn
from evalpipe_tests.bench_ingest.measure import Finding
from evalpipe_tests.bench_ingest.payloads import Traffic
from evalpipe_tests.bench_ingest.stages import TODAY, Sizes
from evalpipe_tests.bench_ingest.variant import WHOLE, WITHOUT_CHECK, WITHOUT_FSYNC
from evalpipe_tests.faults.receiver import Receiver

BODY_SPANS = 100
_N_CLIENTS = 64
_N_BODIES = 200  # distinct; they are sent over and over
_MAX_RUNS = 3  # the receiver's own absorber may have the last journal just then


class Stored(NamedTuple):
    """When spans from one client were acknowledged, and when a query found all of them."""

    n_spans: int
    acknowledged_s: float
    stored_s: float

    @property
    def per_s(self) -> float:
        """Spans stored per second of wall time."""
        return self.n_spans / self.stored_s


def receiving(sizes: Sizes, folder: Path) -> Iterator[Finding]:
    """Acknowledged requests per second, whole and without a part; the variants take turns, so that noise hits all."""
    n_bodies = min(_N_BODIES, sizes.n_requests)
    bodies = list(Traffic(n_bodies * BODY_SPANS, TODAY, body_spans=BODY_SPANS).gzipped())
    per_s: dict[str, list[float]] = {WHOLE: [], WITHOUT_FSYNC: [], WITHOUT_CHECK: []}
    for repeat in range(sizes.repeats):
        for variant, rates in per_s.items():
            program = ("-m", "evalpipe_tests.bench_ingest.variant", variant)
            with Receiver(folder / f"{variant}-{repeat}", program=program) as receiver:
                send_at_once(receiver.http_port, bodies, n_requests=sizes.n_requests // 5, n_clients=_N_CLIENTS)
                sent = send_at_once(receiver.http_port, bodies, n_requests=sizes.n_requests, n_clients=_N_CLIENTS)
                rates.append(sent.n_acknowledged / sent.wall_s)
    medians = {variant: statistics.median(rates) for variant, rates in per_s.items()}
    measured = f"{medians[WHOLE]:,.0f} requests/s ({medians[WHOLE] * BODY_SPANS / 1_000:.0f} k spans/s)"
    for against, variant, bound in (("without fsync", WITHOUT_FSYNC, 0.9), ("gunzip alone", WITHOUT_CHECK, 0.6)):
        yield Finding(
            f"acknowledged (checked and durable), {_N_CLIENTS} clients, {BODY_SPANS} spans a request",
            measured,
            f"{against}: {medians[variant]:,.0f} requests/s",
            medians[WHOLE] / medians[variant],
            at_least=bound,
        )


def storing(sizes: Sizes, folder: Path, materialise: Sequence[str]) -> Stored:
    """Send to a running receiver, then run `materialise` (arguments of Python) until a query finds all spans."""
    bodies = list(Traffic(sizes.stored_spans, TODAY, body_spans=BODY_SPANS).gzipped())
    folder.mkdir()
    with Receiver(folder) as receiver:
        start = time.perf_counter()
        sent = send_in_turn(receiver.http_port, bodies)
        for _ in range(_MAX_RUNS):
            subprocess.run([sys.executable, *materialise], check=True, capture_output=True)
            if _n_stored(folder) == sizes.stored_spans:
                return Stored(sizes.stored_spans, sent.wall_s, time.perf_counter() - start)
    raise RuntimeError(f"{sizes.stored_spans} spans were acknowledged and {_n_stored(folder)} are in the table")


def _n_stored(root: Path) -> int:
    return Home.open(root).lake.scan(SPANS).select(pl.len()).collect().item()
