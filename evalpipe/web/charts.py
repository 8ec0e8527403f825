"""Where the marks of the charts of MCC stand, in shares of their width and height. The drawing is charts.html's.

Charts are SVG in the page itself, in percentages, so that they fit every screen and need no script. Those of the
written reports are in report/.
"""

from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

import polars as pl

_MAX_POINTS = 24  # of a history, the newest: more cannot be told apart
_LEFT, _RIGHT = 4.0, 96.0  # per cent: a mark at the end is not cut
_TOP, _BOTTOM = 12.0, 132.0  # pixels


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
