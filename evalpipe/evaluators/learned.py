"""Learned evaluators: weights of words, tool steps and numbers, kept as JSON, and how they judge a trace.

A stored model scores with numpy alone, and decides as it did when it was measured, because its weights are rounded
before its threshold is set. How the weights are found is in fitting.py, what the features are in features.py;
whether a learned evaluator is better than a rule is decided in generation/choose.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evalpipe.errors import ArtifactError
from evalpipe.evaluators.features import (
    MAX_WORDS,
    WORD_FIELDS,
    Features,
    column,
    features_of,
    split_field,
    words_in_words,
)
from evalpipe.evaluators.words import Gram, Ints, known_grams
from evalpipe.settings import GenerationSettings
from evalpipe.traces.view import NUMBER_FIELDS, NUMBER_MEANINGS

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_DIGITS = 6  # of every stored figure
_CHUNK = 10_000  # traces scored at once: bounds the memory of one call
_MAX_REASONS = 3
_MAX_DESCRIBED = 5


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WordFeature(_Strict):
    """Present when `words` stand side by side in `field` (tool_sequence: steps such as 'search:ok')."""

    field: str
    words: tuple[str, ...] = Field(min_length=1, max_length=MAX_WORDS)
    weight: float


class StepFeature(_Strict):
    """Present when the number is at least `value`."""

    field: str
    value: float
    weight: float


class NumberFeature(_Strict):
    """(log(1 + number) - mean) / sd, and 0 where the number is null."""

    field: str
    mean: float
    sd: float = Field(gt=0)
    weight: float


class Program(_Strict):
    """A learned evaluator as it is stored. score = sigmoid(slope * (bias + weights of what is present) + intercept)."""

    words: tuple[WordFeature, ...] = Field(max_length=100_000)
    steps: tuple[StepFeature, ...] = Field(max_length=1_000)
    numbers: tuple[NumberFeature, ...] = Field(max_length=1_000)
    bias: float
    slope: float = Field(ge=0)
    intercept: float
    threshold: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _fields_exist(self) -> "Program":
        for feature in self.words:
            if feature.field not in WORD_FIELDS:
                raise ValueError(f"words: no text field {feature.field!r}")
        for number in (*self.steps, *self.numbers):
            if number.field not in NUMBER_FIELDS:
                raise ValueError(f"no number field {number.field!r}")
        return self


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
        flags = self.flag(view)
        reasons: list[list[tuple[float, str]]] = [[] for _ in range(view.height)]
        for (document, feature), said in self._present(view):
            for i, j in zip(document.tolist(), feature.tolist(), strict=True):
                reasons[i].append(said[j])
        for i, row in enumerate(self._number_terms(view).tolist()):
            reasons[i] += [(term, NUMBER_MEANINGS[f.field]) for term, f in zip(row, self.program.numbers, strict=True)]
        return [_in_words(found, bool(flag)) for found, flag in zip(reasons, flags, strict=True)]

    def describe(self) -> str:
        """What the model looks for, in one sentence."""
        weighed = [(f.weight, words_in_words(f.field, f.words)) for f in self.program.words]
        weighed += [(f.weight, f"{NUMBER_MEANINGS[f.field]} at least {f.value:g}") for f in self.program.steps]
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
        for step in self.program.steps:
            margin += step.weight * (column(view, step.field) >= step.value)
        return margin + self._number_terms(view).sum(axis=1)

    def _present(self, view: pl.DataFrame) -> "list[tuple[tuple[Ints, Ints], list[tuple[float, str]]]]":
        """Per kind of feature: which (trace, feature) pairs are present, and what each feature weighs and says."""
        slope = self.program.slope
        found: list[tuple[tuple[Ints, Ints], list[tuple[float, str]]]] = []
        for field, names, weights in self._words_by_field:
            grams = known_grams(split_field(view, field), names)
            said = [(slope * w, words_in_words(field, name)) for w, name in zip(weights.tolist(), names, strict=True)]
            found.append(((grams.document, grams.gram), said))
        for step in self.program.steps:
            rows = np.flatnonzero(column(view, step.field) >= step.value)
            said = [(slope * step.weight, f"{NUMBER_MEANINGS[step.field]} at least {step.value:g}")]
            found.append(((rows, np.zeros(len(rows), dtype=np.int64)), said))
        return found

    def _number_terms(self, view: pl.DataFrame) -> Floats:
        """What each number adds to the margin: one column per number feature."""
        terms = [
            np.nan_to_num((np.log1p(column(view, f.field)) - f.mean) / f.sd) * f.weight for f in self.program.numbers
        ]
        return np.stack(terms, axis=1) if terms else np.zeros((view.height, 0))


def _in_words(reasons: list[tuple[float, str]], is_flagged: bool) -> str:
    sign = 1 if is_flagged else -1
    strongest = sorted(((sign * term, words) for term, words in reasons if sign * term > 0), reverse=True)
    if not strongest:
        return "nothing in the trace speaks for this verdict but how common the failure is"
    return "; ".join(f"{words} ({sign * term:+.1f})" for term, words in strongest[:_MAX_REASONS])


def sigmoid(margin: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(margin, -500, 500)))


def rounded(value: float) -> float:
    """`value` to the digits that are stored."""
    return float(f"{value:.{_DIGITS}g}")
