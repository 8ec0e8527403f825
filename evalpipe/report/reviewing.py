"""What reviewing found, as rows and sentences of the report: the queue's yield, prevalence, and how people agree. Pure.

The estimates are made in review/; here they are chosen, ordered and said. Drawing is in charts.py.
"""

from typing import Any, NamedTuple

import polars as pl

from evalpipe.pages import counted
from evalpipe.review.estimates import ALL_CYCLES

_ARMS = ("anomaly", "uncertainty", "control")


class Found(NamedTuple):
    """What reading the queue found, over all the weeks of the estimate and in the newest that somebody read."""

    arms: tuple[dict[str, Any], ...]  # QUEUE_YIELD rows over all weeks; empty before the first queue
    lift: dict[str, Any] | None  # of them the anomaly arm's, where its lift has at least a lower bound above 0
    n_cycles: int
    said: tuple[str, ...]


def queue_found(yields: pl.DataFrame) -> Found:
    """QUEUE_YIELD rows in words. With a single week there is one sentence: both would say the same."""
    cycles = yields.filter(pl.col("cycle") != ALL_CYCLES)
    n_cycles = cycles["cycle"].n_unique()
    if n_cycles == 0:
        return Found((), None, 0, ())
    read = cycles.filter(pl.col("n_reviewed") > 0)
    newest = (cycles if read.is_empty() else read)["cycle"].max()
    said = [f"In {newest}, {_compared(_by_arm(yields, newest))}"]
    pooled = _by_arm(yields, ALL_CYCLES)
    if n_cycles > 1:
        said.append(f"Over {n_cycles} weeks together, {_compared(pooled)}")
    lift = pooled.get("anomaly")
    return Found(tuple(pooled.values()), lift if lift and lift["lift_lower"] else None, n_cycles, tuple(said))


def prevalence_table(prevalence: pl.DataFrame, issues: pl.DataFrame) -> pl.DataFrame:
    """PREVALENCE rows with name and state of their issue, the most prevalent first; what nobody measured comes last."""
    return prevalence.join(issues.select("issue_id", "name", "state"), on="issue_id").sort(
        "prevalence", "issue_id", descending=[True, False], nulls_last=True
    )


def rates_table(rates: pl.DataFrame, issues: pl.DataFrame) -> pl.DataFrame:
    """ISSUE_RATES rows of these issues with their `name`: in the order of `issues`, then of the weeks."""
    named = issues.with_row_index("place").select("issue_id", "name", "place")
    return rates.join(named, on="issue_id").sort("place", "first_day").drop("place")


def agreement_table(agreement: pl.DataFrame) -> pl.DataFrame:
    """AGREEMENT over all, then of each reader with the others; without readers whom nobody read with."""
    return agreement.filter((pl.col("scope") != "issue") & (pl.col("n_traces") > 0)).sort("scope", "name")


def _by_arm(yields: pl.DataFrame, cycle: Any) -> dict[str, dict[str, Any]]:
    """The rows of a cycle by arm, the chosen one first and the random one last, to be compared with."""
    rows = {row["arm"]: row for row in yields.filter(pl.col("cycle") == cycle).iter_rows(named=True)}
    return {arm: rows[arm] for arm in _ARMS if arm in rows}


def _compared(arms: dict[str, dict[str, Any]]) -> str:
    """The lift of what the queue chose over what was drawn at random, as the second half of a sentence."""
    chosen, random = arms.get("anomaly"), arms.get("control")
    if chosen is None or not chosen["n_reviewed"]:
        return "none of the traces that the queue chose has been read yet."
    traces = f"{counted(chosen['n_reviewed'], 'trace')} that the queue chose"
    if random is None or not random["n_reviewed"]:
        found = f"{chosen['n_failures']:,} of {traces} failed"
        return f"{found}; none drawn at random has been read yet, so there is nothing to compare with."
    drawn = f"{random['n_reviewed']:,} read at random"
    value, lower, upper = chosen["lift"], chosen["lift_lower"], chosen["lift_upper"]
    if value is not None:
        doubt = "; that may still be chance" if lower <= 1 and (upper is None or upper >= 1) else ""
        span = f"at least {lower:.1f}" if upper is None else f"{lower:.1f} to {upper:.1f}"
        return f"{traces} failed {value:.1f} times as often as {drawn} ({span}{doubt})."
    if not chosen["n_failures"]:
        return f"none of {traces} failed, and none of {drawn}."
    least = f"at least {lower:.1f} times as often" if lower > 1 else "too few to tell them apart"
    return f"{chosen['n_failures']:,} of {traces} failed and none of {drawn}: {least}."
