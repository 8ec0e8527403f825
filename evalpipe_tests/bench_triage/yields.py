"""What reading found: failures per 100 traces, lift over random, first sightings, and how well each signal ranks.

Random reading is computed, not simulated: its expectation is exact.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.quality.intervals import Interval, wilson
from evalpipe.tables import SIGNALS

CONFIDENCE = 0.9
_N_DRAWS = 2_000
_SEED = 7


class Found(NamedTuple):
    """What one order found, over all worlds. Lift is its failing share over that of all traffic: random reading's."""

    order: str
    n_read: int
    n_failures: int
    rate: Interval | None  # of the failing share, Wilson; for worlds that share no trace
    lift: float
    lift_interval: Interval
    behind_first: float  # failing share of the first order over this one's
    behind_first_interval: Interval


def found(rows: pl.DataFrame, orders: Sequence[str], is_failure: pl.Expr) -> list[Found]:
    """What each order found among `rows`: a trace of a world, with `group` and one Boolean column per order.

    `group` is what was drawn as one: a session, in all the worlds it is in. Intervals resample groups, with the same
    draws for every order, so that comparisons are paired.
    """
    cells = [pl.len().alias("n"), is_failure.sum().alias("bad")]
    for order in orders:
        cells += [pl.col(order).sum().alias(f"{order}/n"), (pl.col(order) & is_failure).sum().alias(f"{order}/bad")]
    per_group = rows.group_by("group", maintain_order=True).agg(cells).drop("group").cast(pl.Float64)
    sums = np.vstack([per_group.to_numpy().sum(axis=0), _resampled(per_group)])  # the first row is what was observed
    of = dict(zip(per_group.columns, sums.T, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = {order: of[f"{order}/bad"] / of[f"{order}/n"] for order in orders}
        lifts = {order: rates[order] / (of["bad"] / of["n"]) for order in orders}
        behind = {order: rates[orders[0]] / rates[order] for order in orders}
    return [
        Found(
            order,
            n_read := int(of[f"{order}/n"][0]),
            n_failures := int(of[f"{order}/bad"][0]),
            wilson(n_failures, n_read, CONFIDENCE),
            float(lifts[order][0]),
            _middle(lifts[order][1:]),
            float(behind[order][0]),
            _middle(behind[order][1:]),
        )
        for order in orders
    ]


def first_sightings(read: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """order, mode, n_read: how many traces an order had read, over all cycles, when it first met the mode."""
    sizes = read.group_by("order", "cycle").agg(size=pl.len()).sort("order", "cycle")
    before = sizes.with_columns(before=pl.col("size").cum_sum().over("order") - pl.col("size")).drop("size")
    return (
        read.join(before, on=["order", "cycle"])
        .join(truth.explode("modes").drop_nulls("modes").rename({"modes": "mode"}), on="trace_id")
        .group_by("order", "mode")
        .agg(n_read=(pl.col("before") + pl.col("rank")).min())
        .sort("order", "mode")
    )


def chance_of_sighting(n_traces: Sequence[int], n_showing: Sequence[int], n_read: int) -> float:
    """That random reading, `n_read` of each cycle's `n_traces`, meets one of those `n_showing` a mode."""
    drawn = [(n, k, min(n_read, n)) for n, k in zip(n_traces, n_showing, strict=True)]
    return 1 - math.prod(math.comb(n - k, r) / math.comb(n, r) for n, k, r in drawn)


def ranking(signals: pl.DataFrame, is_failure: pl.Series) -> dict[str, float]:
    """Average precision of the anomaly score and of each signal's, best first. A useless one has the prevalence."""
    from sklearn.metrics import average_precision_score

    names = {"anomaly": "anomaly_score", **{name: f"{name}_score" for name in SIGNALS}}
    truth = is_failure.to_numpy()
    scores = {name: float(average_precision_score(truth, signals[column].to_numpy())) for name, column in names.items()}
    return dict(sorted(scores.items(), key=lambda score: -score[1]))


def _resampled(per_group: pl.DataFrame) -> NDArray[np.float64]:
    n = per_group.height
    times_drawn = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), size=_N_DRAWS)
    return times_drawn.astype(np.float64) @ per_group.to_numpy()


def _middle(draws: NDArray[np.float64]) -> Interval:
    """The middle `CONFIDENCE` of draws, nan of none: a draw without a failure says nothing."""
    tail = (1 - CONFIDENCE) / 2
    defined = draws[~np.isnan(draws)]
    if not defined.size:
        return Interval(math.nan, math.nan)
    # Not interpolated: an infinite draw (the other found nothing) is a value like any other.
    lower, upper = np.quantile(defined, [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(lower), float(upper))
