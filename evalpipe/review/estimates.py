"""What the queues say of all traffic, and of themselves: yield and lift of each arm, prevalence and evaluator recall.

The statistics are in quality/sampling.py; how the arms are drawn, and with which chances, is in arms.py.
"""

import polars as pl

from evalpipe.quality.intervals import wilson
from evalpipe.quality.sampling import Estimate, lift, weighted_share
from evalpipe.review.queue.arms import DRAWN
from evalpipe.review.queue.confirming import ARM
from evalpipe.settings import ReviewSettings
from evalpipe.tables import PREVALENCE, QUEUE_YIELD

ALL_CYCLES = "all"
"""In QUEUE_YIELD, the cycle of the row that takes all of them together."""


def yield_frame(queued: pl.DataFrame, findings: pl.DataFrame, settings: ReviewSettings) -> pl.DataFrame:
    """QUEUE_YIELD of CANDIDATES rows and of what people found in them (`finding_frame`).

    One row for each cycle and arm, and one for each arm over all of them: a control of ten traces a week says little.
    A trace counts once a cycle, in the last cycle that queued it: it was carried over because nobody had read it.
    Second opinions on earlier traces, and draws that are none any more, belong to no arm; verification looks for
    nothing, and has no yield.
    """
    lapsed = (pl.col("arm") == "anomaly") & pl.col("queue").is_in(DRAWN)
    searched = queued.filter(pl.col("arm") != ARM, ~lapsed, ~pl.col("is_second_opinion").fill_null(False))
    firsts = searched.unique(["cycle", "trace_id"])
    is_last = pl.col("cycle") == pl.col("cycle").max().over("trace_id")
    read = firsts.join(findings, on="trace_id", how="left").with_columns(is_failure=pl.when(is_last).then("is_failure"))
    counts = (
        pl.concat([read, read.with_columns(cycle=pl.lit(ALL_CYCLES))])
        .group_by("cycle", "arm")
        .agg(n_queued=pl.len(), n_reviewed=pl.col("is_failure").count(), n_failures=pl.col("is_failure").sum())
        .sort("cycle", "arm")
    )
    control = counts.filter(pl.col("arm") == "control").select("cycle", base="n_failures", n_base="n_reviewed")
    figures = [_yield_row(row, settings.confidence) for row in counts.join(control, on="cycle", how="left").to_dicts()]
    return QUEUE_YIELD.conform(pl.DataFrame(figures, schema=QUEUE_YIELD.schema))


def prevalence_frame(
    queued: pl.DataFrame,
    labels: pl.DataFrame,
    traffic: pl.DataFrame,
    verdicts: pl.DataFrame,
    issues: pl.DataFrame,
    settings: ReviewSettings,
) -> pl.DataFrame:
    """PREVALENCE of each issue over the days of `traffic`: day, cycle, service_name, n_traces.

    The control and uncertainty arms of these days, as far as they were read, weighted by one over their chance; within
    a cycle the weights add up to its traffic, so that a week of which more was read does not count for more. That
    nobody chose what to leave unread is assumed: the arms are spread over the queue in the order of the draw. Recall is
    of the newest version with verdicts on these days; a fault finds nothing.
    """
    days = (traffic["day"].min(), traffic["day"].max())
    drawn = (
        queued.filter(
            pl.col("arm").is_in(DRAWN), ~pl.col("is_second_opinion").fill_null(False), pl.col("day").is_between(*days)
        )
        .select("cycle", "trace_id", "inclusion_probability")
        .unique("trace_id", keep="first")
    )
    newest = verdicts.filter(pl.col("version") == pl.col("version").max().over("evaluator_id"))
    rows = [
        _prevalence_row(
            issue_id,
            traffic.filter(pl.col("service_name").is_in(services)),
            drawn.join(labels.filter(pl.col("issue_id") == issue_id), on="trace_id").sort("trace_id"),
            newest.filter(pl.col("issue_id") == issue_id),
            settings.confidence,
        )
        for issue_id, services in issues.sort("issue_id").select("issue_id", "services").iter_rows()
    ]
    schema = {name: dtype for name, dtype in PREVALENCE.schema.items() if name not in ("first_day", "last_day")}
    return PREVALENCE.conform(
        pl.DataFrame(rows, schema=schema).with_columns(first_day=pl.lit(days[0]), last_day=pl.lit(days[1]))
    )


def _yield_row(counts: dict[str, int], confidence: float) -> dict[str, object]:
    n_failures, n_reviewed = counts["n_failures"], counts["n_reviewed"]
    bounds = wilson(n_failures, n_reviewed, confidence)
    over = None
    if counts["arm"] != "control" and counts["n_base"]:
        over = lift(n_failures, n_reviewed, counts["base"], counts["n_base"], confidence)
    return {
        **{name: counts[name] for name in ("cycle", "arm", "n_queued", "n_reviewed", "n_failures")},
        "failure_rate": n_failures / n_reviewed if n_reviewed else None,
        "failure_rate_lower": bounds and bounds.lower,
        "failure_rate_upper": bounds and bounds.upper,
        "lift": over and over.value,
        "lift_lower": over and over.lower,
        "lift_upper": over and over.upper,
        "confidence": confidence,
    }


def _prevalence_row(
    issue_id: str, traffic: pl.DataFrame, sample: pl.DataFrame, verdicts: pl.DataFrame, confidence: float
) -> dict[str, object]:
    of_cycle = traffic.group_by("cycle").agg(pl.col("n_traces").sum())
    chance = 1 / pl.col("inclusion_probability")
    weighted = sample.join(of_cycle, on="cycle", how="left", maintain_order="left").with_columns(
        weight=chance / chance.sum().over("cycle") * pl.col("n_traces")
    )
    failures = weighted.filter("is_failure").join(
        verdicts.select("trace_id", "outcome", judged="inclusion_probability"), on="trace_id"
    )
    prevalence = weighted_share(weighted["is_failure"].to_numpy(), weighted["weight"].to_numpy(), confidence)
    recall = weighted_share(
        (failures["outcome"] == "fail").to_numpy(), (failures["weight"] / failures["judged"]).to_numpy(), confidence
    )
    judge = verdicts.select("evaluator_id", "version").head(1).to_dicts()
    return {
        "issue_id": issue_id,
        "n_traces": traffic["n_traces"].sum(),
        "n_reviewed": weighted.height,
        "n_failures": weighted["is_failure"].sum(),
        **_named("prevalence", prevalence),
        **(judge[0] if judge else {}),
        **_named("recall", recall),
        "confidence": confidence,
    }


def _named(name: str, found: Estimate | None) -> dict[str, float | None]:
    value, lower, upper = found or (None, None, None)
    return {name: value, f"{name}_lower": lower, f"{name}_upper": upper}
