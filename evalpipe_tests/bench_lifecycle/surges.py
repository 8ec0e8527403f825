"""What escalates: months of usual traffic with its hours and weekends, in which nothing rises, and rates that do."""

from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl

from evalpipe.quality.surges import turns
from evalpipe.settings import VerificationSettings
from evalpipe.tables import UTC
from evalpipe_tests.bench_lifecycle.histories import MONDAY, WEEK_HOURS, issue_of

_WEEKS = 26
_WEEKS_USUAL = 8  # before a rate rises
_WATCH_HOURS = 28 * 24  # after it rose
_DAILY_SWING = 0.5  # of the failing share over the day, in every second history


class Usual(NamedTuple):
    """A history in which nothing rises."""

    weeks: float
    n_escalated: int


class Surge(NamedTuple):
    """A rate that rises, once and for good."""

    factor: float
    usual_flags: float  # in the hours that are compared, on average
    hours_until: float | None  # until it was said to escalate; None: it was not, within four weeks


def usual(seed: int, settings: VerificationSettings) -> Usual:
    """Half a year."""
    hours = _hours(seed, _WEEKS * WEEK_HOURS, 1.0, 0)
    return Usual(_WEEKS, sum(turn.is_escalating for turn in turns(hours, settings)))


def surge(seed: int, factor: float, settings: VerificationSettings) -> Surge:
    """Eight usual weeks, then the true rate is multiplied; false alarms stay as they are."""
    begins = _WEEKS_USUAL * WEEK_HOURS + int(np.random.default_rng([seed, 6]).integers(WEEK_HOURS))
    hours = _hours(seed, begins + _WATCH_HOURS, factor, begins)
    at = MONDAY + timedelta(hours=begins)
    told = [turn.at for turn in turns(hours, settings) if turn.is_escalating and turn.at > at]
    flags = hours.filter(pl.col("hour") < at)["n_flagged"].sum() / begins * settings.escalation_hours
    return Surge(factor, flags, (told[0] - at) / timedelta(hours=1) if told else None)


def _hours(seed: int, n_hours: int, factor: float, begins: int) -> pl.DataFrame:
    issue, draw = issue_of(seed), np.random.default_rng([seed, 5])
    hour = np.arange(n_hours)
    swing = 1 + (_DAILY_SWING * np.cos(2 * np.pi * (hour % 24 - 15) / 24) if seed % 2 else 0.0)
    rate = np.minimum(issue.rate_before * swing * np.where(hour >= begins, factor, 1.0), 0.9)
    n = draw.poisson(issue.per_day / 24 * issue.profile[hour % WEEK_HOURS])
    failing = draw.binomial(n, rate)
    flagged = draw.binomial(failing, issue.tpr) + draw.binomial(n - failing, issue.fpr)
    start: datetime = MONDAY
    at = pl.Series([start + timedelta(hours=int(each)) for each in hour], dtype=UTC)
    return pl.DataFrame({"hour": at, "n_judged": n, "n_flagged": flagged})
