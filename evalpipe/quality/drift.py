"""Has it changed? The agreement of an evaluator with people since it was made, and the traffic that it judges. Pure.

Which examples and which traces are compared is said in evaluators/health.py and signals/drift.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.pages import counted
from evalpipe.quality.confusion import Bools, Confusion, confusion, mcc
from evalpipe.quality.intervals import Interval, cells_of, jeffreys_draws, mcc_of_cells, resampled_sums, widest
from evalpipe.settings import MonitorSettings

Floats = NDArray[np.float64]

_EMPTY_CELL = 0.5  # observations imagined in each cell: an empty one says rare, not never
_N_SHUFFLES = 400  # of the weeks: the 95 % quantile then moves by some per cent between seeds
_NOISE_QUANTILE = 0.95


class Examples(NamedTuple):
    """Labelled traces with what an evaluator said of them, as columns of one length. A group is a session."""

    is_failure: Bools
    is_flagged: Bools
    groups: Sequence[str]

    @property
    def counts(self) -> Confusion:
        return confusion(self.is_failure, self.is_flagged)

    def part(self, rows: slice) -> "Examples":
        return Examples(self.is_failure[rows], self.is_flagged[rows], self.groups[rows])


class Change(NamedTuple):
    """The Matthews correlation of two sets of examples, and the second minus the first. None where undefined."""

    before: float | None
    recent: float | None
    value: float | None
    interval: Interval | None  # also where an evaluator flags nothing of the second set, which has no MCC

    @property
    def is_fall(self) -> bool:
        """Whether it fell beyond noise."""
        return self.interval is not None and self.interval.upper < 0


class Finding(NamedTuple):
    """What a change means: holds, unknown, overfitted or drifted; and why, in words."""

    finding: str
    reason: str
    change: Change

    @property
    def is_fall(self) -> bool:
        return self.finding in ("overfitted", "drifted")


def change_of_mcc(before: Examples, recent: Examples, *, confidence: float, seed: int) -> Change:
    """How far agreement changed from `before` to `recent`, with its interval, the wider of two ways at each end.

    Sessions are resampled over both sets at once, since one may have traces in both; and the error rates of each set
    are drawn from their Jeffreys posteriors, because resampling a perfect figure says that nothing else was possible.
    """
    first, second = mcc(before.counts), mcc(recent.counts)
    value = None if first is None or second is None else second - first
    if first is None or not len(recent.is_failure):
        return Change(first, second, value, None)
    generator = np.random.default_rng(seed)
    cells = np.zeros((len(before.is_failure) + len(recent.is_failure), 2, 4))
    cells[: len(before.is_failure), 0] = cells_of(before.is_failure, before.is_flagged)
    cells[len(before.is_failure) :, 1] = cells_of(recent.is_failure, recent.is_flagged)
    resampled = mcc_of_cells(resampled_sums(cells, [*before.groups, *recent.groups], generator))
    posterior = [mcc_of_cells(jeffreys_draws(each.counts, 1.0, generator)) for each in (before, recent)]
    draws = [resampled[:, 1] - resampled[:, 0], posterior[1] - posterior[0]]
    if all(np.isnan(each).all() for each in draws):
        return Change(first, second, value, None)
    return Change(first, second, value, widest(draws, confidence))


def finding_of(
    promised: Examples,
    recent: Examples,
    *,
    has_traffic_shifted: bool,
    settings: MonitorSettings,
    confidence: float,
    seed: int,
) -> Finding:
    """Whether an evaluator agrees with people on `recent` labels as it did on the `promised` ones, and if not, why.

    `recent` stands in order of labelling. Unknown with fewer than `settings.min_recent` new labels or
    `settings.min_recent_failures` failures among them. It holds while the change may be noise. Else it fell:
    overfitted where the first half of the new labels already fell beyond noise: it never was as good as it looked;
    drifted where that half did not and the traffic has shifted since, or the second half is worse than the first beyond
    noise: what it learned is no longer so; overfitted where nothing shows that anything changed.
    """

    def change(first: Examples, second: Examples) -> Change:
        return change_of_mcc(first, second, confidence=confidence, seed=seed)

    whole = change(promised, recent)
    counts = recent.counts
    if counts.n < settings.min_recent or counts.n_positives < settings.min_recent_failures or whole.interval is None:
        return Finding("unknown", _too_few(counts, settings), whole)
    bounds = f"change {whole.interval.lower:+.2f} to {whole.interval.upper:+.2f}"
    fall = fall_in_words(whole.before, whole.recent, counts.n)
    if not whole.is_fall:
        recent_mcc = "undefined" if whole.recent is None else f"{whole.recent:.2f}"
        said = f"on {counted(counts.n, 'new label')} its MCC is {recent_mcc}, held out it was {whole.before:.2f}"
        return Finding("holds", f"{said}: no more than noise ({bounds})", whole)
    half = counts.n // 2
    early, late = (recent.part(slice(half)), recent.part(slice(half, None)))
    if change(promised, early).is_fall:
        finding, why = "overfitted", f"the first {half} already agreed less: it never was as good as it looked"
        why += "; the traffic has shifted besides" if has_traffic_shifted else ""
    elif has_traffic_shifted:
        finding, why = "drifted", f"the first {half} do not show it, and the traffic has shifted since"
    elif change(early, late).is_fall:
        finding, why = "drifted", f"the first {half} do not show it, and the later ones are worse than they are"
    else:
        finding, why = "overfitted", "neither the traffic nor the labels show a change since it was made"
    return Finding(finding, f"{fall} ({bounds}); {why}", whole)


def fall_in_words(before: float | None, recent: float | None, n_recent: int) -> str:
    """'its agreement fell from 0.84 to 0.31 on 28 new labels'"""
    figures = ["undefined" if figure is None else f"{figure:.2f}" for figure in (before, recent)]
    return f"its agreement fell from {figures[0]} to {figures[1]} on {counted(n_recent, 'new label')}"


def demotions(health: pl.DataFrame) -> pl.DataFrame:
    """evaluator_id, version and `demotion`, in words, of those evaluators in EVALUATOR_HEALTH that fell."""
    fallen = health.filter("is_demoted").select("evaluator_id", "version", "mcc_held_out", "mcc_recent", "n_recent")
    words = [fall_in_words(*figures) for figures in fallen.select("mcc_held_out", "mcc_recent", "n_recent").rows()]
    return fallen.select("evaluator_id", "version", demotion=pl.Series(words, dtype=pl.String))


def psi(before: Floats, recent: Floats) -> Floats:
    """Population stability index of two counts over the same cells (the last axis); 0: alike, from 0.2 shifted.

    Half an observation is added to every cell. Source: Siddiqi (2006), Credit Risk Scorecards; it is the symmetrised
    Kullback-Leibler divergence.
    """
    shares = [_shares(counts) for counts in (before, recent)]
    return ((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum(axis=-1)


def contributions(before: Floats, recent: Floats) -> Floats:
    """What each cell adds to `psi`; all are at least 0."""
    shares = [_shares(counts) for counts in (before, recent)]
    return (shares[1] - shares[0]) * np.log(shares[1] / shares[0])


def psi_by_chance(features: Sequence[Floats], is_recent: Bools, *, seed: int) -> list[float]:
    """For each feature the PSI that chance alone stays below, for all of them together, in 95 of 100 weeks.

    A feature is the counts of each session (rows) over its cells; `is_recent` says which sessions are the recent ones.
    Sessions are shuffled between the two times: so traces of one session, and words of one text, may be alike, for
    which the chi-square approximation (1/n1 + 1/n2) chi2(k - 1) is too small. The quantile is that of the largest of
    all features, each in units of its own: with thirty features one of them looks odd in most weeks.
    """
    generator = np.random.default_rng(seed)
    shuffled = np.stack([generator.permutation(is_recent) for _ in range(_N_SHUFFLES)]).astype(np.float64)
    drawn: list[Floats] = []
    for counts in features:
        recent = shuffled @ counts
        drawn.append(psi(counts.sum(axis=0) - recent, recent))
    usual = [float(np.quantile(each, _NOISE_QUANTILE)) for each in drawn]
    worst = np.max([each / max(unit, 1e-12) for each, unit in zip(drawn, usual, strict=True)], axis=0)
    factor = float(np.quantile(worst, _NOISE_QUANTILE))
    return [factor * unit for unit in usual]


def _shares(counts: Floats) -> Floats:
    imagined = counts + _EMPTY_CELL
    return imagined / imagined.sum(axis=-1, keepdims=True)


def _too_few(counts: Confusion, settings: MonitorSettings) -> str:
    found = f"{counted(counts.n, 'label')} since it was made, {counts.n_positives} of them failures"
    needed = f"{settings.min_recent} and {settings.min_recent_failures} are needed to say"
    if counts.n >= settings.min_recent and counts.n_positives >= settings.min_recent_failures:
        return f"{found}: all are of one kind, or nothing was held out, which says nothing of its agreement"
    return f"{found}; {needed}"
