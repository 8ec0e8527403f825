"""What a trace has, as features of a learned evaluator: word sequences, tool steps, numbers and steps of numbers.

No label is known here. What the features weigh is fitted in fitting.py and stored by learned.py.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.view import NUMBER_FIELDS, TEXT_FIELDS, TEXT_MEANINGS
from evalpipe.evaluators.words import Gram, Ints, frequent_grams, number_words, split_steps, split_text

Floats = NDArray[np.float64]

STEPS = "tool_sequence"
WORD_FIELDS = (*TEXT_FIELDS, STEPS)
MAX_WORDS = 2  # of a word sequence
_MIN_TRACES = 2  # what occurs once says nothing of a second trace
_LEVELS = np.linspace(0.1, 0.9, 9)  # quantiles at which a number becomes steps: its effect need not be a line


@dataclass(frozen=True)
class Features:
    """What a view's traces have, without any label: made once, used by every fold."""

    n: int
    document: Ints  # pairs (document, feature): the features present
    feature: Ints
    names: list[tuple[str, Gram | float]]  # (field, words) or (field, least value)
    block: Ints  # of each feature: its place in WORD_FIELDS, or their number for a step of a number
    numbers: Floats  # log(1 + number), one column per NUMBER_FIELDS, NaN where null

    @cached_property
    def matrix(self) -> Any:
        """The pairs as a sparse matrix of ones, traces by features."""
        from scipy.sparse import csr_matrix

        shape = (self.n, len(self.names))
        return csr_matrix((np.ones(len(self.document)), (self.document, self.feature)), shape=shape)


def features_of(view: pl.DataFrame) -> Features:
    """Words and word pairs, tool steps and pairs of them, and steps of numbers that at least two traces have."""
    parts: list[tuple[Ints, Ints]] = []
    names: list[tuple[str, Gram | float]] = []
    for field in WORD_FIELDS:
        words = number_words(split_field(view, field))
        grams = frequent_grams(words, view.height, max_length=MAX_WORDS, min_documents=_MIN_TRACES)
        parts.append((grams.document, grams.gram + len(names)))
        names += [(field, gram) for gram in grams.names]
    for field in NUMBER_FIELDS:
        values = column(view, field)
        for threshold in _thresholds(values):
            present = np.flatnonzero(values >= threshold)
            parts.append((present, np.full(len(present), len(names))))
            names.append((field, threshold))
    document = np.concatenate([part[0] for part in parts])
    feature = np.concatenate([part[1] for part in parts])
    numbers = np.log1p(np.stack([column(view, field) for field in NUMBER_FIELDS], axis=1))
    blocks = [len(WORD_FIELDS) if isinstance(what, float) else WORD_FIELDS.index(field) for field, what in names]
    return Features(view.height, document, feature, names, np.array(blocks, dtype=np.int64), numbers)


def split_field(view: pl.DataFrame, field: str) -> pl.Series:
    """The words of a text field, or the steps of the tool sequence."""
    return split_steps(view[field]) if field == STEPS else split_text(view[field])


def column(view: pl.DataFrame, field: str) -> Floats:
    """A number field, NaN where null, never negative."""
    return np.maximum(view[field].cast(pl.Float64).fill_null(float("nan")).to_numpy(), 0.0)


def _thresholds(values: Floats) -> list[float]:
    """Values at which to cut a number (NaN where null): half-way between neighbours, about its deciles."""
    known = np.unique(values[~np.isnan(values)])
    if len(known) < 2:
        return []
    middles = (known[:-1] + known[1:]) / 2
    at = np.quantile(values[~np.isnan(values)], _LEVELS)
    nearest = middles[np.minimum(np.searchsorted(middles, at), len(middles) - 1)]
    return [float(f"{value:.6g}") for value in np.unique(nearest).tolist()]


def words_in_words(field: str, gram: Gram) -> str:
    """A word feature for people."""
    if field == STEPS:
        steps = [{"^": "the start", "$": "the end"}.get(step, step) for step in gram]
        return "tool step " + " then ".join(steps)
    return f'"{" ".join(gram)}" in {TEXT_MEANINGS[field]}'
