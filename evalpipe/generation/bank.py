"""The pattern bank: every predicate worth asking of the examples of one issue, and which of them have it.

It is made without the labels and once per issue, so all folds share it without learning from one another. What there
is to ask is in mining.py, which predicates separate failures in patterns.py. Each predicate is a rule of the language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.rule_syntax import children
from evalpipe.evaluators.rules import Rule, compile_rule
from evalpipe.evaluators.view import TEXT_FIELDS
from evalpipe.evaluators.words import Ints
from evalpipe.generation.mining import MIN_CASES, mined
from evalpipe.ids import canonical_json

KINDS = ("tool", "number", "said", *TEXT_FIELDS, "proposed")
"""Kinds of predicate, from what shows the structure of a trace to its wording; earlier ones win ties.

tool: calls, their order and arguments; number: numbers of the view and shares of words that a source has, asked both
ways; said: words at a place; proposed: what a model thought of."""

Bools = NDArray[np.bool_]


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

    def with_proposed(self, rules: Sequence[Rule], view: pl.DataFrame) -> "Bank":
        """The bank with the predicates of further rules, those that hold of some of its examples and not of all.

        What combines them is left to the search.
        """
        from scipy.sparse import vstack

        asked = {canonical_json(leaf): leaf for rule in rules for leaf in _leaves(rule)}
        holds = view.select(compile_rule(leaf).alias(text) for text, leaf in asked.items())
        found = [(leaf, np.flatnonzero(holds[text].to_numpy())) for text, leaf in asked.items()]
        telling = [(leaf, examples) for leaf, examples in found if 0 < len(examples) < self.n_examples]
        if not telling:
            return self
        n = len(telling)
        return Bank(
            [*self.predicates, *(leaf for leaf, _ in telling)],
            np.concatenate([self.kind, np.full(n, KINDS.index("proposed"))]),
            np.concatenate([self.cost, _cost(np.full(n, n))]),
            vstack([self.presence, presence_of([examples for _, examples in telling], self.n_examples)]).tocsr(),
        )


def predicate_bank(view: pl.DataFrame, groups: Sequence[str]) -> Bank:
    """All predicates that three groups have and three have not; of those with the same examples, the simplest."""
    asked = list(mined(view))
    is_wide = _is_wide([examples for _, _, examples in asked], groups)
    kept: dict[bytes, tuple[int, Rule, Ints]] = {}
    n_considered = np.zeros(len(KINDS))
    for (name, rule, examples), is_kept in zip(asked, is_wide.tolist(), strict=True):
        if is_kept:
            kind = KINDS.index(name)
            n_considered[kind] += 1
            kept.setdefault(examples.astype(np.int32).tobytes(), (kind, rule, examples))
    found = list(kept.values())
    kinds = np.array([kind for kind, _, _ in found], dtype=np.int64)
    presence = presence_of([examples for _, _, examples in found], view.height)
    return Bank([rule for _, rule, _ in found], kinds, _cost(n_considered[kinds]), presence)


def _leaves(rule: Rule) -> list[Rule]:
    return [leaf for child in children(rule) for leaf in _leaves(child)] or [rule]


def _cost(n_considered: NDArray[Any]) -> NDArray[np.float64]:
    """Bits that say which predicate: its kind, and which of those of its kind."""
    return np.log2(len(KINDS)) + np.log2(np.maximum(n_considered, 1))


def presence_of(holds: list[Ints], n_examples: int) -> Any:
    """A scipy CSR matrix of ones where a predicate (row) holds of an example (column)."""
    from scipy.sparse import csr_matrix

    row, columns = _pairs(holds)
    return csr_matrix((np.ones(len(columns), np.float32), (row, columns)), shape=(len(holds), n_examples))


def _is_wide(holds: list[Ints], groups: Sequence[str]) -> Bools:
    """Whether three groups have the predicate and three have not, or all of them where there are fewer."""
    _, group, n_members = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    n_groups = len(n_members)
    row, example = _pairs(holds)
    pairs, n_inside = np.unique(row * max(n_groups, 1) + group[example], return_counts=True)
    row, of_group = pairs // max(n_groups, 1), pairs % max(n_groups, 1)
    n_with = np.bincount(row, minlength=len(holds))
    n_full = np.bincount(row[n_inside == n_members[of_group]], minlength=len(holds))
    least = min(MIN_CASES, n_groups)
    return (n_with >= least) & (n_groups - n_full >= least)


def _pairs(holds: list[Ints]) -> tuple[Ints, Ints]:
    """(predicate, example) for each example that a predicate holds of, as two arrays."""
    nothing = np.zeros(0, np.int64)
    return np.repeat(np.arange(len(holds)), [len(one) for one in holds]), np.concatenate([nothing, *holds])
