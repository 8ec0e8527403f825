"""Which runs each part of the report is made of."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from evalpipe_tests.bench_generate.cost import CostSizes
from evalpipe_tests.bench_generate.peers import JudgeSizes
from evalpipe_tests.bench_generate.runs import ALL, CHOICE, JUDGE, Spec
from evalpipe_tests.bench_generate.tasks import NOISY, PLANTED, keep, planted_modes, stored_modes, stored_task
from evalpipe_tests.bench_triage.worlds import annotated_worlds, demo_worlds

_MIN_DEMO_POSITIVES = 20  # of a mode, in all weeks
_MIN_REAL_POSITIVES = 10


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    n_positives: tuple[int, ...] = (10, 20, 40)
    n_seeds: int = 2  # with all kinds and baselines
    n_coverage_seeds: int = 5  # by choice alone; the first n_seeds of them are those
    n_permuted_seeds: int = 100
    demo_weeks: int = 5
    demo_sessions_per_day: int = 100
    planted_modes: tuple[str, ...] = tuple(planted_modes())
    max_demo_modes: int | None = None
    cost: CostSizes = field(default_factory=CostSizes)
    judge: JudgeSizes = field(default_factory=JudgeSizes)


QUICK = Sizes((10,), 1, 1, 1, 2, 30, ("loop",), 1, CostSizes(("generate",), 300, 4, 6), JudgeSizes(14, 56))
QUICK_FOLDS = 2
"""A smoke test: the figures mean nothing."""


def keep_demo(sizes: Sizes, folder: Path) -> Path:
    """The demo's traffic, through ingest, where stored_task finds it."""
    (world,) = demo_worlds(
        n_worlds=1, n_weeks=sizes.demo_weeks, sessions_per_day=sizes.demo_sessions_per_day, failing_share=1.0
    )
    keep(world, folder / "demo")
    return folder / "demo"


def keep_annotated(annotated: Path, folder: Path) -> Path:
    """The annotated traces of a folder, through ingest, where stored_task finds them."""
    (world,) = annotated_worlds(annotated, n_worlds=1, failing_share=1.0)
    keep(world, folder / "annotated")
    return folder / "annotated"


def planted_specs(sizes: Sizes, seeds: range, evaluators: tuple[str, ...] = (CHOICE,)) -> Iterator[Spec]:
    """Every planted mode, number of failures and seed."""
    for seed in seeds:
        for mode in sizes.planted_modes:
            for n_positives in _numbers(sizes, seed):
                yield Spec(PLANTED, mode, n_positives, seed, evaluators)


def noisy_specs(sizes: Sizes, seeds: range) -> Iterator[Spec]:
    """The planted modes with wrong labels among the right ones: claims that are far from perfect."""
    for seed in seeds:
        for mode in sizes.planted_modes:
            for n_positives in sizes.n_positives:
                yield Spec(PLANTED, mode + NOISY, n_positives, seed)


def demo_specs(sizes: Sizes, demo: Path, seeds: range, evaluators: tuple[str, ...] = (CHOICE,)) -> Iterator[Spec]:
    """Every mode of the demo, number of failures and seed."""
    modes = stored_modes(demo, _MIN_DEMO_POSITIVES)[: sizes.max_demo_modes]
    for seed in seeds:
        for source, mode in modes:
            for n_positives in _numbers(sizes, seed):
                yield Spec(source, mode, n_positives, seed, evaluators, demo)


def annotated_specs(sizes: Sizes, annotated: Path) -> Iterator[Spec]:
    """Every mode of every service, and the numbers of failures that its earlier part has more of."""
    for source, mode in annotated_modes(annotated):
        n_earlier = stored_task(annotated, source, mode).earlier.n_positives
        for n_positives in (*(n for n in sizes.n_positives if n < n_earlier), None):
            yield Spec(source, mode, n_positives, 1, ALL, annotated, has_later_interval=True)


def annotated_modes(annotated: Path) -> list[tuple[str, str]]:
    """(service, mode) of those with enough failures to say anything."""
    return stored_modes(annotated, _MIN_REAL_POSITIVES)


def permuted_specs(sizes: Sizes) -> Iterator[Spec]:
    """Planted traces whose labels are shuffled: modes and numbers of failures take turns."""
    for seed in range(1, sizes.n_permuted_seeds + 1):
        mode = sizes.planted_modes[seed % len(sizes.planted_modes)]
        n_positives = sizes.n_positives[seed // len(sizes.planted_modes) % len(sizes.n_positives)]
        yield Spec(PLANTED, mode, n_positives, seed, is_permuted=True)


def with_judge(specs: Iterable[Spec]) -> Iterator[Spec]:
    """The first seed of each with a judge, too."""
    for spec in specs:
        yield replace(spec, evaluators=(*spec.evaluators, JUDGE)) if spec.seed == 1 else spec


def _numbers(sizes: Sizes, seed: int) -> tuple[int | None, ...]:
    """All failures are the same ones for every seed: once is enough."""
    return (*sizes.n_positives, None) if seed == 1 else sizes.n_positives
