"""The verification arm of a queue: what people must read to say that a fix works, hits and passes of the evaluator.

How much reading a fix needs is worked out in issues/resolution.py and stands in VERIFICATIONS; the other arms are in
arms.py.
"""

import polars as pl

from evalpipe.review.queue.arms import draws_of
from evalpipe.settings import ReviewSettings

ARM = "verification"

WANTED = pl.Schema({"trace_id": pl.String, "inclusion_probability": pl.Float64, "turn": pl.Int64})
"""What verification asks for, in the order of `turn`; the chance is that of a pass among the passes, 1 for a hit."""

_HITS_OF_SOLVED = 5  # a cycle: enough to tell a return from false alarms
REASON = "drawn to check whether a fix works"  # the same for hits and passes: the reader's opinion is to be their own


def wanted_frame(
    verifications: pl.DataFrame, verdicts: pl.DataFrame, releases: pl.DataFrame, cycle: str, settings: ReviewSettings
) -> pl.DataFrame:
    """WANTED of a cycle: for each issue that is verified all hits and a random share of the passes, taken in turn.

    `verifications` are VERIFICATIONS, `verdicts` VERDICTS of the cycle's days (of one version, the newest, each trace),
    `releases` (trace_id, service_version) of its traces. Of a solved issue a few hits are asked for, so that a return
    is confirmed. The hash of the cycle and the trace draws the passes: built again, it draws the same.
    """
    asked = verifications.filter(pl.col("state").is_in(["verifying", "resolved"])).with_columns(
        n_passes=pl.when(pl.col("state") == "verifying")
        .then(pl.col("n_passes_needed") - pl.col("n_passes_read"))
        .otherwise(0),
        n_hits=pl.when(pl.col("state") == "verifying").then(None).otherwise(_HITS_OF_SOLVED),
    )
    judged = (
        verdicts.filter(pl.col("outcome") != "fault")
        .sort("version")
        .unique(["issue_id", "trace_id"], keep="last", maintain_order=True)
        .join(releases, on="trace_id")
        .join(asked.select("issue_id", "state", "releases", "n_passes", "n_hits"), on="issue_id")
        .filter(
            (pl.col("state") == "resolved") | pl.col("releases").list.contains(pl.col("service_version").fill_null(""))
        )
        .sort("issue_id", "trace_id")
    )
    if judged.is_empty():
        return pl.DataFrame(schema=WANTED)
    is_hit = pl.col("outcome") == "fail"
    drawn = judged.with_columns(
        draw=pl.Series(draws_of(judged["trace_id"], f"{settings.seed}/{cycle}/{ARM}/")["control"])
    ).with_columns(
        nth=pl.col("draw").rank("ordinal").over("issue_id", is_hit).cast(pl.Int64),
        n_alike=pl.len().over("issue_id", is_hit),
    )
    limit = pl.when(is_hit).then(pl.col("n_hits").fill_null(pl.col("n_alike"))).otherwise("n_passes")
    taken = drawn.filter(pl.col("nth") <= limit)
    chance = pl.when(is_hit).then(1.0).otherwise((pl.col("n_passes") / pl.col("n_alike")).clip(0, 1))
    return (
        taken.with_columns(inclusion_probability=chance)
        .sort(~is_hit, "nth", "issue_id")
        .unique("trace_id", keep="first", maintain_order=True)
        .with_columns(turn=pl.int_range(pl.len(), dtype=pl.Int64))
        .select(WANTED.names())
    )


def confirming_arm(
    pool: pl.DataFrame, wanted: pl.DataFrame, kept: pl.DataFrame, n_slots: int, share: float
) -> pl.DataFrame:
    """The rows of `pool` in the verification arm: at most `share` of the slots, what was read of it before included.

    `kept` are the rows of this queue's earlier build that were read: a draw that was read stays one, although fewer are
    asked for by now. Adds arm, queue, reasons, inclusion_probability and place, by which it is spread over the queue.
    """
    read = kept.filter(pl.col("arm") == ARM).select(
        "trace_id", "inclusion_probability", turn=pl.lit(-1, dtype=pl.Int64)
    )
    rows = pl.concat([read, wanted]).unique("trace_id", keep="first", maintain_order=True)
    return (
        pool.join(rows, on="trace_id", how="inner")
        .sort("turn", "trace_id")
        .head(max(read.height, int(share * n_slots)))
        .with_columns(
            arm=pl.lit(ARM),
            queue=pl.lit(ARM),
            reasons=pl.concat_list(pl.lit(REASON)),
            place=(pl.int_range(pl.len()) + 0.5) / pl.len(),
        )
        .drop("turn")
    )
