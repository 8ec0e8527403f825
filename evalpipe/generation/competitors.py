"""The kinds of evaluator that compete for an issue: each fitted on all examples, and judged where it had not seen them.

Everything that looks at a label happens inside a fold once and on all examples once: the first gives the figures, the
second the evaluator that may ship. How a rule is found is in optimise.py, a learned evaluator in
evaluators/fitting.py; which competitor ships is decided in choose.py.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.features import Features, features_of
from evalpipe.evaluators.folds import grouped_folds
from evalpipe.evaluators.learned import LearnedModel
from evalpipe.evaluators.rules import Rule, compile_rule, explain_rule, validate_rule
from evalpipe.evaluators.words import Ints
from evalpipe.generation.bank import Bank, predicate_bank
from evalpipe.generation.examples import Examples
from evalpipe.generation.flags import Flags
from evalpipe.generation.optimise import Evolved, evolve_rule
from evalpipe.generation.patterns import best_predicate
from evalpipe.settings import GenerationSettings, JudgeSettings, LlmSettings

Bools = NDArray[np.bool_]
Kind = Literal["rule", "learned", "judge"]
Author = Callable[[Ints], list[Rule]]
"""(rows of the examples that may be looked at) -> rules whose predicates are worth asking."""


class Competitor(NamedTuple):
    """One way to make an evaluator for the issue. Two ways may end in the same kind."""

    name: str
    kind: Kind
    program: dict[str, Any]
    explanation: str
    held_out: Flags  # by procedures that had not seen the example
    in_sample: Flags  # by the program itself, which flatters it
    can_flag: bool  # False of a rule that never fires
    lineage: list[dict[str, Any]]
    stop_reason: str
    spent: Mapping[str, Any]
    engines: tuple[str, ...]  # the libraries whose versions made it
    split: Mapping[str, Any] | None = None  # what was held out, where that is not the folds of the material
    n_faults: int = 0  # held-out examples on which it could not tell
    cost_usd_per_verdict: float | None = 0.0  # None: the model has no known price


@dataclass(frozen=True)
class Material:
    """What all folds and kinds share: made from the traces, without their labels."""

    examples: Examples
    bank: Bank
    features: Features
    settings: GenerationSettings

    @classmethod
    def of(cls, examples: Examples, settings: GenerationSettings) -> "Material":
        """The predicates and features of the examples, counted once."""
        return cls(examples, predicate_bank(examples.view, examples.groups), features_of(examples.view), settings)

    def folds(self) -> list[Ints]:
        """The fold of each example, once per repeat; the same for every kind, so that figures can be paired."""
        examples, settings = self.examples, self.settings
        return [
            grouped_folds(examples.is_failure, examples.groups, n_folds=settings.n_folds, seed=settings.seed + repeat)
            for repeat in range(settings.n_repeats)
        ]


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Sums then do not depend on the number of cores, and issues are generated side by side."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def single_pattern_competitor(material: Material) -> Competitor:
    """The one predicate of the bank that agrees best with people: nothing is combined, nothing evolved."""
    everything = _everything(material)

    def fit(rows: Ints) -> Rule:
        return best_predicate(material.bank, rows, material.examples.is_failure, material.examples.weight)

    rule = fit(everything)
    return Competitor(
        name="single pattern",
        kind="rule",
        program={"rule": validate_rule(rule)},
        explanation=explain_rule(rule),
        held_out=out_of_fold(material, lambda train, test, _: _rule_flags(fit(train), material, test)),
        in_sample=Flags.all_known(_rule_flags(rule, material, everything)),
        can_flag=rule["op"] != "constant",
        lineage=[],
        stop_reason="every predicate was looked at",
        spent={"n_metric_calls": 0},
        engines=("polars", "numpy"),
    )


def rule_competitor(material: Material, author: Author | None = None) -> Competitor:
    """A rule, evolved on all examples. `author` proposes predicates beside those of the bank, fold by fold."""

    def fit(rows: Ints, seed: int) -> Evolved:
        examples, bank = material.examples, material.bank
        if author is not None:
            bank = bank.with_proposed(author(rows), examples.view)
        return evolve_rule(bank, rows, examples.is_failure, examples.weight, material.settings, seed)

    evolved = fit(_everything(material), material.settings.seed)
    return Competitor(
        name="rule" if author is None else "rule with proposals",
        kind="rule",
        program={"rule": evolved.rule},
        explanation=explain_rule(evolved.rule),
        held_out=out_of_fold(material, lambda train, test, seed: _rule_flags(fit(train, seed).rule, material, test)),
        in_sample=Flags.all_known(_rule_flags(evolved.rule, material, _everything(material))),
        can_flag=evolved.rule["op"] != "constant",
        lineage=evolved.lineage,
        stop_reason=evolved.stop_reason,
        spent={"n_metric_calls": evolved.n_metric_calls},
        engines=("gepa", "polars", "numpy"),
    )


def learned_competitor(material: Material) -> Competitor:
    """A learned evaluator, fitted on all examples."""
    view = material.examples.view
    model = _fit_learned(material, _everything(material), material.settings.seed)
    return Competitor(
        name="learned",
        kind="learned",
        program=model.to_program(),
        explanation=model.describe(),
        # Judged as in production, by the stored program and not by the fit's own matrices.
        held_out=out_of_fold(material, lambda train, test, seed: _fit_learned(material, train, seed).flag(view[test])),
        in_sample=Flags.all_known(model.flag(view)),
        can_flag=True,
        lineage=[],
        stop_reason="fitted",
        spent={"n_metric_calls": 0},
        engines=("scikit-learn", "polars", "numpy"),
    )


def judge_competitor(
    issue_name: str,
    material: Material,
    notes: Mapping[str, str],
    incumbent: Artifact | None,
    llm: LlmSettings,
    judges: JudgeSettings,
) -> Competitor:
    """A language model with an instruction that was evolved on some of the examples and is judged on the rest.

    It goes on from the incumbent where that is a judge. Raises EvaluatorFaultError when the model fails or the budget
    does not suffice, NotEnoughEvidenceError when the examples cannot be shared out.
    """
    # Imported here: what needs a model server is no part of generating without one.
    from evalpipe.generation.judging import evolve_judge

    program = incumbent.program if incumbent is not None and incumbent.kind == "judge" else None
    evolved = evolve_judge(
        issue_name, material.examples, notes, incumbent=program, llm=llm, judges=judges, seed=material.settings.seed
    )
    return Competitor(
        name="judge",
        kind="judge",
        program=evolved.program,
        explanation=evolved.explanation,
        held_out=Flags.of(evolved.held_out),
        in_sample=Flags.of(evolved.in_sample),
        can_flag=True,
        lineage=evolved.lineage,
        stop_reason=evolved.stop_reason,
        spent=evolved.spent,
        engines=("gepa", "dspy", "litellm"),
        split=evolved.split,
        n_faults=evolved.n_faults,
        cost_usd_per_verdict=evolved.cost_usd_per_verdict,
    )


def out_of_fold(material: Material, predict: Callable[[Ints, Ints, int], Bools]) -> Flags:
    """What `predict`(train, test, seed) says of each example from the other folds; of several repeats the majority."""
    repeats: list[Bools] = []
    for repeat, fold_of in enumerate(material.folds()):
        said = np.zeros(len(fold_of), dtype=bool)
        for fold in range(int(fold_of.max()) + 1):
            train, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            said[test] = predict(train, test, material.settings.seed + repeat)
        repeats.append(said)
    return Flags.all_known(2 * np.sum(repeats, axis=0) > len(repeats))


def _everything(material: Material) -> Ints:
    return np.arange(len(material.examples.is_failure))


def _fit_learned(material: Material, rows: Ints, seed: int) -> LearnedModel:
    examples = material.examples
    return LearnedModel.fit_rows(
        material.features, rows, examples.is_failure, examples.weight, examples.groups, material.settings, seed
    )


def _rule_flags(rule: Rule, material: Material, rows: Ints) -> Bools:
    # By the compiled rule, as in production, and not by the search's own matrices.
    view: pl.DataFrame = material.examples.view[rows]
    return view.select(compile_rule(rule)).to_series().to_numpy()
