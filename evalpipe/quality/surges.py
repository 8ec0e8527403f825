"""Is an issue's rate rising? Hourly counts in, the times at which it began and ended to escalate out.

The counts are made in evaluators/rates.py; what an escalation means for an issue is decided in issues/.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.quality.sampling import Floats
from evalpipe.settings import VerificationSettings

_HOURS_A_WEEK = 168
_EPOCH_HOUR_OF_WEEK = 72  # 1970-01-01 was a Thursday; weeks start on Monday
_NS_AN_HOUR = 3_600 * 10**9
_MIN_BASELINE_HOURS = _HOURS_A_WEEK  # from the first that teaches: each hour of the week has been there once,
_MIN_BASELINE_DAYS = 5  # and so many days had traffic, the working days of a week
_MIN_BASELINE_JUDGED = 100  # fewer traces do not tell 1 % from 3 %
_MIN_SPREAD = 0.25  # of rates among the hours of a week, over their mean: four weeks never show that there is none
_N_WINDOWS = 2  # in a row must surge: the second is new evidence, and an hour later is still soon
_N_HOURS_FLAGGED = 2  # of a window that surges: one session that fails at every turn is no trend


class Turn(NamedTuple):
    """A change of state, dated by the end of the hour that showed it."""

    at: datetime  # UTC
    is_escalating: bool
    observed: int  # flagged traces of the window that ends there
    expected: float  # what is usual for as many judged traces at these hours of the week; 0 where nothing is usual yet
    error: float  # chance that usual traffic has so many or more
    reason: Literal["surge", "calm", "new_usual"]

    @property
    def ratio(self) -> float | None:
        """Times the usual rate; None where nothing is usual yet."""
        return self.observed / self.expected if self.expected else None


def turns(hours: pl.DataFrame, settings: VerificationSettings) -> list[Turn]:
    """When the rate of an issue began and ended to escalate, in order, beginning with an escalation.

    `hours`: `hour` (its start, UTC), n_judged, n_flagged of one version of the evaluator, each hour once and complete:
    an hour that is still going on is left out. Hours without a row are without traffic. What later hours hold never
    changes an earlier turn, so a replay gives the same ones.

    Each hour with judged traces is looked at with the `escalation_hours` that end with it. They surge where at least
    `escalation_floor` traces are flagged, in two hours or more; where these are `escalation_ratio` times the usual
    number; and where chance would bring so many with less than `escalation_error`. Two such windows in a row escalate.
    It ends when all windows of `dwell_hours` were below `calm_ratio`.

    What is usual at an hour of the week is its share of flagged traces in the `baseline_days` before the window,
    shrunken towards that of all hours (see `_usual`). Hours in which it escalates teach nothing; one that lasts so long
    that too little else is left has become what is usual: it ends, and the learning starts anew. Until a week, five of
    its days with traffic and a hundred judged traces, has taught nothing escalates.

    Measured on Poisson traffic of 8 weeks, 100 to 20,000 traces a day, four times as many by day as by night, shares of
    0.3 to 10 % that are even or follow the traffic: at most 0.0003 escalations a comparison. Where failures come in
    threes within an hour: 0.0014. Three times the usual rate is caught, in the median, within 6 hours where a window
    holds 15 usual failures or more, and within a day where it holds 2.5; rarer issues take days: 5 flags are the floor.
    """
    if hours.is_empty():
        return []
    return _replay(_Series.of(hours), settings)


class _Series(NamedTuple):
    """Every hour from the first to the last, gaps filled with nothing."""

    first: int  # hours since 1970
    n_judged: NDArray[np.int64]
    n_flagged: NDArray[np.int64]
    cell: NDArray[np.int64]  # hour of the week, Monday 00:00 is 0
    day: NDArray[np.int64]  # since 1970

    @classmethod
    def of(cls, hours: pl.DataFrame) -> "_Series":
        at = hours["hour"].dt.timestamp("ns").to_numpy() // _NS_AN_HOUR
        first = int(at.min())
        counts = np.zeros((2, int(at.max()) - first + 1), dtype=np.int64)
        counts[:, at - first] = hours.select("n_judged", "n_flagged").to_numpy().T
        since_1970 = np.arange(counts.shape[1]) + first
        cell = (since_1970 + _EPOCH_HOUR_OF_WEEK) % _HOURS_A_WEEK
        return cls(first, counts[0], counts[1], cell, since_1970 // 24)

    def end_of(self, index: int) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=self.first + index + 1)


def _replay(series: _Series, settings: VerificationSettings) -> list[Turn]:
    found: list[Turn] = []
    teaches = np.ones(len(series.cell), dtype=np.bool_)
    is_escalating, n_surging, calm_since = False, 0, None
    for now in map(int, np.flatnonzero(series.n_judged)):
        window = slice(max(0, now - settings.escalation_hours + 1), now + 1)
        if is_escalating:
            teaches[now] = False
            turn = _turn(series, window, teaches, settings, is_escalating=False)
            if turn.reason == "calm" and turn.observed >= settings.calm_ratio * turn.expected:
                calm_since = None
                continue
            calm_since = now if calm_since is None else calm_since
            if turn.reason == "new_usual" or now - calm_since + 1 >= settings.dwell_hours:
                is_escalating, n_surging = False, 0
                found.append(turn)
            if turn.reason == "new_usual":
                teaches[: window.stop] = False
            continue
        n_surging += 1
        # Most windows are told from these two counts, without learning what is usual.
        n_hours_flagged = np.count_nonzero(series.n_flagged[window])
        if series.n_flagged[window].sum() < settings.escalation_floor or n_hours_flagged < _N_HOURS_FLAGGED:
            n_surging = 0
            continue
        turn = _turn(series, window, teaches, settings, is_escalating=True)
        is_high = turn.expected > 0 and turn.observed >= settings.escalation_ratio * turn.expected
        if not is_high or turn.error > settings.escalation_error:
            n_surging = 0
        elif n_surging >= _N_WINDOWS:
            is_escalating, calm_since = True, None
            teaches[window] = False
            found.append(turn)
    return found


def _turn(
    series: _Series,
    window: slice,
    teaches: NDArray[np.bool_],
    settings: VerificationSettings,
    *,
    is_escalating: bool,
) -> Turn:
    """What the window shows, as the turn that it would be."""
    at = series.end_of(window.stop - 1)
    observed = int(series.n_flagged[window].sum())
    before = slice(max(0, window.start - settings.baseline_days * 24), window.start)
    usual = _usual(series, before, teaches[before])
    if usual is None:
        return Turn(at, is_escalating, observed, 0.0, 1.0, "new_usual")
    expected, variance = usual.in_window(series.cell[window], series.n_judged[window])
    error = _tail(observed, expected, variance)
    return Turn(at, is_escalating, observed, expected, error, "surge" if is_escalating else "calm")


class _Usual(NamedTuple):
    """What is known of the share of flagged traces at each hour of the week."""

    rate: Floats  # of each hour of the week
    variance: Floats  # of that hour's rate about its true one, the level known
    rest: Floats  # the part of each rate that is the level of all
    level_variance: float
    dispersion: float  # variance of an hour's flagged traces over their expected number; 1 for independent ones

    def in_window(self, cell: NDArray[np.int64], n_judged: NDArray[np.int64]) -> tuple[float, float]:
        """The expected number of flagged traces among these, and its variance."""
        expected = float((n_judged * self.rate[cell]).sum())
        unsure = float((n_judged**2 * self.variance[cell]).sum())
        unsure += float((n_judged * self.rest[cell]).sum()) ** 2 * self.level_variance
        return expected, self.dispersion * expected + unsure


def _usual(series: _Series, before: slice, teaches: NDArray[np.bool_]) -> _Usual | None:
    """What these hours teach; None where they are too few.

    Four weeks give an hour of the week four counts, often of nothing, so that its own share would be noise, and the
    share of all hours would take every busy noon of an application that fails more at noon for a surge. The empirical
    Bayes estimate lies between: as near to its own share as the hours truly differ, measured against the noise of each.
    They are taken to differ by a quarter at least. Source: Marshall (1991), Applied Statistics 40 (the global
    estimator). Failures come in sessions, so that their number varies by more than a Poisson's: by how much is taken
    from the same hours (Pearson's statistic over the expected number).
    """
    taught = np.flatnonzero(teaches & (series.n_judged[before] > 0))
    columns = (series.n_judged, series.n_flagged, series.cell, series.day)
    judged, flagged, cell, day = (column[before][taught] for column in columns)
    total = int(judged.sum())
    n_days = np.count_nonzero(np.diff(day, prepend=-1))
    n_hours = len(teaches) - int(taught[0]) if len(taught) else 0
    if n_hours < _MIN_BASELINE_HOURS or n_days < _MIN_BASELINE_DAYS or total < _MIN_BASELINE_JUDGED:
        return None
    n_judged = np.bincount(cell, judged, _HOURS_A_WEEK)
    n_flagged = np.bincount(cell, flagged, _HOURS_A_WEEK)
    level = (float(n_flagged.sum()) + 0.5) / total  # half a trace more: none flagged is not never
    seen = n_judged > 0
    noise = level / np.where(seen, n_judged, 1.0)
    own = n_flagged / np.where(seen, n_judged, 1.0)
    spread = float((n_judged * (own - level) ** 2).sum()) / total - level * np.count_nonzero(seen) / total
    between = max(spread, (_MIN_SPREAD * level) ** 2)
    trust = np.where(seen, between / (between + noise), 0.0)
    rate = level + trust * (own - level)
    expected = judged * rate[cell]
    dispersion = max(1.0, float(((flagged - expected) ** 2).sum() / expected.sum()))
    variance = np.where(seen, trust * noise, between)
    return _Usual(rate, variance, 1 - trust, level / total, dispersion)


def _tail(observed: int, expected: float, variance: float) -> float:
    """Chance of `observed` or more, of a negative binomial with this mean and variance: a Poisson of an unsure rate."""
    if observed <= 0:
        return 1.0
    excess = max(variance - expected, 1e-9 * expected)
    size = expected**2 / excess
    below = np.arange(1, observed)
    logs = size * math.log(size / (size + expected)) + np.concatenate(
        ([0.0], np.cumsum(np.log((below - 1 + size) / below * (expected / (size + expected)))))
    )
    return float(max(0.0, 1.0 - np.exp(logs).sum()))
