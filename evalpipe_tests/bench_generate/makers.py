"""The one door to evalpipe's generation: traces to view, labels to examples, examples to an evaluator that can flag.

`by_choice` is what a user gets; `alone` is one of its kinds made by the same functions, with figures of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.learned import LearnedModel
from evalpipe.evaluators.rules import compile_rule
from evalpipe.evaluators.run import run_evaluators
from evalpipe.evaluators.view import evaluator_view
from evalpipe.generation.agreement import agreement_of
from evalpipe.generation.competitors import Competitor, Material, learned_competitor, on_one_thread, rule_competitor
from evalpipe.generation.examples import Examples, examples_for
from evalpipe.generation.flags import Flags
from evalpipe.generation.generate import IssueRef, generate
from evalpipe.quality.trust import status_of
from evalpipe.settings import GenerationSettings, LlmSettings, QualitySettings, Settings
from evalpipe_tests.generation.planted import ISSUE, NOW, labels_of

Bools = NDArray[np.bool_]
Kind = Literal["rule", "learned"]
Flag = Callable[[pl.DataFrame], Bools]

_COMPETITORS: Mapping[Kind, Callable[[Material], Competitor]] = {"rule": rule_competitor, "learned": learned_competitor}


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


def view_of(traces: pl.DataFrame, features: pl.DataFrame | None = None) -> pl.DataFrame:
    """What evaluators judge, of TRACES rows: the same rows in the same order. `features` are their TRACE_FEATURES."""
    return evaluator_view(traces, features)


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
    """One kind as it competes in `generate`: held out over the same folds, then fitted on all examples."""
    with on_one_thread():
        made = _COMPETITORS[kind](Material.of(examples, generation))
    measured, flattering = (
        agreement_of(examples, flags, quality, generation.seed) for flags in (made.held_out, made.in_sample)
    )
    status = status_of(measured.mcc, measured.lower, examples.n_positives, quality)
    stated = Stated(measured.mcc, measured.lower, measured.upper, flattering.mcc)
    if kind == "learned":
        return Made(kind, status, stated, LearnedModel.from_program(made.program).flag)
    return Made(kind, status, stated, _rule_flag(compile_rule(made.program["rule"])))


def learned_on(examples: Examples, generation: GenerationSettings) -> Flag:
    """A learned evaluator fitted on all examples."""
    y, weight, seed = examples.is_failure, examples.weight, generation.seed
    return LearnedModel.fit(examples.view, y, weight, examples.groups, generation, seed).flag


def judged(failure: str, examples: Examples, settings: Settings) -> Made:
    """A judge by the configured model, evolved without notes and measured on the examples that it kept aside."""
    from evalpipe.evaluators.judge import judge_view
    from evalpipe.generation.judging import evolve_judge

    llm, generation, quality = settings.llm, settings.generation, settings.quality
    evolved = evolve_judge(
        failure, examples, {}, incumbent=None, llm=llm, judges=settings.judges, seed=settings.judges.seed
    )
    measured, flattering = (
        agreement_of(examples, Flags.of(said), quality, generation.seed)
        for said in (evolved.held_out, evolved.in_sample)
    )
    stated = Stated(measured.mcc, measured.lower, measured.upper, flattering.mcc)
    status = status_of(measured.mcc, measured.lower, measured.counts.n_positives, quality)

    def flag(view: pl.DataFrame) -> Bools:
        return (judge_view(evolved.program, view, llm=llm)["outcome"] == "fail").to_numpy()

    return Made("judge", status, stated, flag)


def _rule_flag(rule: pl.Expr) -> Flag:
    return lambda view: view.select(rule).to_series().to_numpy()


def _flag_of(artifact: Artifact, llm: LlmSettings) -> Flag:
    def flag(view: pl.DataFrame) -> Bools:
        verdicts = run_evaluators([artifact], view, llm=llm)
        in_order = view.select("trace_id").join(verdicts, on="trace_id", how="left", maintain_order="left")
        # A fault is no flag: the later figure pays for it.
        return (in_order["outcome"] == "fail").fill_null(False).to_numpy()

    return flag
