"""Where the marks of the charts of an issue stand, in shares of their width and height. The drawing is charts.html's.

Charts are SVG in the page itself, in percentages, so that they fit every screen and need no script. Those of the
written reports are in report/.
"""

from datetime import date, datetime
from itertools import pairwise
from typing import NamedTuple

import polars as pl

_MAX_POINTS = 24  # of a history, the newest: more cannot be told apart
_LEFT, _RIGHT = 4.0, 96.0  # per cent: a mark at the end is not cut
_TOP, _BOTTOM = 12.0, 132.0  # pixels
_DAYS_A_WEEK = 7


class Axis(NamedTuple):
    """The scale of MCC from 0 to 1, with the figures from which an evaluator watches and blocks. What lies below 0
    stands at its start: worth nothing, whatever its size."""

    monitor: float
    block: float

    def at(self, mcc: float) -> float:
        """The place of a figure, in per cent of the width."""
        return round(_LEFT + (_RIGHT - _LEFT) * min(max(mcc, 0.0), 1.0), 2)


def level(mcc: float) -> float:
    """The height of a figure in a history, in pixels from its top; below 0 as in `Axis`."""
    return round(_TOP + (_BOTTOM - _TOP) * (1 - min(max(mcc, 0.0), 1.0)), 1)


class Point(NamedTuple):
    """One measurement. at: its place from left to right, in per cent."""

    at: float
    version: int
    split: str
    measured_at: datetime
    mcc: float
    lower: float | None
    upper: float | None
    n: int
    n_failures: int


class History(NamedTuple):
    """Measurements on unseen traces, the oldest first, and how many of them have no MCC."""

    points: list[Point]
    n_undefined: int

    @property
    def lines(self) -> list[tuple[Point, Point]]:
        """Neighbours that are of one kind."""
        return [
            pair
            for split in ("held_out", "prospective")
            for own in [[point for point in self.points if point.split == split]]
            for pair in pairwise(own)
        ]


def history_of(quality: pl.DataFrame) -> History:
    """The held-out and prospective measurements among EVALUATOR_QUALITY rows, side by side in the order of time."""
    measured = quality.filter(pl.col("split").is_in(["held_out", "prospective"])).sort(
        "measured_at", "version", "split"
    )
    known = measured.filter(pl.col("mcc").is_not_null()).tail(_MAX_POINTS)
    step = (_RIGHT - _LEFT) / max(known.height - 1, 1)
    points = [
        Point(
            round(_LEFT + step * i, 2), row["version"], row["split"], row["measured_at"], row["mcc"],
            row["mcc_lower"], row["mcc_upper"], row["tp"] + row["fp"] + row["tn"] + row["fn"], row["tp"] + row["fn"],
        )
        for i, row in enumerate(known.iter_rows(named=True))
    ]  # fmt: skip
    return History(points, measured["mcc"].null_count())


class Week(NamedTuple):
    """How much of one week's traffic showed the issue. at: its place from left to right, in per cent."""

    at: float
    first_day: date
    share: float
    lower: float
    upper: float
    n_judged: int


class Commonness(NamedTuple):
    """The weeks with a figure, the oldest first, and the releases that came in between."""

    weeks: list[Week]
    releases: list[tuple[float, str]]  # place of the first day, in per cent, and name
    top: float  # the share at the top of the scale

    @property
    def lines(self) -> list[tuple[Week, Week]]:
        """Weeks that follow one another: none goes across a week without a figure."""
        return [(a, b) for a, b in pairwise(self.weeks) if (b.first_day - a.first_day).days == _DAYS_A_WEEK]

    def level(self, share: float) -> float:
        """The height of a share, in pixels from the top."""
        return round(_TOP + (_BOTTOM - _TOP) * (1 - share / self.top), 1)


def commonness_of(rates: pl.DataFrame, releases: pl.DataFrame) -> Commonness:
    """ISSUE_RATES rows of one issue in the order of time, and the first_day of each service_version in `releases`."""
    known = rates.filter(pl.col("prevalence").is_not_null()).sort("first_day")
    if known.is_empty():
        return Commonness([], [], 1.0)
    days: list[date] = known["first_day"].to_list()
    span = max((days[-1] - days[0]).days, 1)

    def place(day: date) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (day - days[0]).days / span, 2)

    weeks = [
        Week(place(day), day, share, lower, upper, n_judged)
        for day, share, lower, upper, n_judged in known.select(
            "first_day", "prevalence", "prevalence_lower", "prevalence_upper", "n_judged"
        ).iter_rows()
    ]
    marked = releases.filter(pl.col("first_day").is_between(days[0], days[-1])).sort("first_day", "service_version")
    named = marked.select("first_day", "service_version").iter_rows()
    return Commonness(weeks, [(place(day), name) for day, name in named], max(week.upper for week in weeks) or 1.0)
