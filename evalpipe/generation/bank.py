"""The pattern bank: every predicate worth asking of the examples of one issue, and which of them have it.

It is made without the labels and once per issue, so all folds share it without learning from one another. Which
predicates separate failures is in patterns.py. Each predicate is a rule of the rule language.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.rules import Rule
from evalpipe.evaluators.words import Ints, frequent_grams, number_words, phrase_pattern, split_text
from evalpipe.traces.view import CALL_SEPARATOR, NUMBER_FIELDS, TEXT_FIELDS

KINDS = ("tool", "number", *TEXT_FIELDS)
"""Kinds of predicate, from what shows the structure of a trace to its wording; earlier ones win ties."""

_MAX_WORDS = 3  # of a phrase
_MIN_GROUPS = 3  # a predicate seen in fewer cases is about those cases
_MAX_PHRASES = 10_000  # of one field: those most evenly present
_MAX_TOOLS = 40  # the pairs of more are too many, and the rare ones too rare
_REPEATS = (2, 3, 4)  # numbers of calls asked for
_MAX_LEVELS = 32  # thresholds of one number

Bools = NDArray[np.bool_]
Row = tuple[Rule, Ints]  # a predicate, and the examples that have it


@dataclass(frozen=True)
class Bank:
    """Predicates by examples; `cost`: what naming a predicate takes, in bits: dearer the more of its kind there are."""

    predicates: list[Rule]
    kind: Ints  # index into KINDS
    cost: NDArray[np.float64]
    presence: Any  # scipy CSR matrix of ones, predicates by examples

    @property
    def n_examples(self) -> int:
        return self.presence.shape[1]


def predicate_bank(view: pl.DataFrame, groups: Sequence[str]) -> Bank:
    """All predicates that three groups have and three have not; of those with the same examples, the simplest."""
    from scipy.sparse import csr_matrix

    _, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    n_groups = int(group.max(initial=-1)) + 1
    kept: dict[bytes, tuple[int, Rule, Ints]] = {}
    n_considered = np.zeros(len(KINDS))
    for kind, rows in enumerate((_tools(view), _numbers(view), *(_phrases(view, field) for field in TEXT_FIELDS))):
        for rule, examples in rows:
            n_with = len(np.unique(group[examples]))
            is_absent = np.ones(len(group), dtype=bool)
            is_absent[examples] = False
            if n_with < min(_MIN_GROUPS, n_groups) or (len(np.unique(group[is_absent])) < min(_MIN_GROUPS, n_groups)):
                continue
            n_considered[kind] += 1
            kept.setdefault(examples.astype(np.int32).tobytes(), (kind, rule, examples))
    found = list(kept.values())
    kinds = np.array([kind for kind, _, _ in found], dtype=np.int64)
    starts = np.cumsum([0, *(len(examples) for _, _, examples in found)])
    columns = np.concatenate([examples for _, _, examples in found]) if found else np.zeros(0, np.int64)
    presence = csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape=(len(found), view.height))
    cost = np.log2(len(KINDS)) + np.log2(np.maximum(n_considered[kinds], 1))
    return Bank([rule for _, rule, _ in found], kinds, cost, presence)


def _tools(view: pl.DataFrame) -> Iterator[Row]:
    calls = (
        view.select(step=pl.col("tool_sequence").str.strip_chars(CALL_SEPARATOR).str.split(CALL_SEPARATOR))
        .with_row_index("example")
        .explode("step")
        .filter(pl.col("step").str.len_chars() > 0)
        .select(
            pl.col("example").cast(pl.Int64),
            tool=pl.col("step").str.replace(":(?:ok|err)$", ""),
            is_error=pl.col("step").str.ends_with(":err"),
        )
        .with_columns(place=pl.int_range(pl.len()).over("example"))
    )
    names = (
        calls.group_by("tool")
        .agg(n=pl.col("example").n_unique())
        .sort("n", "tool", descending=[True, False])
        .head(_MAX_TOOLS)["tool"]
        .sort()
        .to_list()
    )
    first = np.full((len(names), view.height), np.inf)
    last = np.full((len(names), view.height), -np.inf)
    length = np.bincount(calls["example"].to_numpy(), minlength=view.height)
    for i, name in enumerate(names):
        own = calls.filter(pl.col("tool") == name)
        example, place = own["example"].to_numpy(), own["place"].to_numpy().astype(np.float64)
        np.minimum.at(first[i], example, place)
        np.maximum.at(last[i], example, place)
        n_calls = np.bincount(example, minlength=view.height)
        n_errors = np.bincount(example, weights=own["is_error"].to_numpy(), minlength=view.height)
        yield {"op": "tool", "name": name, "status": "any", "min": 1, "max": None}, np.flatnonzero(n_calls)
        for status, n in (("error", n_errors), ("ok", n_calls - n_errors)):
            yield {"op": "tool", "name": name, "status": status, "min": 1, "max": None}, np.flatnonzero(n)
        for low in _REPEATS:
            yield {"op": "tool", "name": name, "status": "any", "min": low, "max": None}, np.flatnonzero(n_calls >= low)
        yield {"op": "last_tool", "name": name}, np.flatnonzero((n_calls > 0) & (last[i] == length - 1))
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            if i != j:
                yield {"op": "tool_before", "first": a, "then": b}, np.flatnonzero(first[i] < last[j])


def _numbers(view: pl.DataFrame) -> Iterator[Row]:
    for field in NUMBER_FIELDS:
        values = view[field].fill_null(float("nan")).to_numpy()
        for value in _levels(values):
            yield {"op": "number", "field": field, "compare": ">=", "value": value}, np.flatnonzero(values >= value)
            yield {"op": "number", "field": field, "compare": "<=", "value": value}, np.flatnonzero(values <= value)


def _levels(values: NDArray[np.float64]) -> list[float]:
    """Values between which to cut a number: between all neighbours, or evenly by rank when they are many."""
    known = np.sort(values[~np.isnan(values)])
    distinct = np.unique(known)
    if len(distinct) < 2:
        return []
    cuts = np.arange(len(distinct) - 1)
    if len(cuts) > _MAX_LEVELS:
        at = known[(np.linspace(0, 1, _MAX_LEVELS + 2)[1:-1] * (len(known) - 1)).astype(np.int64)]
        cuts = np.unique(np.minimum(np.searchsorted(distinct, at), len(distinct) - 2))
    return [_plainest_between(float(distinct[i]), float(distinct[i + 1])) for i in cuts]


def _plainest_between(low: float, high: float) -> float:
    """The number with the fewest digits strictly between two others."""
    middle = (low + high) / 2
    for n_digits in range(1, 17):
        if low < (plain := float(f"{middle:.{n_digits}g}")) < high:
            return plain
    return middle


def _phrases(view: pl.DataFrame, field: str) -> Iterator[Row]:
    words = number_words(split_text(view[field]))
    grams = frequent_grams(words, view.height, max_length=_MAX_WORDS, min_documents=_MIN_GROUPS)
    order = np.argsort(grams.gram, kind="stable")
    document, gram = grams.document[order], grams.gram[order]
    n_with = np.bincount(gram, minlength=len(grams.names))
    ends = np.cumsum(n_with)
    evenness = np.minimum(n_with, view.height - n_with)
    # Shorter phrases come first among equals, so that they are the ones kept.
    for i in np.sort(np.argsort(-evenness, kind="stable")[:_MAX_PHRASES]).tolist():
        rule = {"op": "regex", "field": field, "pattern": phrase_pattern(grams.names[i])}
        yield rule, document[ends[i] - n_with[i] : ends[i]]
