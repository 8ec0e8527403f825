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
from evalpipe.evaluators.features import (
    Features,
    column,
    features_of,
    split_field,
    words_in_words,
)
from evalpipe.evaluators.linear import Program, StepFeature, WordFeature, sigmoid
from evalpipe.evaluators.view import NUMBER_MEANINGS
from evalpipe.evaluators.words import Gram, Ints, known_grams
from evalpipe.settings import GenerationSettings

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_CHUNK = 10_000  # traces scored at once: bounds the memory of one call
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
        parts = [self._score(view.slice(start, _CHUNK)) for start in range(0, view.height, _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def flag(self, view: pl.DataFrame) -> Bools:
        """Whether each trace is said to show the failure."""
        return self.score(view) >= self.program.threshold

    def explain(self, view: pl.DataFrame) -> list[str]:
        """Per trace, the features that spoke most strongly for its verdict, in words."""
        slope, features = self.program.slope, self._features
        present: list[set[int]] = [set() for _ in range(view.height)]
        for document, feature in zip(*(part.tolist() for part in self._present(view)), strict=True):
            present[document].add(feature)
        # What is missing speaks too, if it is common: a trace is compared with the average one it was learned from.
        expected = sorted(range(len(features)), key=lambda i: -abs(features[i].weight * features[i].share))
        expected = expected[:_MAX_EXPECTED]
        said: list[str] = []
        flags, numbers = self.flag(view), self._number_terms(view)
        for found, row, is_flagged in zip(present, numbers.tolist(), flags.tolist(), strict=True):
            terms = [(features[i].weight * (1 - features[i].share), features[i].said) for i in found]
            terms += [
                (-features[i].weight * features[i].share, f"no {features[i].said}") for i in expected if i not in found
            ]
            terms += [(term, NUMBER_MEANINGS[f.field]) for term, f in zip(row, self.program.numbers, strict=True)]
            said.append(_in_words([(slope * term, words) for term, words in terms], is_flagged))
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
    def _words_by_field(self) -> list[tuple[str, list[Gram], Floats]]:
        by_field: dict[str, list[WordFeature]] = {}
        for feature in self.program.words:
            by_field.setdefault(feature.field, []).append(feature)
        return [
            (field, [f.words for f in features], np.array([f.weight for f in features]))
            for field, features in by_field.items()
        ]

    def _score(self, view: pl.DataFrame) -> Floats:
        return sigmoid(self.program.slope * self._margin(view) + self.program.intercept)

    def _margin(self, view: pl.DataFrame) -> Floats:
        margin = np.full(view.height, self.program.bias)
        for field, names, weights in self._words_by_field:
            found = known_grams(split_field(view, field), names)
            margin += np.bincount(found.document, weights=weights[found.gram], minlength=view.height)
        values = self._step_values(view)
        for step in self.program.steps:
            margin += step.weight * (values[step.field] >= step.value)
        return margin + self._number_terms(view).sum(axis=1)

    def _step_values(self, view: pl.DataFrame) -> dict[str, Floats]:
        """The number fields that steps are cut from: many steps share one."""
        return {field: column(view, field) for field in sorted({step.field for step in self.program.steps})}

    @cached_property
    def _features(self) -> list[_Feature]:
        """The features that are present or not: words field by field, then steps of numbers."""
        words = [f for field in self._words_by_field for f in self.program.words if f.field == field[0]]
        return [
            *(_Feature(f.weight, f.share, words_in_words(f.field, f.words)) for f in words),
            *(_Feature(s.weight, s.share, _step_in_words(s)) for s in self.program.steps),
        ]

    def _present(self, view: pl.DataFrame) -> tuple[Ints, Ints]:
        """Pairs (trace, place in `_features`) that are present."""
        documents, places, start = [], [], 0
        for field, names, _ in self._words_by_field:
            grams = known_grams(split_field(view, field), names)
            documents.append(grams.document)
            places.append(grams.gram + start)
            start += len(names)
        values = self._step_values(view)
        for i, step in enumerate(self.program.steps):
            rows = np.flatnonzero(values[step.field] >= step.value)
            documents.append(rows)
            places.append(np.full(len(rows), start + i))
        return np.concatenate([np.zeros(0, np.int64), *documents]), np.concatenate([np.zeros(0, np.int64), *places])

    def _number_terms(self, view: pl.DataFrame) -> Floats:
        """What each number adds to the margin: one column per number feature."""
        terms = [
            np.nan_to_num((np.log1p(column(view, f.field)) - f.mean) / f.sd) * f.weight for f in self.program.numbers
        ]
        return np.stack(terms, axis=1) if terms else np.zeros((view.height, 0))


def scores(models: Sequence[LearnedModel], view: pl.DataFrame) -> list[Floats]:
    """The score of each model for each row of `view`."""
    return [model.score(view) for model in models]


def _step_in_words(step: StepFeature) -> str:
    return f"{NUMBER_MEANINGS[step.field]} at least {step.value:g}"


def _in_words(reasons: list[tuple[float, str]], is_flagged: bool) -> str:
    sign = 1 if is_flagged else -1
    strongest = sorted(((sign * term, words) for term, words in reasons if sign * term > 0), reverse=True)
    if not strongest:
        return "nothing in the trace speaks for this verdict but how common the failure is"
    return "; ".join(f"{words} ({sign * term:+.2f})" for term, words in strongest[:_MAX_REASONS])
