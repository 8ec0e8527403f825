"""One run: examples drawn from the earlier part of a task, an evaluator made of them, the later part judged by it.

Runs know nothing of one another, so they may be shared out to processes; a Spec is all that one needs.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.errors import NotEnoughEvidenceError
from evalpipe.generation.examples import Examples
from evalpipe.quality.confusion import Confusion, confusion, mcc
from evalpipe.quality.intervals import mcc_interval
from evalpipe.settings import Settings
from evalpipe_tests.bench_generate.baselines import BASELINES, texts_of
from evalpipe_tests.bench_generate.makers import Made, Stated, alone, by_choice, examples_of, judged
from evalpipe_tests.bench_generate.tasks import Part, Task, drawn, planted_task, stored_task

Bools = NDArray[np.bool_]

CHOICE = "by choice"
KINDS = ("rule", "learned")
JUDGE = "judge"  # where a model is configured; it costs money and time, so that few runs have it
ALL = (CHOICE, *KINDS, *BASELINES)
"""Every evaluator of a run, by name."""


_MAX_JUDGED = 300  # later traces, of which a judge is asked


@dataclass(frozen=True)
class Spec:
    """What to run. n_positives: how many failures are annotated, None all; folder: of a kept world, None planted."""

    source: str
    mode: str
    n_positives: int | None
    seed: int
    evaluators: tuple[str, ...] = (CHOICE,)
    folder: Path | None = None
    is_permuted: bool = False
    has_later_interval: bool = False

    @property
    def size(self) -> str:
        """The number of failures in words."""
        return "all" if self.n_positives is None else str(self.n_positives)


class Run(NamedTuple):
    """What came of one evaluator of a run. MCCs are null where undefined; a permuted run has no later figures."""

    source: str
    mode: str
    size: str  # failures asked for: a number or "all"
    n_positives: int
    n_negatives: int
    seed: int
    is_permuted: bool
    evaluator: str
    kind: str | None
    status: str | None  # active, monitoring, candidate (declined), waiting (too little evidence)
    held_out_mcc: float | None
    lower: float | None
    upper: float | None
    in_sample_mcc: float | None
    later_mcc: float | None  # at the prevalence of the examples, which the stated figures are for
    later_mcc_as_it_is: float | None  # at the prevalence of the later part
    later_lower: float | None  # of the latter, where the spec asks for it
    later_upper: float | None
    later_n: int
    later_n_positives: int
    seconds: float


SCHEMA = pl.Schema(
    {
        "source": pl.String,
        "mode": pl.String,
        "size": pl.String,
        "n_positives": pl.Int64,
        "n_negatives": pl.Int64,
        "seed": pl.Int64,
        "is_permuted": pl.Boolean,
        "evaluator": pl.String,
        "kind": pl.String,
        "status": pl.String,
        "held_out_mcc": pl.Float64,
        "lower": pl.Float64,
        "upper": pl.Float64,
        "in_sample_mcc": pl.Float64,
        "later_mcc": pl.Float64,
        "later_mcc_as_it_is": pl.Float64,
        "later_lower": pl.Float64,
        "later_upper": pl.Float64,
        "later_n": pl.Int64,
        "later_n_positives": pl.Int64,
        "seconds": pl.Float64,
    }
)
"""Of a frame of runs."""


def frame_of(runs: Iterable[Run]) -> pl.DataFrame:
    """One row a run, columns SCHEMA."""
    return pl.DataFrame(list(runs), SCHEMA, orient="row")


def run_all(specs: Iterable[Spec], settings: Settings, *, n_jobs: int) -> Iterator[list[Run]]:
    """The runs of each spec, in order. With one job in this process, else in processes of their own."""
    if n_jobs == 1:
        yield from (run(spec, settings) for spec in specs)
        return
    with ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run, spec, settings) for spec in specs]
        yield from (future.result() for future in waiting)


def run(spec: Spec, settings: Settings) -> list[Run]:
    """One row for each evaluator of the spec."""
    task = _task(spec)
    rows = drawn(task.earlier.is_failure, spec.n_positives, spec.seed)
    is_failure = task.earlier.is_failure[rows]
    if spec.is_permuted:
        is_failure = np.random.default_rng([spec.seed, 1]).permutation(is_failure)
    traces = task.earlier.traces[rows]
    return [_run_one(spec, name, task.later, traces, is_failure, settings) for name in spec.evaluators]


def at_prevalence(counts: Confusion, prevalence: float) -> float | None:
    """The MCC that the same error rates have where `prevalence` of the traces are failures; None where undefined."""
    n_negatives = counts.n - counts.n_positives
    if not counts.n_positives or not n_negatives:
        return None
    tpr, fpr = counts.tp / counts.n_positives, counts.fp / n_negatives
    flagged = prevalence * tpr + (1 - prevalence) * fpr
    spread = prevalence * (1 - prevalence) * flagged * (1 - flagged)
    # Youden's J, scaled by how unequal the margins are: Source: Chicco, Toetsch and Jurman (2021).
    return None if spread <= 0 else (tpr - fpr) * prevalence * (1 - prevalence) / spread**0.5


def _run_one(spec: Spec, name: str, later: Part, traces: pl.DataFrame, is_failure: Bools, settings: Settings) -> Run:
    if name == JUDGE:
        later = later.thinned(_MAX_JUDGED)
    start = time.perf_counter()
    made = _made(name, spec.mode.replace("_", " "), traces, is_failure, settings)
    seconds = time.perf_counter() - start
    is_judged = not spec.is_permuted and made.status != "waiting"
    flags = made.flag(later.view) if is_judged else np.zeros(0, dtype=bool)
    counts = confusion(later.is_failure, flags) if is_judged else None
    interval = None
    if is_judged and spec.has_later_interval:
        confidence, seed = settings.quality.confidence, settings.generation.seed
        interval = mcc_interval(later.is_failure, flags, later.groups, confidence=confidence, seed=seed)
    return Run(
        spec.source,
        spec.mode,
        spec.size,
        int(is_failure.sum()),
        int((~is_failure).sum()),
        spec.seed,
        spec.is_permuted,
        name,
        made.kind,
        made.status,
        *made.stated,
        None if counts is None else at_prevalence(counts, float(is_failure.mean())),
        None if counts is None else mcc(counts),
        None if interval is None else interval.lower,
        None if interval is None else interval.upper,
        later.traces.height,
        later.n_positives,
        seconds,
    )


def _made(name: str, failure: str, traces: pl.DataFrame, is_failure: Bools, settings: Settings) -> Made:
    try:
        examples = examples_of(traces, is_failure, settings.generation)
        match name:
            case "rule" | "learned":
                return alone(name, examples, settings.generation, settings.quality)
            case "judge":
                return judged(failure, examples, settings)
            case _ if name in BASELINES:
                return _baseline(name, examples)
            case _:
                return by_choice(examples, settings.generation, settings.quality, settings.llm)
    except NotEnoughEvidenceError:
        return Made("none", "waiting", Stated(None, None, None, None), lambda view: np.zeros(view.height, dtype=bool))


def _baseline(name: str, examples: Examples) -> Made:
    flag = BASELINES[name](texts_of(examples.view), examples.is_failure)
    in_sample = mcc(confusion(examples.is_failure, flag(texts_of(examples.view))))
    return Made(name, "none", Stated(None, None, None, in_sample), lambda view: flag(texts_of(view)))


def _task(spec: Spec) -> Task:
    if spec.folder is None:
        return planted_task(spec.mode, spec.seed)
    return stored_task(spec.folder, spec.source, spec.mode)
