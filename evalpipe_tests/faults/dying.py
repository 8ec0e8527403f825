"""A materialisation that kills itself after its n-th commit: python -m evalpipe_tests.faults.dying HOME N (0: never)

It calls what the assets call, with commits of few spans, so that a small day has many places to die at.
"""

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalpipe.home import Home
from evalpipe.ids import fingerprint
from evalpipe.lake import store
from evalpipe.traces import on_lake

NOW = datetime(2025, 9, 4, tzinfo=UTC)
_COMMIT_SPANS = 60


def materialise(home: Home) -> None:
    """Spans, traces and sessions of every day that has traffic."""
    on_lake._BATCH_SPANS = _COMMIT_SPANS
    settings, lake, days = home.settings.observe, home.lake, home.landing.days()
    for day in days:
        on_lake.take_in_day(home.landing, lake, day, reading=home.reading, now=NOW, made_from=fingerprint)
    for day in days:
        on_lake.roll_up_day(lake, day, settings=settings, now=NOW, made_from=1, code_version=1)
    for day in days:
        on_lake.roll_up_sessions(lake, day, settings=settings, made_from=1)


def _die_after(n_commits: int) -> None:
    write, n_written = store.write_deltalake, 0

    def counted(*arguments: Any, **named: Any) -> None:
        nonlocal n_written
        write(*arguments, **named)
        n_written += 1
        if n_written == n_commits:
            os.kill(os.getpid(), signal.SIGKILL)

    store.write_deltalake = counted


if __name__ == "__main__":
    root, n_commits = sys.argv[1:]
    if int(n_commits):
        _die_after(int(n_commits))
    materialise(Home.open(Path(root)))
