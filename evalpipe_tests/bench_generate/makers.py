"""The one door to evalpipe's generation: traces to view, labels to examples, examples to an evaluator that can flag.

`by_choice` is what a user gets; `alone` is one of its kinds made by the same functions, with figures of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.features import features_of
from evalpipe.evaluators.folds import grouped_folds
from evalpipe.evaluators.learned import LearnedModel
from evalpipe.evaluators.rules import compile_rule
from evalpipe.evaluators.run import run_evaluators
from evalpipe.generation.agreement import agreement_of
from evalpipe.generation.bank import predicate_bank
from evalpipe.generation.choose import IssueRef, generate
from evalpipe.generation.examples import Examples, examples_for
from evalpipe.generation.optimise import evolve_rule
from evalpipe.quality.trust import status_of
from evalpipe.settings import GenerationSettings, LlmSettings, QualitySettings, Settings
from evalpipe.traces.view import view_frame
from evalpipe_tests.generation.planted import ISSUE, NOW, labels_of

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Kind = Literal["rule", "learned"]
Flag = Callable[[pl.DataFrame], Bools]

_Fit = Callable[[Ints], Flag]


class Stated(NamedTuple):
    """What an evaluator says of itself: held-out MCC with its interval, and the in-sample one."""

    mcc: float | None
    lower: float | None
    upper: float | None
    in_sample: float | None


@dataclass(frozen=True)
class Made:
    """An evaluator. `status` is active, monitoring or candidate; the last is declined."""

    kind: str
    status: str
    stated: Stated
    flag: Flag


def view_of(traces: pl.DataFrame) -> pl.DataFrame:
    """What evaluators judge, of TRACES rows: the same rows in the same order."""
    return view_frame(traces)


def examples_of(traces: pl.DataFrame, is_failure: Bools, settings: GenerationSettings) -> Examples:
    """The examples of one issue. Raises NotEnoughEvidenceError."""
    return examples_for(labels_of(traces, is_failure.tolist()), traces, settings)


def by_choice(examples: Examples, generation: GenerationSettings, quality: QualitySettings, llm: LlmSettings) -> Made:
    """The evaluator that ships, judging by its artifact as in production."""
    services = sorted(set(examples.view["service_name"]))
    made = generate(
        IssueRef(ISSUE, "planted", services),
        examples,
        incumbent=None,
        version=1,
        labels_fingerprint=0,
        lake_versions={},
        generation=generation,
        quality=quality,
        now=NOW,
    )
    if made.artifact is None:
        return Made("none", made.status, Stated(None, None, None, None), lambda view: np.zeros(view.height, dtype=bool))
    said = made.artifact.quality
    stated = Stated(said["mcc"], said["mcc_lower"], said["mcc_upper"], said["in_sample_mcc"])
    return Made(made.artifact.kind, made.status, stated, _flag_of(made.artifact, llm))


def alone(kind: Kind, examples: Examples, generation: GenerationSettings, quality: QualitySettings) -> Made:
    """One kind, held out over the same folds as in `generate`, then fitted on all examples."""
    fit = _fit_of(kind, examples, generation)
    fold_of = grouped_folds(examples.is_failure, examples.groups, n_folds=generation.n_folds, seed=generation.seed)
    held_out = np.zeros(len(fold_of), dtype=bool)
    for fold in range(int(fold_of.max()) + 1):
        test = fold_of == fold
        held_out[test] = fit(np.flatnonzero(~test))(examples.view.filter(test))
    flag = fit(np.arange(len(fold_of)))
    measured, flattering = (
        agreement_of(examples, flags, quality.confidence, generation.seed) for flags in (held_out, flag(examples.view))
    )
    status = status_of(measured.mcc, measured.lower, examples.n_positives, quality)
    return Made(kind, status, Stated(measured.mcc, measured.lower, measured.upper, flattering.mcc), flag)


def learned_on(examples: Examples, generation: GenerationSettings) -> Flag:
    """A learned evaluator fitted on all examples."""
    return _fit_of("learned", examples, generation)(np.arange(len(examples.is_failure)))


def judged(failure: str, examples: Examples, settings: Settings) -> Made:
    """A judge by the configured model, evolved without notes and measured on the examples that it kept aside."""
    from evalpipe.evaluators.judge import judge_view
    from evalpipe.generation.judging import evolve_judge

    llm, generation, quality = settings.llm, settings.generation, settings.quality
    evolved = evolve_judge(
        failure, examples, {}, incumbent=None, llm=llm, judges=settings.judges, seed=settings.judges.seed
    )
    measured, flattering = (
        agreement_of(_only(examples, said), _flags(said), quality.confidence, generation.seed)
        for said in (evolved.held_out, evolved.in_sample)
    )
    stated = Stated(measured.mcc, measured.lower, measured.upper, flattering.mcc)
    status = status_of(measured.mcc, measured.lower, measured.counts.n_positives, quality)

    def flag(view: pl.DataFrame) -> Bools:
        return (judge_view(evolved.program, view, llm=llm)["outcome"] == "fail").to_numpy()

    return Made("judge", status, stated, flag)


def _only(examples: Examples, said: Sequence[bool | None]) -> Examples:
    """The examples of which something was said."""
    rows = [i for i, flag in enumerate(said) if flag is not None]
    return replace(
        examples,
        view=examples.view[rows],
        is_failure=examples.is_failure[rows],
        weight=examples.weight[rows],
        groups=[examples.groups[i] for i in rows],
    )


def _flags(said: Sequence[bool | None]) -> Bools:
    return np.array([flag for flag in said if flag is not None], dtype=bool)


def _fit_of(kind: Kind, examples: Examples, settings: GenerationSettings) -> _Fit:
    """From rows of the examples to how the evaluator fitted on them flags."""
    y, weight, seed = examples.is_failure, examples.weight, settings.seed
    if kind == "rule":
        bank = predicate_bank(examples.view, examples.groups)
        return lambda rows: _rule_flag(compile_rule(evolve_rule(bank, rows, y, weight, settings, seed).rule))
    features = features_of(examples.view)
    return lambda rows: LearnedModel.fit_rows(features, rows, y, weight, examples.groups, settings, seed).flag


def _rule_flag(rule: pl.Expr) -> Flag:
    return lambda view: view.select(rule).to_series().to_numpy()


def _flag_of(artifact: Artifact, llm: LlmSettings) -> Flag:
    def flag(view: pl.DataFrame) -> Bools:
        verdicts = run_evaluators([artifact], view, llm=llm)
        in_order = view.select("trace_id").join(verdicts, on="trace_id", how="left", maintain_order="left")
        # A fault is no flag: the later figure pays for it.
        return (in_order["outcome"] == "fail").fill_null(False).to_numpy()

    return flag
