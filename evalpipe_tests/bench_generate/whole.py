"""Out-of-fold figures on all labelled traces of a mode: what a user sees who has annotated everything."""

import time
from typing import NamedTuple

import numpy as np

from evalpipe.evaluators.folds import grouped_folds
from evalpipe.generation.agreement import agreement_of
from evalpipe.generation.examples import Examples
from evalpipe.generation.flags import Flags
from evalpipe.settings import Settings
from evalpipe_tests.bench_generate.baselines import BASELINES, texts_of
from evalpipe_tests.bench_generate.makers import Stated, alone, by_choice, examples_of
from evalpipe_tests.bench_generate.runs import CHOICE, KINDS
from evalpipe_tests.bench_generate.tasks import Part


class OutOfFold(NamedTuple):
    """One evaluator; kind and status are null for a baseline."""

    evaluator: str
    kind: str | None
    status: str | None
    stated: Stated
    seconds: float


def out_of_fold(part: Part, settings: Settings) -> list[OutOfFold]:
    """Every evaluator over the same folds, each case whole. Raises NotEnoughEvidenceError."""
    examples = examples_of(part.traces, part.is_failure, settings.generation)
    results = []
    for name in (CHOICE, *KINDS):
        start = time.perf_counter()
        if name == CHOICE:
            made = by_choice(examples, settings.generation, settings.quality, settings.llm)
        else:
            made = alone(name, examples, settings.generation, settings.quality)
        results.append(OutOfFold(name, made.kind, made.status, made.stated, time.perf_counter() - start))
    return [*results, *(_baseline(name, examples, settings) for name in BASELINES)]


def _baseline(name: str, examples: Examples, settings: Settings) -> OutOfFold:
    start = time.perf_counter()
    fit, texts, y = BASELINES[name], np.array(texts_of(examples.view), dtype=object), examples.is_failure
    n_folds, seed = settings.generation.n_folds, settings.generation.seed
    fold_of = grouped_folds(y, examples.groups, n_folds=n_folds, seed=seed)
    flags = np.zeros(len(y), dtype=bool)
    for fold in range(int(fold_of.max()) + 1):
        test = fold_of == fold
        flags[test] = fit(texts[~test].tolist(), y[~test])(texts[test].tolist())
    measured = agreement_of(examples, Flags.all_known(flags), settings.quality, seed)
    stated = Stated(measured.mcc, measured.lower, measured.upper, None)
    return OutOfFold(name, None, None, stated, time.perf_counter() - start)
