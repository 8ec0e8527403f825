"""Many clients that send distinct requests without pause and write down, span by span, what was acknowledged.

By hand: python -m evalpipe_tests.faults.hammer PORT FILE SECONDS
"""

import http.client
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Self

import polars as pl
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from evalpipe_tests.bench_ingest.payloads import Traffic

DAY = date(2025, 9, 2)
_PAUSE_S = 0.05  # before a request is sent again


class Hammer:
    """Clients in threads; within `with` they send. A request is repeated until it is answered with 200.

    After a connection that broke nobody knows whether the request was taken: it is sent again, as an exporter does,
    so that it may well arrive twice.
    """

    def __init__(self, port: int, log: Path, *, n_clients: int = 32, body_spans: int = 12, seed: int = 1) -> None:
        self.log = log
        self.answers: set[int | None] = set()  # every status that was seen; None for a connection that broke
        self.n_acknowledged = 0  # requests
        self._port = port
        self._is_over = threading.Event()
        self._problems: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._client, args=(_bodies(f"{seed}{n:04d}", body_spans),), daemon=True)
            for n in range(n_clients)
        ]

    def __enter__(self) -> Self:
        next(_bodies("0", 1))  # What all traffic is drawn from is made now, once, and not by every thread.
        self._log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        os.close(self._log)
        if self._problems:
            raise self._problems[0]

    def _client(self, bodies: Iterator[bytes]) -> None:
        try:
            connection: http.client.HTTPConnection | None = None
            for body in bodies:
                while not self._is_over.is_set():
                    connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
                    status = _answer(connection, body)
                    self.answers.add(status)
                    if status == 200:
                        break
                    connection.close()
                    connection = None
                    time.sleep(_PAUSE_S)
                else:
                    return
                self.n_acknowledged += 1
                # One write call: it outlives this process, and lines of two clients do not mix.
                os.write(self._log, "".join(f"{name}\n" for name in _names(body)).encode())
        except Exception as error:
            self._problems.append(error)


def acknowledged(log: Path) -> pl.DataFrame:
    """The keys (trace_id, span_id) in a hammer's file."""
    schema = {"trace_id": pl.String, "span_id": pl.String}
    return pl.read_csv(log, separator=" ", has_header=False, schema=schema)


def _answer(connection: http.client.HTTPConnection, body: bytes) -> int | None:
    """The status; None when the connection broke."""
    try:
        connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return None


def _bodies(seed: str, body_spans: int) -> Iterator[bytes]:
    return Traffic(sys.maxsize, DAY, body_spans=body_spans, seed=int(seed)).bodies()


def _names(body: bytes) -> Iterator[str]:
    for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield f"{span.trace_id.hex()} {span.span_id.hex()}"


if __name__ == "__main__":
    port, file, seconds = sys.argv[1:]
    with Hammer(int(port), Path(file)) as hammer:
        time.sleep(float(seconds))
    sys.stdout.write(f"{hammer.n_acknowledged} requests acknowledged; answers: {hammer.answers}\n")
