"""A learned evaluator as it is stored: a linear program over features, as checked data.

Judging with one is in learned.py, finding one in fitting.py.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from evalpipe.evaluators.features import MAX_WORDS, WORD_FIELDS
from evalpipe.evaluators.view import NUMBER_FIELDS

Floats = NDArray[np.float64]

_DIGITS = 6  # of every stored figure


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WordFeature(_Strict):
    """Present when `words` stand side by side in `field` (tool_sequence: steps such as 'search:ok')."""

    field: str
    words: tuple[str, ...] = Field(min_length=1, max_length=MAX_WORDS)
    weight: float
    share: float = Field(ge=0, le=1)  # of the traces it was learned from, that have it; for explanations


class StepFeature(_Strict):
    """Present when the number is at least `value`."""

    field: str
    value: float
    weight: float
    share: float = Field(ge=0, le=1)


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


def sigmoid(margin: Floats) -> Floats:
    """A margin as a chance in [0, 1]."""
    return 1 / (1 + np.exp(-np.clip(margin, -500, 500)))


def rounded(value: float) -> float:
    """`value` to the digits that are stored."""
    return float(f"{value:.{_DIGITS}g}")
