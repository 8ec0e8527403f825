"""Learned evaluators: weights of words, tool steps and numbers, kept as JSON, and how they judge a trace.

A stored model scores with numpy alone, and decides as it did when it was measured, because its weights are rounded
before its threshold is set. What is stored is in linear.py, how the weights are found in fitting.py, what the features
are in features.py; whether a learned evaluator is better than a rule is decided in generation/choose.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from evalpipe.errors import ArtifactError
from evalpipe.evaluators.features import Features, column, features_of, words_in_words
from evalpipe.evaluators.linear import Program, StepFeature, sigmoid
from evalpipe.evaluators.scoring import grams_by_field, margins, number_field, number_terms
from evalpipe.evaluators.view import NUMBER_MEANINGS
from evalpipe.evaluators.words import Ints, Lexicon
from evalpipe.settings import GenerationSettings

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_CHUNK = 10_000  # traces explained at once: bounds the memory of one call
_MAX_REASONS = 3
_MAX_DESCRIBED = 5
_MAX_EXPECTED = 50  # features whose absence can be a reason


class _Feature(NamedTuple):
    """What an explanation needs of a feature that is present or not."""

    weight: float
    share: float
    said: str


@dataclass(frozen=True)
class LearnedModel:
    """A fitted model. `score` is in [0, 1], higher is more surely a failure; `flag` is the verdict."""

    program: Program

    @classmethod
    def fit(
        cls,
        view: pl.DataFrame,
        is_failure: Bools,
        weight: Floats,
        groups: Sequence[str],
        settings: GenerationSettings,
        seed: int,
    ) -> "LearnedModel":
        """Fit on all rows of `view`; strength, calibration and threshold come from folds inside them, by group."""
        return cls.fit_rows(features_of(view), np.arange(view.height), is_failure, weight, groups, settings, seed)

    @classmethod
    def fit_rows(
        cls,
        features: Features,
        rows: Ints,
        is_failure: Bools,
        weight: Floats,
        groups: Sequence[str],
        settings: GenerationSettings,
        seed: int,
    ) -> "LearnedModel":
        """Fit on some rows of features made once; the other arrays are those of all rows."""
        from evalpipe.evaluators.fitting import fit_program

        return cls(fit_program(features, rows, is_failure, weight, groups, settings, seed))

    @classmethod
    def from_program(cls, program: dict[str, Any]) -> "LearnedModel":
        """The model that `to_program` gave. Raises ArtifactError, saying where it is not one."""
        try:
            return cls(Program.model_validate(program))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "program"
            raise ArtifactError(f"learned evaluator: {where}: {first['msg']}. Generate the evaluator again.") from error

    def to_program(self) -> dict[str, Any]:
        """The model as JSON data."""
        return self.program.model_dump(mode="json")

    def score(self, view: pl.DataFrame) -> Floats:
        """The calibrated chance, among traces like the annotated ones, that the failure is present."""
        return scores([self], view)[0]

    def flag(self, view: pl.DataFrame) -> Bools:
        """Whether each trace is said to show the failure."""
        return self.score(view) >= self.program.threshold

    def explain(self, view: pl.DataFrame, flags: Bools | None = None) -> list[str]:
        """Per trace, the features that spoke most strongly for its verdict, in words; `flags` where they are known."""
        flags = self.flag(view) if flags is None else flags
        said = [""] * view.height
        for is_flagged in (True, False):
            rows = np.flatnonzero(flags == is_flagged)
            for start in range(0, len(rows), _CHUNK):
                some = rows[start : start + _CHUNK]
                for row, why in zip(some.tolist(), self._reasons(view[some], 1 if is_flagged else -1), strict=True):
                    said[row] = why
        return said

    def describe(self) -> str:
        """What the model looks for, in one sentence."""
        weighed = [(f.weight, f.said) for f in self._features]
        weighed += [(f.weight, f"{NUMBER_MEANINGS[f.field]} (the more)") for f in self.program.numbers]
        failing = [words for weight, words in sorted(weighed, key=lambda x: (-x[0], x[1])) if weight > 0]
        passing = [words for weight, words in sorted(weighed) if weight < 0]
        return (
            f"weighs {len(weighed)} features; most for a failure: {'; '.join(failing[:_MAX_DESCRIBED]) or 'nothing'}"
            f". Most against: {'; '.join(passing[:_MAX_DESCRIBED]) or 'nothing'}"
        )

    @cached_property
    def _lexicons(self) -> dict[str, Lexicon]:
        return {field: Lexicon.of(names) for field, (names, _) in grams_by_field(self.program).items()}

    def _reasons(self, view: pl.DataFrame, sign: int) -> list[str]:
        """Why each trace is flagged (`sign` 1) or not (-1): the strongest reasons, in words."""
        slope, features = self.program.slope, self._features
        # What is missing speaks too, if it is common: a trace is compared with the average one it was learned from.
        expected = sorted(range(len(features)), key=lambda i: -abs(features[i].weight * features[i].share))
        expected = expected[:_MAX_EXPECTED]
        known = [(sign * (slope * (f.weight * (1 - f.share))), f.said) for f in features]
        known += [
            (sign * (slope * (-features[i].weight * features[i].share)), f"no {features[i].said}") for i in expected
        ]
        # A reason weighs the same in every trace, so they are ranked once, and a trace takes the first that it has.
        ranked = sorted((i for i, (term, _) in enumerate(known) if term > 0), key=known.__getitem__, reverse=True)
        rank = np.full(len(known), -1, dtype=np.int64)
        rank[ranked] = np.arange(len(ranked))

        document, place = self._present(view)
        column_of = np.full(len(features), -1, dtype=np.int64)
        column_of[expected] = np.arange(len(expected))
        is_missing = np.ones((view.height, len(expected)), dtype=bool)
        is_expected = column_of[place] >= 0
        is_missing[document[is_expected], column_of[place[is_expected]]] = False
        lacking, which = np.nonzero(is_missing)
        of = np.concatenate([rank[place], rank[len(features) + which]])
        keys = np.sort((np.concatenate([document, lacking]) * len(known) + of)[of >= 0])
        start = np.searchsorted(keys, np.arange(view.height + 1) * len(known)).tolist()
        numbers = (sign * (slope * self._number_terms(view))).tolist()
        meanings = [NUMBER_MEANINGS[f.field] for f in self.program.numbers]
        said = []
        for row, terms in enumerate(numbers):
            first = keys[start[row] : min(start[row] + _MAX_REASONS, start[row + 1])] - row * len(known)
            reasons = [known[ranked[i]] for i in first.tolist()]
            reasons += [(term, meaning) for term, meaning in zip(terms, meanings, strict=True) if term > 0]
            said.append(_in_words(sorted(reasons, reverse=True), sign))
        return said

    def _step_values(self, view: pl.DataFrame) -> dict[str, Floats]:
        """The number fields that steps are cut from: many steps share one."""
        return {field: column(view, field) for field in sorted({step.field for step in self.program.steps})}

    @cached_property
    def _features(self) -> list[_Feature]:
        """The features that are present or not: words field by field, then steps of numbers."""
        words = [f for field in self._lexicons for f in self.program.words if f.field == field]
        return [
            *(_Feature(f.weight, f.share, words_in_words(f.field, f.words)) for f in words),
            *(_Feature(s.weight, s.share, _step_in_words(s)) for s in self.program.steps),
        ]

    def _present(self, view: pl.DataFrame) -> tuple[Ints, Ints]:
        """Pairs (trace, place in `_features`) that are present."""
        documents, places, start = [], [], 0
        for field, lexicon in self._lexicons.items():
            grams = lexicon.find(number_field(view, field, lexicon.vocabulary))
            documents.append(grams.document)
            places.append(grams.gram + start)
            start += len(lexicon.names)
        values = self._step_values(view)
        for i, step in enumerate(self.program.steps):
            rows = np.flatnonzero(values[step.field] >= step.value)
            documents.append(rows)
            places.append(np.full(len(rows), start + i))
        return np.concatenate([np.zeros(0, np.int64), *documents]), np.concatenate([np.zeros(0, np.int64), *places])

    def _number_terms(self, view: pl.DataFrame) -> Floats:
        """What each number adds to the margin: one column per number feature."""
        logs = {f.field: np.log1p(column(view, f.field)) for f in self.program.numbers}
        return number_terms(self.program, logs, view.height)


def scores(models: Sequence[LearnedModel], view: pl.DataFrame) -> list[Floats]:
    """What `score` gives for each of the models, all in one pass."""
    programs = [model.program for model in models]
    found = margins(programs, view)
    return [sigmoid(p.slope * margin + p.intercept) for p, margin in zip(programs, found, strict=True)]


def _step_in_words(step: StepFeature) -> str:
    return f"{NUMBER_MEANINGS[step.field]} at least {step.value:g}"


def _in_words(strongest: list[tuple[float, str]], sign: int) -> str:
    """Reasons for a verdict, the strongest first."""
    if not strongest:
        return "nothing in the trace speaks for this verdict but how common the failure is"
    return "; ".join(f"{words} ({sign * term:+.2f})" for term, words in strongest[:_MAX_REASONS])
