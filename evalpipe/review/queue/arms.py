"""Three arms of a queue: what is drawn at random, what the evaluators are unsure of, and in which order the rest.

The control and uncertainty arms are random samples of all traces with known chances, and speak for all traffic
(estimates.py). The anomaly arm is chosen, and speaks for nothing but itself. What is read to verify a fix is in
confirming.py, who reads in dealing.py.
"""

import hashlib
import math

import numpy as np
import polars as pl

from evalpipe.quality.sampling import Floats, inclusion_probabilities, pareto_sample
from evalpipe.settings import ReviewSettings

DRAWN = ("control", "uncertainty")
"""The arms that are random samples, and the queues of traces that were drawn for them."""

UNSURENESS = pl.Schema({"trace_id": pl.String, "unsureness": pl.Float64, "doubt": pl.String})
"""How unsure the evaluators are of a trace, in (0, 1], and why in words."""

_DOUBTS = {
    "fault": "an evaluator could not judge it",
    "disagree": "two versions of an evaluator disagree about it",
    "unsure": "an evaluator is unsure of it",
}
# Not which failure it looks for, nor which way it leans: the reader's opinion is to be their own.


def unsureness_frame(verdicts: pl.DataFrame) -> pl.DataFrame:
    """UNSURENESS of the traces that VERDICTS rows speak of, without those that are sure.

    Of a score it is 1 - |2 score - 1|; a fault is unsure, and so are the two newest versions of one evaluator that
    contradict each other. Of several evaluators the least sure counts.
    """
    newest = (
        verdicts.sort("evaluator_id", "trace_id", "version", descending=[False, False, True])
        .group_by("evaluator_id", "trace_id", maintain_order=True)
        .agg(outcomes=pl.col("outcome").head(2), score=pl.col("score").first())
    )
    has = pl.col("outcomes").list.contains
    is_fault = pl.col("outcomes").list.first() == "fault"
    disagrees = has("pass") & has("fail")
    return (
        newest.select(
            "trace_id",
            unsureness=pl.when(is_fault | disagrees)
            .then(1.0)
            .otherwise(1 - (2 * pl.col("score").clip(0, 1) - 1).abs())
            .fill_null(0.0),
            doubt=pl.when(is_fault)
            .then(pl.lit(_DOUBTS["fault"]))
            .when(disagrees)
            .then(pl.lit(_DOUBTS["disagree"]))
            .otherwise(pl.lit(_DOUBTS["unsure"])),
        )
        .filter(pl.col("unsureness") > 0)
        .sort("unsureness", "doubt", descending=[True, False])
        .unique("trace_id", keep="first", maintain_order=True)
        .sort("trace_id")
    )


def chance_arms(
    pool: pl.DataFrame, unsureness: pl.DataFrame, cycle: str, n_slots: int, settings: ReviewSettings
) -> pl.DataFrame:
    """The rows of `pool` in the control and uncertainty arms, in the order of the draw, which says nothing of them.

    Both are drawn from all traces, independently: the control arm uniformly, the uncertainty arm in proportion to
    unsureness. What both drew stands in the control arm. `inclusion_probability` is the chance that either took the
    trace, 1 - (1 - p)(1 - q), so that the two together are one sample with known chances. The hash of the seed, the
    cycle and the trace decides: drawn again, the arms are the same. Adds arm, inclusion_probability and place, in
    (0, 1), by which each arm is spread over the queue.
    """
    uniforms = draws_of(pool["trace_id"], f"{settings.seed}/{cycle}/")
    sizes = pool.join(unsureness, on="trace_id", how="left", maintain_order="left")
    n_control = _n_drawn(settings.control_share, n_slots)
    n_drawn = {
        "control": n_control,
        "uncertainty": min(n_slots - n_control, _n_drawn(settings.uncertainty_share, n_slots)),
    }
    of_arm = {"control": np.ones(pool.height), "uncertainty": sizes["unsureness"].fill_null(0.0).to_numpy()}
    chances = {arm: inclusion_probabilities(of_arm[arm], n_drawn[arm]) for arm in n_drawn}
    either = chances["control"] + (1 - chances["control"]) * chances["uncertainty"]
    described = sizes.with_columns(inclusion_probability=pl.Series(either, dtype=pl.Float64))
    reasons = {"control": pl.lit("drawn at random from all traffic"), "uncertainty": pl.col("doubt")}
    drawn = [
        described[pareto_sample(chances[arm], uniforms[arm])].with_columns(
            arm=pl.lit(arm),
            queue=pl.lit(arm),
            reasons=pl.concat_list(reasons[arm]),
            place=(pl.int_range(pl.len()) + 0.5) / pl.len(),
        )
        for arm in n_drawn
    ]
    return pl.concat(drawn).unique("trace_id", keep="first", maintain_order=True).drop("unsureness", "doubt")


def by_impact(pool: pl.DataFrame, n_slots: int, settings: ReviewSettings) -> pl.DataFrame:
    """`pool` in the order in which the anomaly arm takes it.

    The k-th trace of a pattern is worth its priority over k: each further copy tells less, so that every pattern comes
    early, the frequent ones first and oftener, and wherever a reader stops, what was read was worth most. Beyond
    `max_pattern_share` of the slots a pattern waits until all others are through; so do traces on which no signal is
    flagged, until the flagged ones are.
    """
    quota = max(1, math.floor(settings.max_pattern_share * n_slots))
    return (
        pool.sort("priority", "trace_id", descending=[True, False])
        .with_columns(nth=1 + pl.int_range(pl.len()).over("pattern_id"))
        .sort(
            pl.col("nth") > quota,
            "is_flagged",
            pl.col("priority") / pl.col("nth"),
            "trace_id",
            descending=[False, True, True, False],
        )
        .drop("nth")
        .with_columns(arm=pl.lit("anomaly"), inclusion_probability=pl.lit(1.0))
    )


def second_draw(trace_ids: pl.Series, cycle: str, settings: ReviewSettings) -> list[str]:
    """`trace_ids` in the order in which they are given a second reader: by hash, whatever arm they are in."""
    order = np.argsort(draws_of(trace_ids, f"{settings.seed}/{cycle}/second/")["control"], kind="stable")
    return trace_ids[order].to_list()


def _n_drawn(share: float, n_slots: int) -> int:
    """At least one where there is a share at all: a queue without a control says nothing of all traffic."""
    return min(n_slots, max(1, math.floor(share * n_slots + 0.5))) if share > 0 else 0


def draws_of(trace_ids: pl.Series, salt: str) -> dict[str, Floats]:
    """Two independent numbers in [0, 1) for each trace, from one hash of the salt and its id."""
    digests = b"".join(hashlib.sha256((salt + trace_id).encode()).digest()[:16] for trace_id in trace_ids)
    words = np.frombuffer(digests, dtype=">u8").reshape(-1, 2) >> 11  # 53 bits, as many as a float holds
    numbers = words.astype(np.float64) / 2.0**53
    return {"control": numbers[:, 0], "uncertainty": numbers[:, 1]}
