"""Agreement of readers with one another on yes-or-no questions: Cohen's kappa, Krippendorff's alpha, and the ceiling.

Agreement of an evaluator with people is in confusion.py and intervals.py. Here no reader is the truth.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalpipe.quality.confusion import Bools
from evalpipe.quality.intervals import N_DRAWS, Interval, resampled_sums, widest

Floats = NDArray[np.float64]

_JEFFREYS = 0.5  # observations imagined in each cell


class Figure(NamedTuple):
    """A figure with its interval; None where it is undefined: nobody read twice, or all answers are alike."""

    value: float | None
    interval: Interval | None


class Agreement(NamedTuple):
    """How far readers agree."""

    n_units: int  # that two or more read
    n_readers: int  # of them
    kappa: Figure
    alpha: Figure
    ceiling: Figure


_UNDEFINED = Figure(None, None)


def agreement(
    units: Sequence[str],
    readers: Sequence[str],
    says_yes: Bools,
    groups: Sequence[str],
    *,
    confidence: float,
    seed: int,
    of_reader: str | None = None,
) -> Agreement:
    """Agreement over opinions given as four columns of one length: what was read, by whom, the answer, its session.

    A reader has one opinion of a unit, and a unit lies in one group. With `of_reader` only the pairs that this reader
    is in count. `kappa` is Cohen's, the mean over pairs of readers weighted by what both read; `alpha` Krippendorff's
    for nominal answers with gaps. `ceiling` is the Matthews correlation that an evaluator without a fault would reach
    against the answers of one such reader: the square root of that of two readers with each other (the correction for
    attenuation; exact for yes and no where readers err independently). Source: Cohen (1960); Krippendorff (2011);
    Spearman (1904).

    Each interval is the wider of two at either end: groups resampled, and draws from the posterior of the cells with
    Jeffreys' prior, because resampling a perfect agreement says that nothing else was possible.
    """
    opinions = _Opinions.of(units, readers, says_yes, groups)
    pairs = [pair for pair in combinations(opinions.readers, 2) if of_reader is None or of_reader in pair]
    cells = opinions.cells(pairs)
    is_read, is_pair = cells.sum(axis=(1, 2)) > 0, cells.sum(axis=(0, 2)) > 0
    if not is_read.any():
        return Agreement(0, 0, _UNDEFINED, _UNDEFINED, _UNDEFINED)
    # Of m readers of a unit each has m - 1 others: weighted so, every opinion counts once. Source: Krippendorff.
    pooled = (cells.sum(axis=1, keepdims=True) / np.maximum(opinions.n_others, 1)[:, None, None])[is_read]
    groups_read = opinions.groups[is_read]
    generator = np.random.default_rng(seed)
    return Agreement(
        n_units=int(is_read.sum()),
        n_readers=len({name for place in np.flatnonzero(is_pair) for name in pairs[place]}),
        kappa=_figure(_kappa, cells[is_read][:, is_pair], groups_read, generator, confidence),
        alpha=_figure(_alpha, pooled, groups_read, generator, confidence),
        ceiling=_figure(_ceiling, pooled, groups_read, generator, confidence),
    )


class _Opinions(NamedTuple):
    readers: list[str]
    answers: Floats  # units x readers: 1 yes, 0 no, nan unread
    groups: NDArray[np.str_]  # of each unit

    @classmethod
    def of(cls, units: Sequence[str], readers: Sequence[str], says_yes: Bools, groups: Sequence[str]) -> "_Opinions":
        names, reader = np.unique(np.asarray(readers, dtype=str), return_inverse=True)
        unit_names, first, unit = np.unique(np.asarray(units, dtype=str), return_index=True, return_inverse=True)
        answers = np.full((len(unit_names), len(names)), np.nan)
        answers[unit, reader] = says_yes
        return cls(names.tolist(), answers, np.asarray(groups, dtype=str)[first])

    @property
    def n_others(self) -> NDArray[np.int_]:
        """Of each unit, its readers less one."""
        return (~np.isnan(self.answers)).sum(axis=1) - 1

    def cells(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """units x pairs x [both yes, first yes, second yes, both no]; all zero where one of them did not read it."""
        cells = np.zeros((len(self.answers), len(pairs), 4))
        for place, pair in enumerate(pairs):
            a, b = (self.answers[:, self.readers.index(name)] for name in pair)
            cells[:, place] = np.stack([(a == x) & (b == y) for x, y in ((1, 1), (1, 0), (0, 1), (0, 0))], axis=1)
        return cells


def _figure(
    measure: Callable[[Floats], Floats],
    cells: Floats,
    groups: NDArray[np.str_],
    generator: np.random.Generator,
    confidence: float,
) -> Figure:
    seen = float(measure(cells.sum(axis=0)[None])[0])
    if math.isnan(seen):
        return _UNDEFINED
    draws = [resampled_sums(cells, groups, generator), _posterior(cells.sum(axis=0), generator)]
    return Figure(seen, widest([measure(drawn) for drawn in draws], confidence))


def _posterior(cells: Floats, generator: np.random.Generator) -> Floats:
    # One prior over all pairs: many pairs that read little each must not drown in it.
    shares = generator.standard_gamma(cells + _JEFFREYS / len(cells), size=(N_DRAWS, *cells.shape))
    return shares / shares.sum(axis=(1, 2), keepdims=True) * cells.sum()


def _kappa(cells: Floats) -> Floats:
    """Cohen's kappa of each draw (draws x pairs x 4), the mean over the pairs for which it is defined."""
    n = cells.sum(axis=2)
    yes = [cells[:, :, 0] + cells[:, :, other] for other in (1, 2)]
    with np.errstate(invalid="ignore", divide="ignore"):
        agreed = (cells[:, :, 0] + cells[:, :, 3]) / n
        by_chance = (yes[0] * yes[1] + (n - yes[0]) * (n - yes[1])) / n**2
        kappa = np.where(by_chance < 1, (agreed - by_chance) / (1 - by_chance), np.nan)
        weight = np.where(np.isnan(kappa), 0, n)
        return np.nansum(kappa * weight, axis=1) / weight.sum(axis=1)


def _alpha(cells: Floats) -> Floats:
    """Krippendorff's alpha of each draw."""
    both_yes, differ, both_no = cells[:, 0, 0], cells[:, 0, 1] + cells[:, 0, 2], cells[:, 0, 3]
    n_yes, n_no = 2 * both_yes + differ, 2 * both_no + differ
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = 2 * n_yes * n_no / (n_yes + n_no - 1)
        return np.where(expected > 0, 1 - 2 * differ / expected, np.nan)


def _ceiling(cells: Floats) -> Floats:
    """The root of the readers' Matthews correlation, each pair counted both ways, so that the order is nobody's."""
    both_yes, differ, both_no = cells[:, 0, 0], cells[:, 0, 1] + cells[:, 0, 2], cells[:, 0, 3]
    n_yes, n_no = 2 * both_yes + differ, 2 * both_no + differ
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(n_yes * n_no > 0, (4 * both_yes * both_no - differ**2) / (n_yes * n_no), np.nan)
        return np.sqrt(np.maximum(correlation, 0))
