"""Landings for tests, what is in one, and a machine that dies at any step."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from evalpipe.otlp.landing import Landed, Landing
from evalpipe.otlp.payload import Payload
from evalpipe.settings import ObserveSettings
from evalpipe_tests.otlp.made import DAY_NS, START_NS, bare_span, protobuf_payload, request_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = date(2026, 2, 16)  # of START_NS
SETTINGS = ObserveSettings()

DURABLE_STEPS = ("fsync", "fdatasync", "writev", "link", "replace", "unlink", "ftruncate", "mkdir", "utime")
"""Calls of the os module that change what a crash leaves; pathlib and our code both go through them."""


class PowerCutError(BaseException):
    """Not an Exception: nothing in the code may catch it."""


def on(day: int, *numbers: int):
    """A request with spans that start `day` days after DAY."""
    start = START_NS + day * DAY_NS
    return request_of(
        *(bare_span(n, start_time_unix_nano=start + n, end_time_unix_nano=start + n + 5) for n in numbers)
    )


def over_days(*days: int, number: int = 1):
    """A request with one span on each of these days after DAY."""
    return request_of(*(span for day in days for span in on(day, number).resource_spans[0].scope_spans[0].spans))


def bytes_of(*requests) -> list[bytes]:
    """What these requests are on the wire, sorted."""
    return sorted(request.SerializeToString() for request in requests)


def land(landing: Landing, *requests, source: str = "client", now: datetime = NOW) -> Landed:
    return landing.land([protobuf_payload(request) for request in requests], source=source, now=now)


def payloads_of(landing: Landing) -> list[bytes]:
    """Every landed body, sorted; one that landed twice is there twice."""
    return sorted(
        item.body
        for segment_id in landing.ledger()["segment_id"]
        for item in landing.payloads(segment_id)
        if isinstance(item, Payload)
    )


def place_of(landing: Landing, segment_id: str) -> Path:
    """The file of a segment, found by its name alone."""
    (path,) = (landing.root / "segments").glob(f"????-??-??/{segment_id}.otlp.zst")
    return path


def leftovers(landing: Landing) -> list[Path]:
    """Files that only exist while something is being written."""
    return [*landing.root.glob("segments/.incoming/*"), *landing.root.rglob("*.part")]


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, at_step: int | None) -> Iterator[Callable[[], int]]:
    """Within, the machine dies instead of the n-th durable step (0 is the first); yields how many were taken."""
    n_steps = 0

    def replaced(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal n_steps
            if n_steps == at_step:
                raise PowerCutError
            n_steps += 1
            return real(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for name in DURABLE_STEPS:
            patch.setattr(os, name, replaced(getattr(os, name)))
        yield lambda: n_steps


def each_death(monkeypatch: pytest.MonkeyPatch, run: Callable[[int], None]) -> int:
    """Call `run(n)` to its n-th durable step, for every n, until one comes through; how many died."""
    at_step = 0
    while True:
        with dying(monkeypatch, at_step):
            try:
                run(at_step)
            except PowerCutError:
                at_step += 1
            else:
                return at_step
