"""What simpler ways than generation reach on the same held-out examples: an evaluator must be worth more than these."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalpipe.evaluators.words import Ints
from evalpipe.generation.bank import Bank
from evalpipe.generation.competitors import Material, out_of_fold
from evalpipe.generation.flags import Flags
from evalpipe.generation.patterns import count
from evalpipe.quality.intervals import mcc_of_cells

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class BestPredicate(NamedTuple):
    """A predicate of the bank, or its negation."""

    place: int
    is_negated: bool


def constant(material: Material) -> Flags:
    """Always the commoner label; its MCC is undefined, which is why accuracy says nothing where failures are rare."""
    examples = material.examples
    return Flags.all_known(np.full(len(examples.is_failure), examples.n_positives > examples.n_negatives))


def best_single_predicate(material: Material) -> Flags:
    """The one predicate that agrees best with the other folds."""
    presence = material.bank.presence.tocsr()

    def predict(train: Ints, test: Ints, seed: int) -> Bools:
        del seed
        best = best_predicate(material.bank, train, material.examples.is_failure, material.examples.weight)
        if best is None:
            return np.zeros(len(test), dtype=bool)
        holds = presence[best.place].toarray().ravel()[test] > 0
        return holds != best.is_negated

    return out_of_fold(material, predict)


def best_predicate(bank: Bank, rows: Ints, is_failure: Bools, weight: Floats) -> BestPredicate | None:
    """The predicate with the largest MCC among `rows`, either way round; None where none has one."""
    counts = count(bank, rows, is_failure, weight)
    tp, fp = counts.positive, counts.negative
    agreement = mcc_of_cells(np.stack([tp, fp, counts.n_negative - fp, counts.n_positive - tp], axis=1))
    if not np.isfinite(agreement).any():
        return None
    place = int(np.nanargmax(np.round(np.abs(agreement), 12)))
    return BestPredicate(place, bool(agreement[place] < 0))
