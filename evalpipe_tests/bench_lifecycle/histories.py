"""Months of an issue's traffic: true failures, what its evaluator flags of them, and releases. Made week by week."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.issues.exposure import HOURS
from evalpipe.quality.confusion import Confusion

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
WEEK_HOURS = 168
WEEKS_BEFORE = 4  # with the failure, before the fix is deployed

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Issue:
    """An issue as it truly is: how often it occurs, how well its evaluator tells it, and what is known of that."""

    rate_before: float
    tpr: float
    fpr: float
    errors: Confusion  # held out, what the pipeline knows of the two
    per_day: float  # traces
    profile: Floats = field(repr=False)  # relative traffic of each hour of a week, mean 1


class Now(NamedTuple):
    """What is true in one hour."""

    rate: float
    tpr: float
    release: str


class Week(NamedTuple):
    """One week's traffic: a row an hour. `missed` failures pass the evaluator, `alarms` are flagged without one."""

    start: datetime
    releases: list[str]
    n: Counts
    found: Counts
    missed: Counts
    alarms: Counts

    @property
    def hours(self) -> pl.DataFrame:
        """HOURS; every trace is judged."""
        flagged = self.found + self.alarms
        at = [self.start + timedelta(hours=hour) for hour in range(len(self.n))]
        weights = {"judged_weight": self.n, "flagged_weight": flagged, "judged_weight_sq": self.n}
        rows = pl.DataFrame(
            {"at": at, "release": self.releases, "n_judged": self.n, "n_flagged": flagged, **weights},
            schema_overrides=HOURS,
        )
        return rows.filter(pl.col("n_judged") > 0)


def issue_of(seed: int, *, rate_before: float | None = None) -> Issue:
    """Drawn anew from each seed. In six of ten the failure is in 3 % of the traffic, in the others in 1 to 10 %."""
    draw = np.random.default_rng([seed, 1])
    usual = draw.random() < 0.6
    rate = 0.03 if usual else float(np.exp(draw.uniform(np.log(0.01), np.log(0.1))))
    tpr, fpr = draw.uniform(0.7, 0.95), draw.uniform(0.0, 0.02)
    n_positives = int(draw.integers(10, 41))
    tp, fp = int(draw.binomial(n_positives, tpr)), int(draw.binomial(4 * n_positives, fpr))
    return Issue(
        rate_before=rate if rate_before is None else rate_before,
        tpr=tpr,
        fpr=fpr,
        errors=Confusion(tp=tp, fp=fp, tn=4 * n_positives - fp, fn=n_positives - tp),
        per_day=float(np.exp(draw.uniform(np.log(40), np.log(500)))),
        profile=profile(depth=draw.uniform(0.3, 0.9), weekend=draw.uniform(0.2, 1.0)),
    )


def profile(*, depth: float, weekend: float) -> Floats:
    """Relative traffic of each hour of a week, mean 1: a wave that is highest at 15:00, and less at the weekend."""
    hour = np.arange(WEEK_HOURS)
    wave = 1 + depth * np.cos(2 * np.pi * (hour % 24 - 15) / 24)
    shape = wave * np.where(hour < 5 * 24, 1.0, weekend)
    return shape / shape.mean()


def traffic(issue: Issue, start: datetime, now: list[Now], draw: np.random.Generator) -> Week:
    """The hours from `start`, a Monday, on: as many as `now` has."""
    rate, tpr = np.array([each.rate for each in now]), np.array([each.tpr for each in now])
    n = draw.poisson(issue.per_day / 24 * issue.profile[: len(now)])
    failing = draw.binomial(n, rate)
    found = draw.binomial(failing, tpr)
    alarms = draw.binomial(n - failing, issue.fpr)
    return Week(start, [each.release for each in now], n, found, failing - found, alarms)
