"""Agreement of verdicts with labels: the confusion matrix and what follows. Positive is always *failure present*."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


class Confusion(NamedTuple):
    """Counts of examples; a fault is in none of them."""

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def n(self) -> int:
        """All examples counted."""
        return self.tp + self.fp + self.tn + self.fn

    @property
    def n_positives(self) -> int:
        """Examples that show the failure."""
        return self.tp + self.fn


def confusion(is_failure: Bools, is_flagged: Bools) -> Confusion:
    """Count two boolean arrays of one length: the label, and whether the evaluator said fail."""
    return Confusion(
        tp=int(np.sum(is_failure & is_flagged)),
        fp=int(np.sum(~is_failure & is_flagged)),
        tn=int(np.sum(~is_failure & ~is_flagged)),
        fn=int(np.sum(is_failure & ~is_flagged)),
    )


def mcc_of_rates(tpr: float, tnr: float, prevalence: float) -> float | None:
    """The Matthews correlation of an evaluator with these rates, where this share of the traces shows the failure.

    What people annotate is enriched with failures; the same evaluator agrees less with people where failures are rare.
    None where the correlation is undefined. Equals `mcc` of the expected counts.
    """
    flagged = tpr * prevalence + (1 - tnr) * (1 - prevalence)
    margins = flagged * (1 - flagged) * prevalence * (1 - prevalence)
    return None if margins <= 0 else (tpr + tnr - 1) * prevalence * (1 - prevalence) / math.sqrt(margins)


def mcc(counts: Confusion) -> float | None:
    """Matthews correlation of verdicts with labels, in [-1, 1]. None when a margin is empty: undefined is not zero.

    Source: Matthews (1975); equals sklearn.metrics.matthews_corrcoef where defined.
    """
    tp, fp, tn, fn = counts
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return None if margins == 0 else (tp * tn - fp * fn) / math.sqrt(margins)
