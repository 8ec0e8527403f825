"""Materialise what is stale, in this process, in the order of the graph, once: what `evalpipe run` does."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import Any, NamedTuple

import dagster as dg

from evalpipe.dagster_home import PROCESS_TAG, instance_of
from evalpipe.definitions import ASSETS
from evalpipe.defs.checks import CHECKS
from evalpipe.defs.partitions import BY_ISSUE, partition_of_cycle
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.retries import NEVER_STARTED_AGAIN
from evalpipe.errors import StateError
from evalpipe.home import Home
from evalpipe.plan import CODE_VERSIONS, stale
from evalpipe.ranges import day_ranges

_MAX_WORKERS = 4  # each holds some 400 MB while it generates
_MAX_ROUNDS = 4  # what the evidence says of an issue changes what it was said of; that settles in two
_BY_DAY = {
    *("raw_otlp", "spans", "traces", "sessions", "trace_features", "trace_signals"),
    *("verdicts", "verdict_counts"),
}


LOCATION = {".dagster/repository": "__repository__@evalpipe"}
"""Run tags: so that the UI files the run under the code location that it belongs to."""

# The event log keeps everything; a terminal shows what `announce` says.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Made(NamedTuple):
    """One asset that was stale, and the partitions that were made."""

    asset: str
    partitions: tuple[str, ...]


def materialise_stale(
    home: Home,
    instance: dg.DagsterInstance,
    only: Sequence[str] = (),
    announce: Callable[[str, Sequence[str]], None] = lambda _asset, _partitions: None,
    *,
    at: str = "",
) -> list[Made]:
    """Make every stale partition, until none is; returns what was made in order, empty when nothing was stale.

    `only` limits it to these assets. `announce` is called before each asset. `at` is the time that is written into
    what is made, ISO 8601, empty for now. Raises StateError for a run that failed, naming the run.
    """
    now = datetime.fromisoformat(at) if at else datetime.now(UTC)
    made: list[Made] = []
    for _ in range(_MAX_ROUNDS):
        n_before = len(made)
        for asset in CODE_VERSIONS:
            if not only or asset in only:
                partitions = stale(home, asset, now).partitions
                if partitions:
                    announce(asset, partitions)
                    materialise(home, instance, asset, partitions, at=at)
                    made.append(Made(asset, partitions))
        if len(made) == n_before:
            break
    return made


def take_in(home: Home, instance: dg.DagsterInstance, now: datetime) -> None:
    """Make traces of all that the receivers have taken: what a gate that waits for traces does at each look."""
    home.absorb(now)
    materialise_stale(home, instance, ("raw_otlp", "spans", "traces"))


def materialise(
    home: Home,
    instance: dg.DagsterInstance,
    asset: str,
    partitions: Sequence[str],
    *,
    at: str = "",
    config: Mapping[str, Any] | None = None,
) -> None:
    """Make these partitions of one asset: contiguous days as one run, issues side by side on the machine's cores.

    `config` is what the asset is asked for, where it can be asked.
    """
    if asset == "evaluators":
        instance.add_dynamic_partitions(str(BY_ISSUE.name), list(partitions))
        if len(partitions) > 1 and (os.cpu_count() or 1) > 1:
            _side_by_side(home, asset, partitions, at)
            return
    for selection in _runs(asset, partitions):
        run = dg.materialize(
            [*ASSETS, *CHECKS],
            selection=dg.AssetSelection.assets(asset),
            instance=instance,
            resources={"home": HomeResource(root=str(home.root), at=at)},
            raise_on_error=False,
            run_config=_QUIET | ({} if config is None else {"ops": {asset: {"config": dict(config)}}}),
            partition_key=selection.get("partition_key"),
            tags=selection.get("tags", {}) | {PROCESS_TAG: str(os.getpid()), **LOCATION, **NEVER_STARTED_AGAIN},
        )
        if not run.success:
            raise StateError(f"{asset} {selection} failed: {_why(run)}. The log is in the Dagster UI, run {run.run_id}")


def _side_by_side(home: Home, asset: str, partitions: Sequence[str], at: str) -> None:
    """Each partition in a process of its own kind; the first failure is raised when the others have ended."""
    n_workers = min(os.cpu_count() or 1, len(partitions), _MAX_WORKERS)
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        for outcome in [pool.submit(_alone, str(home.root), asset, partition, at) for partition in partitions]:
            outcome.result()


def _alone(root: str, asset: str, partition: str, at: str) -> None:
    home = Home.open(root)
    with instance_of(home) as instance:
        materialise(home, instance, asset, [partition], at=at)


def _runs(asset: str, partitions: Sequence[str]) -> Iterator[dict[str, Any]]:
    if asset in _BY_DAY:
        for first, last in day_ranges(partitions):
            yield {
                "tags": {
                    "dagster/asset_partition_range_start": first,
                    "dagster/asset_partition_range_end": last,
                }
            }
    elif asset == "candidates":
        yield from ({"partition_key": partition_of_cycle(cycle)} for cycle in partitions)
    elif asset == "evaluators":
        yield from ({"partition_key": issue} for issue in partitions)
    else:
        yield {}


def _why(run: dg.ExecuteInProcessResult) -> str:
    """The first error of the run at its root: Dagster wraps what an asset raises."""
    for event in run.all_events:
        if event.is_step_failure and (error := event.step_failure_data.error):
            while error.cause is not None:
                error = error.cause
            return error.message.strip()
    return next((event.message or "" for event in run.all_events if event.is_failure), "no failure was logged")
