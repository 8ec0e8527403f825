"""A receiver without one of its parts, as a process: python -m evalpipe_tests.bench_ingest.variant NAME

What a part costs is the difference. No variant has an absorber, which would compete for the same cores by chance.
"""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from evalpipe.home import Home
from evalpipe.otlp.payload import Payload
from evalpipe.otlp.wire import Contents
from evalpipe.web import intake, server

WHOLE, WITHOUT_FSYNC, WITHOUT_CHECK = "whole", "without-fsync", "without-check"


def main(name: str) -> None:
    server.absorbing = _nothing_absorbed
    if name == WITHOUT_FSYNC:
        os.fdatasync = os.fsync = _nothing  # type: ignore[assignment]
    if name == WITHOUT_CHECK:
        intake.inspect = _unseen
    server.serve(Home.open())


@asynccontextmanager
async def _nothing_absorbed(*_: object) -> AsyncIterator[Callable[[], bool]]:
    yield lambda: True


def _nothing(*_: Any) -> None:
    pass


def _unseen(_: Payload) -> Contents:
    """As if it had been looked at: sound, with one span."""
    return Contents(1, frozenset(), 0, None)


if __name__ == "__main__":
    main(sys.argv[1])
