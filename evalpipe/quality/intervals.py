"""Intervals: of a share (Wilson), a difference of two (Newcombe), a Matthews correlation (resampled, Jeffreys)."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalpipe.quality.confusion import Bools, confusion, mcc

N_DRAWS = 2_000  # the 5 % quantile then moves by about 0.01 between seeds


class Interval(NamedTuple):
    """A lower and an upper bound."""

    lower: float
    upper: float


def wilson(n_successes: int, n: int, confidence: float) -> Interval | None:
    """Interval of a share in [0, 1]; None of nothing.

    Source: Wilson (1927); equals scipy.stats.binomtest(...).proportion_ci(method="wilson"), without the second that
    importing scipy costs a gate.
    """
    return wilson_of_share(n_successes / n, n, confidence) if n else None


def wilson_of_share(share: float, n: float, confidence: float) -> Interval:
    """Wilson's interval of a share that was seen in `n` units; weighted units may count as a fraction of one."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    spread = z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    lower = 0.0 if share == 0 else max(0.0, centre - half)
    upper = 1.0 if share == 1 else min(1.0, centre + half)
    return Interval(lower, upper)


def difference_interval(share: float, n: float, other: float, n_other: float, confidence: float) -> Interval:
    """Interval of `share` minus `other`, seen in `n` and `n_other` independent units, which may be fractions.

    A lower bound above 0 says that the first is larger beyond noise. Source: Newcombe (1998), Statistics in Medicine
    17, method 10.
    """
    mine, others = wilson_of_share(share, n, confidence), wilson_of_share(other, n_other, confidence)
    below = math.hypot(share - mine.lower, others.upper - other)
    above = math.hypot(mine.upper - share, other - others.lower)
    return Interval(share - other - below, share - other + above)


def mcc_interval(
    is_failure: Bools,
    is_flagged: Bools,
    groups: Sequence[str],
    *,
    confidence: float,
    seed: int,
    evidence: float = 1.0,
    prevalence: float | None = None,
) -> Interval | None:
    """Interval of the Matthews correlation, the wider of two ways at each end; None where the MCC is undefined.

    `evidence` is the share of the examples that counts: 1 for the figure itself, 0.5 for where the figure of as many
    later examples will lie, which vary as much again.

    Resampling whole groups (sessions) respects that traces of one session are alike, but collapses to [1, 1]
    on a perfect figure. Draws of the two error rates from their Jeffreys posteriors, at the observed
    prevalence, do not. With `prevalence` the interval is that of the same error rates where this share of the examples
    are failures. How often such intervals hold later figures was measured: docs/quality.md.
    """
    counts = confusion(is_failure, is_flagged)
    if mcc(counts) is None or (prevalence is not None and not 0 < prevalence < 1):
        return None
    generator = np.random.default_rng(seed)
    resampled = resampled_sums(cells_of(is_failure, is_flagged), groups, generator, share=evidence)
    drawn = [resampled, jeffreys_draws(counts, evidence, generator)]
    if prevalence is not None:
        drawn = [_at_prevalence(each, prevalence) for each in drawn]
    return widest([mcc_of_cells(each) for each in drawn], confidence)


def _at_prevalence(cells: NDArray[np.float64], prevalence: float) -> NDArray[np.float64]:
    """The same error rates with another share of failures; nan where a draw has none, or nothing else."""
    tp, fp, tn, fn = np.moveaxis(cells, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        tpr, tnr = tp / (tp + fn), tn / (tn + fp)
    rest = 1 - prevalence
    return np.stack([tpr * prevalence, (1 - tnr) * rest, tnr * rest, (1 - tpr) * prevalence], axis=-1)


def cells_of(is_failure: Bools, is_flagged: Bools) -> NDArray[np.float64]:
    """Each example as a row with a 1 in its cell: tp, fp, tn, fn."""
    cells = [is_failure & is_flagged, ~is_failure & is_flagged, ~is_failure & ~is_flagged, is_failure & ~is_flagged]
    return np.stack(cells, axis=1).astype(np.float64)


def resampled_sums(
    cells: NDArray[np.float64],
    groups: Sequence[str] | NDArray[np.str_],
    generator: np.random.Generator,
    *,
    share: float = 1.0,
) -> NDArray[np.float64]:
    """N_DRAWS sums over `cells` (its first axis is the examples), each of whole groups drawn with replacement.

    As many groups are drawn as there are, or a `share` of that.
    """
    _, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    n_groups = int(index.max()) + 1
    per_group = np.zeros((n_groups, *cells.shape[1:]))
    np.add.at(per_group, index, cells)
    n_drawn = max(1, round(share * n_groups))
    times_drawn = generator.multinomial(n_drawn, np.full(n_groups, 1 / n_groups), size=N_DRAWS)
    return (times_drawn @ per_group.reshape(n_groups, -1)).reshape(N_DRAWS, *cells.shape[1:])


def widest(draws: Sequence[NDArray[np.float64]], confidence: float) -> Interval:
    """The wider, at each end, of the intervals that several ways of drawing give. Draws that are nan do not count."""
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    defined = [d[~np.isnan(d)] for d in draws]
    bounds = np.array([np.quantile(d, tails) for d in defined if d.size])
    return Interval(float(bounds[:, 0].min()), float(bounds[:, 1].max()))


def jeffreys_draws(
    counts: tuple[int, int, int, int], evidence: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """N_DRAWS rows tp, fp, tn, fn: error rates from their Jeffreys posteriors, at the observed number of failures."""
    tp, fp, tn, fn = (evidence * count for count in counts)
    tpr = generator.beta(tp + 0.5, fn + 0.5, size=N_DRAWS)
    tnr = generator.beta(tn + 0.5, fp + 0.5, size=N_DRAWS)
    n_positives, n_negatives = tp + fn, tn + fp
    return np.stack([tpr * n_positives, (1 - tnr) * n_negatives, tnr * n_negatives, (1 - tpr) * n_positives], axis=1)


def mcc_of_cells(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Matthews correlation of counts or weights, on the last axis tp, fp, tn, fn; nan where undefined."""
    tp, fp, tn, fn = np.moveaxis(cells, -1, 0)
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(margins > 0, (tp * tn - fp * fn) / np.sqrt(margins), np.nan)
