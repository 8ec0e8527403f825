"""What is known of an issue's traffic: hours of verdicts, and traces that people have read. Frames in, frames out.

What follows from it for a fix is in resolution.py, for a solved issue in recurrence.py.
"""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from evalpipe.quality.confusion import Confusion
from evalpipe.tables import UTC, VERDICT_COUNTS

HOURS = pl.Schema(
    {
        "at": UTC,  # start of the first trace of the hour
        "release": pl.String,
        **{
            name: VERDICT_COUNTS.schema[name]
            for name in ("n_judged", "n_flagged", "judged_weight", "flagged_weight", "judged_weight_sq")
        },
    }
)
"""What the evaluator of one issue found in one hour of one release."""

READINGS = pl.Schema(
    {
        "at": UTC,  # start of the trace
        "read_at": UTC,
        "release": pl.String,
        "is_flagged": pl.Boolean,  # by the evaluator
        "is_failure": pl.Boolean,  # as people say
        "is_random": pl.Boolean,  # drawn without regard to what is in it
    }
)
"""The traces of one issue that both its evaluator and people have judged."""


@dataclass(frozen=True)
class Exposure:
    """All that is known of an issue's traffic, in any order. `agreement` is that of its evaluator with people, held
    out; None where the issue has none."""

    hours: pl.DataFrame  # HOURS
    readings: pl.DataFrame  # READINGS
    agreement: Confusion | None
    rate_before: float | None = None  # share of traffic that showed it before it was fixed; None when unknown

    def releases_from(self, since: datetime) -> list[str]:
        """The releases whose first trace started at `since` or later, in order of it: those before stay what they were.

        Traces that name no release are all taken for new ones.
        """
        hours = self.hours.filter((pl.col("release") != "") | (pl.col("at") >= since))
        first = hours.group_by("release").agg(pl.col("at").min()).filter(pl.col("at") >= since)
        return first.sort("at", "release")["release"].to_list()

    def of(self, releases: list[str], since: datetime, until: datetime | None = None) -> "Exposure":
        """The part that speaks of these releases, from `since` and before `until`."""
        inside = pl.col("release").is_in(releases) & (pl.col("at") >= since)
        if until is not None:
            inside &= pl.col("at") < until
        return Exposure(self.hours.filter(inside), self.readings.filter(inside), self.agreement, self.rate_before)

    def known_at(self, at: datetime) -> "Exposure":
        """What of it was known then."""
        hours, readings = self.hours.filter(pl.col("at") <= at), self.readings.filter(pl.col("read_at") <= at)
        return Exposure(hours, readings, self.agreement, self.rate_before)

    @property
    def n_judged(self) -> int:
        return int(self.hours["n_judged"].sum())

    @property
    def n_flagged(self) -> int:
        return int(self.hours["n_flagged"].sum())

    @property
    def tpr(self) -> float:
        """The share of failures that the evaluator flags, with Jeffreys' prior; a half where nothing is known."""
        found = self.agreement or Confusion(0, 0, 0, 0)
        return (found.tp + 0.5) / (found.tp + found.fn + 1)

    @property
    def latest(self) -> datetime | None:
        """When the last of it became known."""
        times = [self.hours["at"].max(), self.readings["read_at"].max()]
        return max((at for at in times if isinstance(at, datetime)), default=None)
