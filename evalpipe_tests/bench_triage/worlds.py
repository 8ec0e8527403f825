"""Traffic whose failures are known: the demo's, or annotated traces from files, thinned until failures are rare.

How it is read is in reading.py. Nothing in evalpipe sees the truth, but for the labels of what has been read.
"""

import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from evalpipe.demo.plan import DemoPlan
from evalpipe.demo.traffic import week_of_traffic
from evalpipe.home import Home
from evalpipe.ids import fingerprint
from evalpipe.plan import traffic_days
from evalpipe.tables import PRODUCTION, TRACES
from evalpipe.traces.on_lake import roll_up_day, take_in_day

MONDAY = date(2026, 3, 2)
TRUTH = pl.Schema({"trace_id": pl.String, "modes": pl.List(pl.String)})
"""What is wrong with a trace; an empty list says nothing is. A trace without a row is not known."""


class World(NamedTuple):
    """TRACES rows, what is wrong with them, and whom they were drawn with."""

    name: str
    traces: pl.DataFrame
    truth: pl.DataFrame
    is_drawn_anew: bool  # no trace of it is in another world; else worlds are thinnings of the same traces


def demo_worlds(*, n_worlds: int, n_weeks: int, sessions_per_day: int, failing_share: float) -> Iterator[World]:
    """The demo's traffic from its first day on: worlds share nothing but the way they are made."""
    for seed in range(1, n_worlds + 1):
        plan = DemoPlan(MONDAY, n_weeks, sessions_per_day, seed)
        with tempfile.TemporaryDirectory(prefix="bench-triage-") as folder:
            weeks = [week_of_traffic(plan, week, Path(folder) / "traffic") for week in range(n_weeks)]
            traces = traces_of([path for week in weeks for path in week.paths], Path(folder) / "home")
        modes = [(trace_id, [mode] if mode else []) for week in weeks for trace_id, mode in week.truth.items()]
        truth = pl.DataFrame(modes, TRUTH, orient="row")
        yield World(f"demo {seed}", thinned(traces, truth, failing_share, seed), truth, is_drawn_anew=True)


def annotated_worlds(folder: Path, *, n_worlds: int, failing_share: float) -> Iterator[World]:
    """Thinnings of the traces in `folder`: traces/*.otlp.jsonl.gz, labelled in annotations/*.jsonl.

    Bad and partial are failures; a trace that nobody labelled is left out, and so is a service without a good one.
    """
    with tempfile.TemporaryDirectory(prefix="bench-triage-") as home:
        traces = traces_of(sorted((folder / "traces").glob("*.otlp.jsonl.gz")), Path(home))
    labels = pl.concat(
        pl.read_ndjson(file, schema={"trace_id": pl.String, "verdict": pl.String, "failure_mode": pl.String})
        for file in sorted((folder / "annotations").glob("*.jsonl"))
    )
    is_failure = pl.col("verdict").is_in(["bad", "partial"])
    truth = labels.group_by("trace_id").agg(
        modes=pl.col("failure_mode").fill_null("unnamed").filter(is_failure).unique()
    )
    has_good = (pl.col("modes").list.len() == 0).any().over("service_name")
    labelled = traces.join(truth, on="trace_id").filter(has_good).drop("modes")
    for seed in range(1, n_worlds + 1):
        yield World(f"thinning {seed}", thinned(labelled, truth, failing_share, seed), truth, is_drawn_anew=False)


def traces_of(files: list[Path], root: Path) -> pl.DataFrame:
    """The TRACES rows of OTLP files, as evalpipe makes them, long after the last span came."""
    home, now = Home.open(root), datetime.now(UTC) + timedelta(days=1)
    home.ingest(files, now=now)
    for day in traffic_days(home):
        take_in_day(home.landing, home.lake, day, reading=home.reading, now=now, made_from=fingerprint)
    for day in traffic_days(home):
        roll_up_day(home.lake, day, settings=home.settings.observe, now=now, made_from=None, code_version=1)
    return home.lake.read(TRACES, PRODUCTION)


def thinned(traces: pl.DataFrame, truth: pl.DataFrame, failing_share: float, seed: int) -> pl.DataFrame:
    """`traces` without some of its sessions, so that at most `failing_share` of each service's traces are failures.

    Sessions with a failure go, drawn by `seed`, and they go whole: what a customer says after a failure is not left
    behind without it.
    """
    sessions = (
        traces.join(truth, on="trace_id")
        .group_by("service_name", session=pl.coalesce("session_id", "trace_id"))
        .agg(n=pl.len(), n_failing=(pl.col("modes").list.len() > 0).sum())
        .sort("service_name", "session")
    )
    draw = np.random.default_rng(seed).random(sessions.height)
    until = pl.col("n", "n_failing").cum_sum().over("service_name").name.suffix("_until")
    kept = (
        # Sessions without a failure come first, so they all stay.
        sessions.with_columns(draw=pl.Series(draw))
        .sort("service_name", pl.col("n_failing") > 0, "draw")
        .with_columns(until)
        .filter((pl.col("n_failing") == 0) | (pl.col("n_failing_until") <= failing_share * pl.col("n_until")))
    )
    return traces.filter(pl.coalesce("session_id", "trace_id").is_in(kept["session"].implode()))
