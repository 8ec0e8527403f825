"""The parts of the report: each runs its piece of work and says in Markdown what came of it, with its targets."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.settings import Settings
from evalpipe_tests.bench_ingest.measure import Finding, markdown
from evalpipe_tests.bench_triage.cost import LoadSizes, triaging
from evalpipe_tests.bench_triage.reading import QUEUE, read_at_once, read_by_cycle
from evalpipe_tests.bench_triage.report import found_table, modes_table, sightings_table
from evalpipe_tests.bench_triage.studies import IS_FAILURE, Study, sightings_of, study
from evalpipe_tests.bench_triage.worlds import MONDAY, annotated_worlds, demo_worlds

_DEMO_FAILING = 0.03
_ANNOTATED_FAILING = 0.05
_ANNOTATED_SHARE = 0.1  # of a service's traces are read


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    n_worlds: int = 5
    n_thinnings: int = 10
    sessions_per_day: tuple[int, ...] = (60, 240)  # the demo's own traffic, and four times as much
    n_read: int = 100  # a cycle
    load: LoadSizes = field(default_factory=LoadSizes)


QUICK = Sizes(1, 1, (20,), 20, LoadSizes(600, (300,), (1, 2), 20))
"""A smoke test: the figures mean nothing."""


class Section(NamedTuple):
    """A part of the report."""

    findings: list[Finding]
    markdown: str


def on_demo(sizes: Sizes, settings: Settings) -> Iterator[Section]:
    """Two weeks from the first day of an installation on, at each volume."""
    for sessions_per_day in sizes.sessions_per_day:
        worlds = demo_worlds(
            n_worlds=sizes.n_worlds, n_weeks=2, sessions_per_day=sessions_per_day, failing_share=_DEMO_FAILING
        )
        read = study(
            worlds, lambda world, signals: read_by_cycle(world, signals, settings, n_read=sizes.n_read), settings
        )
        yield _demo_section(read, sizes, sessions_per_day)


def on_annotated(sizes: Sizes, settings: Settings, folder: Path) -> Iterator[Section]:
    """Each service of the folder alone."""
    worlds = annotated_worlds(folder, n_worlds=sizes.n_thinnings, failing_share=_ANNOTATED_FAILING)
    read = study(
        worlds, lambda world, signals: read_at_once(world, signals, settings, share=_ANNOTATED_SHARE), settings
    )
    results = read.found()
    queue = results[0]
    finding = Finding(
        f"annotated traces, {100 * _ANNOTATED_FAILING:.0f} % failures: lift of reading {100 * _ANNOTATED_SHARE:.0f} %",
        f"{queue.lift:.2f} [{queue.lift_interval.lower:.2f}, {queue.lift_interval.upper:.2f}]",
        "the interval's lower bound; random reading has 1",
        queue.lift_interval.lower,
        at_least=1.0,
    )
    n = read.rows.height / read.n_worlds
    yield Section(
        [finding],
        f"""## Annotated agent traces

Real traces with labels from their sources (tau-bench, HaluEval, BEGIN, ...), from a folder given on the command line:
{n:,.0f} traces of {read.rows["service_name"].n_unique()} services a thinning, {read.n_worlds} thinnings to at most
{100 * _ANNOTATED_FAILING:.0f} % failures in each service. Signals are made day by day; then the queue of each service
is built once, over all its days, for {100 * _ANNOTATED_SHARE:.0f} % of its traces. A trace without a label is left out,
and so is a service without a good trace. Intervals resample sessions, each with all the thinnings it is in. The lift of
a failure mode is that of its own share; modes of which there is less than one trace a thinning are left out.

{found_table(results, has_rate_interval=False)}

{modes_table(read)}
""",
    )


def on_load(sizes: Sizes, settings: Settings, folder: Path) -> Iterator[Section]:
    """The large day."""
    findings = list(triaging(sizes.load, folder, settings))
    yield Section(
        findings,
        f"""## Cost

Every run is a process of its own, and reads the tables from disk. The days repeat the demo's longer sessions with
other ids, numbers and figures: five services, ten spans a trace, five evaluators with a verdict on every trace; a tenth
of the users come every day. The measured day is a Monday, so that it is all of its cycle.

{markdown(findings)}
""",
    )


def _demo_section(read: Study, sizes: Sizes, sessions_per_day: int) -> Section:
    first = pl.col("day") < MONDAY + timedelta(weeks=1)
    weeks = [("first", first), ("second", ~first)]
    sightings = sightings_of(read, sizes.n_read)
    n_week = read.rows.height / read.n_worlds / len(weeks)
    n_failing = read.rows.filter(IS_FAILURE).height / read.n_worlds / len(weeks)
    about = f"{n_week:,.0f} traces a week, {100 * n_failing / n_week:.1f} % failures"
    n_seen, n_shown = sum(s.n_seen for s in sightings), sum(s.n_worlds for s in sightings)
    findings = [
        Finding(
            f"first {sizes.n_read} of the queue, {name} week ({about})",
            f"{100 * queue.n_failures / queue.n_read:.1f} failures per 100",
            f"random reading: {100 * n_failing / n_week:.1f}; "
            f"lift {queue.lift:.1f} [{queue.lift_interval.lower:.1f}, {queue.lift_interval.upper:.1f}]",
            queue.lift,
            at_least=5.0,
        )
        for name, week in weeks
        for queue in read.found(week, orders=(QUEUE,))
    ]
    findings.append(
        Finding(
            f"planted modes met within two queues of {sizes.n_read} ({about})",
            f"{n_seen}",
            f"{n_shown} in {read.n_worlds} runs",
            n_seen / n_shown,
            at_least=1.0,
        )
    )
    tables = [f"The {name} week:\n\n{found_table(read.found(week), has_rate_interval=True)}" for name, week in weeks]
    most = min(n_week / sizes.n_read, n_week / n_failing)
    return Section(
        findings,
        f"""## The demo's traffic, {sessions_per_day} sessions a day

{about}, {read.n_worlds} runs with other seeds, from the first day of an installation on: in the first week little is
known of what is usual, and the queue of the second knows what was said of the first. No order could have a lift above
{most:.1f}.

{chr(10).join(f"{text}{chr(10)}" for text in tables)}
{sightings_table(read, sightings, 2 * sizes.n_read)}
""",
    )
