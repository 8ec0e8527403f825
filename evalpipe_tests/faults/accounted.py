"""What was acknowledged held against the tables, after everything was materialised as a user does it."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from evalpipe.home import Home
from evalpipe.tables import SPANS
from evalpipe_tests.faults.hammer import acknowledged


class Account(NamedTuple):
    """Spans: acknowledged, in the table, acknowledged and not in the table, in the table more than once."""

    n_acknowledged: int
    n_stored: int
    n_lost: int
    n_doubled: int


def account_of(root: Path, log: Path) -> Account:
    """Absorb, materialise spans, count. `log` is a hammer's."""
    home = Home.open(root)
    home.absorb(datetime.now(UTC))
    materialise_spans(root)
    sent, stored = acknowledged(log), home.lake.scan(SPANS).select(SPANS.key).collect()
    return Account(
        n_acknowledged=sent.height,
        n_stored=stored.height,
        n_lost=sent.join(stored, on=SPANS.key, how="anti").height,
        n_doubled=stored.height - stored.n_unique(),
    )


def materialise_spans(root: Path) -> None:
    """In a process of its own, because a process that has run Dagster keeps its threads."""
    command = [sys.executable, "-m", "evalpipe", "--home", str(root), "run", "--only", "raw_otlp", "--only", "spans"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
