"""What signals and queue cost for a large day: a process of its own per run, so that memory is that run's alone."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.lake.store import Lake
from evalpipe.review.on_lake import queue_of_cycle
from evalpipe.review.queue.cycles import cycle_days, cycle_of
from evalpipe.review.queue.reviewers import Reviewer
from evalpipe.settings import Settings
from evalpipe.signals.on_lake import measure_day, score_day
from evalpipe.tables import CANDIDATES, TRACES
from evalpipe_tests.bench_ingest.measure import Cost, Finding, peak_memory_bytes
from evalpipe_tests.bench_triage.load import Days, fill
from evalpipe_tests.bench_triage.worlds import MONDAY

_DAY = MONDAY + timedelta(weeks=5)  # a Monday: it is all of its cycle
_REVIEWERS = [Reviewer("ada", 100), Reviewer("grace", 100)]
_GIB = 2**30


@dataclass(frozen=True)
class LoadSizes:
    """How much is measured."""

    n_traces: int = 100_000  # of the day that the targets are about
    smaller: tuple[int, ...] = (10_000, 50_000)
    histories: tuple[int, ...] = (1, 7, 28)  # days before it
    base_sessions_per_day: int = 400  # of the demo's week that is repeated


class Run(NamedTuple):
    """One day in one process."""

    stages: dict[str, Cost]
    n_queued: int
    peak_bytes: int

    @property
    def whole(self) -> Cost:
        """All stages together."""
        return Cost(sum(cost.cpu_s for cost in self.stages.values()), sum(cost.wall_s for cost in self.stages.values()))


def triaging(sizes: LoadSizes, folder: Path, settings: Settings) -> Iterator[Finding]:
    """The day beside its targets, then beside smaller days and longer histories."""
    lake = folder / "lake"
    days = Days(sizes.n_traces, base_sessions_per_day=sizes.base_sessions_per_day)
    runs = {}
    for n_before in sizes.histories:
        fill(Lake(lake), days, _DAY, n_before=n_before, settings=settings)
        runs[n_before] = _run(lake, _DAY)
    shortest, longest = runs[sizes.histories[0]], runs[sizes.histories[-1]]
    after = f"{days.n_traces:,} traces ({days.n_spans:,} spans) after {sizes.histories[-1]} such days"
    for name, stage in longest.stages.items():
        per_s = f"{days.n_traces / stage.wall_s:,.0f} traces/s"
        yield Finding(f"{name} of {after}", f"{stage.wall_s:.1f} s wall, {stage.cpu_s:.1f} CPU s, {per_s}")
    yield _compared(f"all of it, {after}", longest, "60 s wall", longest.whole.wall_s / 60, at_most=1.0)
    peak = longest.peak_bytes / _GIB
    yield Finding("peak memory of that", f"{peak:.2f} GiB", "4 GiB", peak / 4, at_most=1.0)
    for n_before, run in runs.items():
        if run is not shortest:
            what = f"growth of that with the history, to {n_before} days"
            against = f"after {sizes.histories[0]}: {shortest.whole.cpu_s:.1f} CPU s"
            yield _compared(what, run, against, run.whole.cpu_s / shortest.whole.cpu_s, at_most=1.3)
    for n_traces in sizes.smaller:
        few = Days(n_traces, base_sessions_per_day=sizes.base_sessions_per_day)
        small = folder / f"lake-{n_traces}"
        fill(Lake(small), few, _DAY, n_before=1, settings=settings)
        run = _run(small, _DAY)
        one, of_many = (1e3 * each.whole.cpu_s / n for each, n in ((run, few.n_traces), (shortest, days.n_traces)))
        against = f"{one:.2f} CPU ms a trace; on a day of {days.n_traces:,} {of_many:.2f}"
        yield _compared(f"a day of {few.n_traces:,} traces after 1", run, against, of_many / one, at_most=1.3)
    yield from _week(lake, _DAY - timedelta(days=1))


def _week(lake: Path, sunday: date) -> Iterator[Finding]:
    """The queue of all the days of a cycle that the lake has, which are already scored."""
    run = _run(lake, sunday, is_scored=True)
    cycle = cycle_of(sunday)
    in_cycle = pl.col("day").is_between(*cycle_days(cycle))
    n_traces = Lake(lake).scan(TRACES).filter(in_cycle).select(pl.len()).collect().item()
    stage = run.whole
    yield Finding(
        f"queue of a whole week, {n_traces:,} traces ({cycle})",
        f"{stage.wall_s:.1f} s wall, {stage.cpu_s:.1f} CPU s, peak {run.peak_bytes / _GIB:.2f} GiB",
    )


def _compared(claim: str, run: Run, against: str, ratio: float, *, at_most: float) -> Finding:
    whole = run.whole
    measured = f"{whole.wall_s:.1f} s wall, {whole.cpu_s:.1f} CPU s, peak {run.peak_bytes / _GIB:.2f} GiB"
    return Finding(claim, measured, against, ratio, at_most=at_most)


def _run(lake: Path, day: date, *, is_scored: bool = False) -> Run:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_triage, lake, day, is_scored).result()


def _triage(lake_path: Path, day: date, is_scored: bool) -> Run:
    """What the assets trace_features, trace_signals and candidates do."""
    lake, settings, cycle = Lake(lake_path), Settings(), cycle_of(day)
    stages: dict[str, Cost] = {}
    n_queued = 0

    def timed(name: str, work: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        wall, cpu = time.perf_counter(), time.process_time()
        rows = work()
        stages[name] = Cost(time.process_time() - cpu, time.perf_counter() - wall)
        return rows

    if not is_scored:
        timed("features", lambda: measure_day(lake, day, settings.observe, made_from=None))
        timed("signals", lambda: score_day(lake, day, settings.signals, made_from=None))

    def queue() -> pl.DataFrame:
        rows = queue_of_cycle(lake, cycle, _REVIEWERS, settings.review)
        lake.replace(CANDIDATES, rows, partition=cycle)
        return rows

    n_queued = timed("queue", queue).height
    return Run(stages, n_queued, peak_memory_bytes())
