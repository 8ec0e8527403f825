"""How often what an evaluator said of itself was true later: pure functions over frames of runs (runs.py).

Undefined is not zero, but a claim can be false of it: an evaluator that flags nothing later, or everything, has shown
no agreement, and counts here as 0.
"""

from collections.abc import Sequence

import polars as pl

from evalpipe.quality.intervals import Interval, wilson

CONFIDENCE = 0.9
MIN_LATER_POSITIVES = 20  # fewer later failures measure the later MCC worse than the interval is wide

_LATER = pl.col("later_mcc").fill_null(0)
_IS_CLAIM = pl.col("lower").is_not_null() & ~pl.col("is_permuted")
_CAN_BE_CHECKED = pl.col("later_n_positives") >= MIN_LATER_POSITIVES


def claims(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs that state an interval and have enough later failures to check it."""
    return runs.filter(_IS_CLAIM & _CAN_BE_CHECKED)


def summary(runs: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """Per value of `by` (all together without): n, how many intervals contain the later MCC (n_contained), how many
    lower and upper bounds hold alone (n_lower, n_upper), the means of held-out MCC, later MCC, gap (held-out minus
    later), its absolute value, and the optimism of in-sample figures (in-sample minus later).
    """
    measures = [
        pl.len().alias("n"),
        _LATER.is_between("lower", "upper").sum().alias("n_contained"),
        (pl.col("lower") <= _LATER).sum().alias("n_lower"),
        (pl.col("upper") >= _LATER).sum().alias("n_upper"),
        pl.col("held_out_mcc").mean(),
        _LATER.mean().alias("later_mcc"),
        (pl.col("held_out_mcc") - _LATER).mean().alias("gap"),
        (pl.col("held_out_mcc") - _LATER).abs().mean().alias("absolute_gap"),
        (pl.col("in_sample_mcc").fill_null(0) - _LATER).mean().alias("optimism"),
        (pl.col("upper") - pl.col("lower")).mean().alias("width"),
    ]
    checked = claims(runs)
    if not by:
        return checked.select(measures)
    return checked.group_by(by, maintain_order=True).agg(measures)


def declined(runs: pl.DataFrame) -> dict[str, int]:
    """How many runs on permuted labels ended in each status."""
    statuses = runs.filter("is_permuted").group_by("status").len().sort("status")
    return dict(statuses.iter_rows())


def share(n_true: int, n: int) -> tuple[float, Interval] | None:
    """A share with its Wilson interval; None of nothing. It takes runs for independent: those of one mode are not."""
    bounds = wilson(n_true, n, CONFIDENCE)
    return None if bounds is None else (n_true / n, bounds)
