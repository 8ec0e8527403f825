"""Failure modes whose truth is known, each with an earlier part to generate from and a later part to be judged.

Planted modes are made here, the demo's and annotated traces come from bench_triage/worlds.py and are kept in a folder,
so that other processes can read them. What is made of a task is in runs.py.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.generation.groups import case_groups
from evalpipe_tests.bench_generate.makers import view_of
from evalpipe_tests.bench_triage.worlds import World
from evalpipe_tests.generation.planted import MODES, planted

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

PLANTED = "planted"
NOISY = ", noisy"
"""After a planted mode's name: one label in ten is wrong, earlier and later, so that nothing can agree perfectly."""
EARLIER_SHARE = 0.6  # of a source's traces, by time
N_NEGATIVES = 4  # per positive, where there are enough
_PLANTED_EARLIER = (80, 320)  # failures and others
_PLANTED_LATER = (300, 1_200)
_NOISE = 0.1
_LATER_SEED = 1_000_000  # no seed of an earlier part
_MIN_KEPT = 0.3  # of what is later by time must be cases not met before, or cases are split instead


@dataclass(frozen=True)
class Part:
    """Traces in the order of time, and which of them show the failure."""

    traces: pl.DataFrame
    is_failure: Bools

    @cached_property
    def view(self) -> pl.DataFrame:
        return view_of(self.traces)

    @cached_property
    def groups(self) -> list[str]:
        """The case of each trace."""
        return case_groups(self.traces)

    @property
    def n_positives(self) -> int:
        return int(self.is_failure.sum())

    def thinned(self, n: int) -> "Part":
        """Every so-manieth trace, at most `n` of them."""
        rows = np.unique(np.linspace(0, self.traces.height - 1, min(n, self.traces.height)).astype(np.int64))
        return Part(self.traces[rows], self.is_failure[rows])


@dataclass(frozen=True)
class Task:
    """One failure mode of one source."""

    source: str
    mode: str
    earlier: Part
    later: Part
    is_by_case: bool = False  # split by whole cases, because time would leave next to nothing


class Split(NamedTuple):
    """Row numbers of both sides; rows of neither are left out."""

    earlier: Ints
    later: Ints


def time_split(start_ns: Ints, groups: list[str], earlier_share: float) -> Split:
    """The first `earlier_share` of the rows by time, and the others; both in order of time.

    A group with rows on both sides stays out of the later side: what is judged there was not met in any form.
    """
    order = np.argsort(start_ns, kind="stable")
    n_earlier = round(earlier_share * len(order))
    earlier, rest = order[:n_earlier], order[n_earlier:]
    met = {groups[row] for row in earlier.tolist()}
    later = np.array([row for row in rest.tolist() if groups[row] not in met], dtype=np.int64)
    return Split(earlier.astype(np.int64), later)


def case_split(start_ns: Ints, groups: list[str], earlier_share: float) -> Split:
    """Whole groups in the order of their median time, as many as have the first `earlier_share` of the rows.

    For sources that come back to the same few cases all the time, of which `time_split` leaves nothing later: what is
    judged is a case never met, not always a later time.
    """
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    median = np.array([np.median(start_ns[member == group]) for group in range(len(names))])
    order = np.lexsort((start_ns, member, median[member]))
    n_until = np.cumsum(np.bincount(member, minlength=len(names))[np.argsort(median, kind="stable")])
    n_earlier = int(n_until[np.searchsorted(n_until, earlier_share * len(order))])
    return Split(order[:n_earlier].astype(np.int64), order[n_earlier:].astype(np.int64))


def drawn(is_failure: Bools, n_positives: int | None, seed: int) -> Ints:
    """Rows of `n_positives` failures (None: all) and N_NEGATIVES times as many others, or what there is, sorted."""
    generator = np.random.default_rng(seed)
    failures, others = (generator.permutation(np.flatnonzero(is_failure == wanted)) for wanted in (True, False))
    failures = failures[:n_positives]
    return np.sort(np.concatenate([failures, others[: N_NEGATIVES * len(failures)]]))


@cache
def planted_task(mode: str, seed: int) -> Task:
    """A planted mode, or its noisy form; only the earlier part depends on the seed."""
    return Task(PLANTED, mode, _planted(mode, *_PLANTED_EARLIER, seed), _planted_later(mode))


@cache
def _planted_later(mode: str) -> Part:
    return _planted(mode, *_PLANTED_LATER, _LATER_SEED)


def _planted(mode: str, n_failures: int, n_others: int, seed: int) -> Part:
    name = mode.removesuffix(NOISY)
    made = planted(name, n_failures, n_others, seed)
    is_failure = made.labels["is_failure"].to_numpy()
    if name != mode:
        generator = np.random.default_rng([seed, *mode.encode()])
        is_failure = is_failure ^ _wrong(is_failure, generator, is_exact=seed == _LATER_SEED)
    return Part(made.traces, is_failure)


def _wrong(is_failure: Bools, generator: np.random.Generator, *, is_exact: bool) -> Bools:
    """One in ten, by chance; or exactly one in ten of each class, which is the figure of endless traffic."""
    if not is_exact:
        return generator.random(len(is_failure)) < _NOISE
    wrong = np.zeros(len(is_failure), dtype=bool)
    for wanted in (True, False):
        rows = np.flatnonzero(is_failure == wanted)
        wrong[generator.choice(rows, round(_NOISE * len(rows)), replace=False)] = True
    return wrong


def planted_modes() -> list[str]:
    """Their names."""
    return list(MODES)


def keep(world: World, folder: Path) -> None:
    """Write a world where `stored_task` finds it."""
    folder.mkdir(parents=True)
    world.traces.write_parquet(folder / "traces.parquet")
    world.truth.write_parquet(folder / "truth.parquet")


@cache
def stored_task(folder: Path, source: str, mode: str) -> Task:
    """A failure mode of one service of a kept world, split by time with every case whole."""
    rows = _service(folder, source)
    is_failure = rows["modes"].list.contains(mode).to_numpy()
    traces = rows.drop("modes")
    split, is_by_case = _split(folder, source)
    earlier, later = (Part(traces[side], is_failure[side]) for side in split)
    return Task(source, mode, earlier, later, is_by_case)


@cache
def whole_service(folder: Path, source: str, mode: str) -> Part:
    """All of a service's traces."""
    rows = _service(folder, source)
    return Part(rows.drop("modes"), rows["modes"].list.contains(mode).to_numpy())


def stored_modes(folder: Path, min_positives: int) -> list[tuple[str, str]]:
    """(service, mode) of a kept world with at least so many failures, most first in each service."""
    rows = _joined(folder)
    shown = rows.select("service_name", "modes").explode("modes").drop_nulls("modes")
    counted = shown.group_by("service_name", "modes").len().filter(pl.col("len") >= min_positives)
    ordered = counted.sort("service_name", "len", "modes", descending=[False, True, False])
    return list(ordered.select("service_name", "modes").iter_rows())


@cache
def _joined(folder: Path) -> pl.DataFrame:
    traces, truth = (pl.read_parquet(folder / f"{name}.parquet") for name in ("traces", "truth"))
    return traces.join(truth, on="trace_id").sort("start_unix_ns", "trace_id")


@cache
def _service(folder: Path, source: str) -> pl.DataFrame:
    return _joined(folder).filter(pl.col("service_name") == source)


@cache
def _split(folder: Path, source: str) -> tuple[Split, bool]:
    """The split of a service, and whether it is by case."""
    rows = _service(folder, source)
    start_ns, groups = rows["start_unix_ns"].to_numpy(), case_groups(rows.drop("modes"))
    by_time = time_split(start_ns, groups, EARLIER_SHARE)
    if len(by_time.later) >= _MIN_KEPT * (rows.height - len(by_time.earlier)):
        return by_time, False
    return case_split(start_ns, groups, EARLIER_SHARE), True
