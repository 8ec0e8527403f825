"""Groups of alike traces, and what each trace is worth reading. Which are chosen is in arms.py.

A pattern is the same in every cycle: its id is a hash of what its traces have in common.
"""

from collections.abc import Sequence

import polars as pl

from evalpipe.ids import content_hash
from evalpipe.review.queue.experience import experience
from evalpipe.review.queue.reviewers import Reviewer, fitting
from evalpipe.tables import SIGNALS

_SHAPE = ("failed", "repeated", "last_tool", "status")
_NO_SIGNAL = "none"  # of the pattern of a trace on which no signal is flagged


def pattern_frame(signals: pl.DataFrame, facts: pl.DataFrame, history: pl.DataFrame) -> pl.DataFrame:
    """All traces of a cycle, by trace_id, each with its pattern and what it is worth reading.

    `signals` are TRACE_SIGNALS rows, `facts` what `trace_facts` says of the same traces; one that either lacks is not
    in the cycle. Columns: trace_id, day, session_id, service_name, fits, is_flagged, queue (its strongest signal),
    reasons, pattern_id, pattern_frequency, priority.

    Priority is impact: frequency x severity x anomaly x experience. Frequency enters as log2(1 + traces in the
    pattern): a pattern ten times as frequent is worth some more readings, not ten times as many. Severity is the mean
    strength of the pattern's strongest signal; experience is `experience`. An unflagged trace counts for itself alone.
    """
    shaped = _signalled(signals).join(facts, on="trace_id", maintain_order="left")
    of_pattern = ["service_name", "signal", *_SHAPE]
    patterns = shaped.group_by(of_pattern).agg(
        pattern_frequency=pl.len().cast(pl.Int32), pattern_severity=pl.col("severity").mean()
    )
    # One hash per pattern, not per trace.
    ids = [f"pat_{content_hash(list(row), 12)}" for row in patterns.select(of_pattern).iter_rows()]
    patterns = patterns.with_columns(pattern_id=pl.Series(ids, dtype=pl.String))
    known = patterns.join(experience(patterns, history), on="pattern_id")
    impact = (1 + pl.col("pattern_frequency")).log(2) * pl.col("pattern_severity")
    weight = pl.when("is_flagged").then(impact).otherwise("severity")
    return (
        shaped.join(known, on=of_pattern, nulls_equal=True, maintain_order="left")
        .with_columns(priority=weight * pl.col("anomaly_score") * pl.col("experience"))
        .select("trace_id", "day", "session_id", "service_name", "fits", "is_flagged", "queue", "reasons", "pattern_id",
                "pattern_frequency", "priority")
    )  # fmt: skip


def trace_facts(traces: pl.LazyFrame, reviewers: Sequence[Reviewer]) -> pl.DataFrame:
    """What makes traces alike: the tools that failed, those called twice alike, the last one, and how it ended.

    And `fits`: the positions of the reviewers in whose domain a trace lies. Not the whole set of tools: an agent with
    many would have a pattern for every trace. Transcripts are long, so they pass through and are not kept.
    """
    step, role = pl.element().struct.field, pl.element().struct.field("role")
    calls = pl.col("transcript").list.eval(pl.element().filter(role == "tool_call"))
    failed = pl.col("transcript").list.eval(step("tool").filter((role == "tool_result") & step("is_error")))
    call = pl.struct(step("tool"), step("content"))
    repeated = pl.col("calls").list.eval(step("tool").filter(call == call.shift(1)))
    joined = [tools.list.drop_nulls().list.unique().list.sort().list.join("\x1f") for tools in (failed, repeated)]
    return (
        traces.with_columns(calls=calls)
        .with_columns(tools=pl.col("calls").list.eval(step("tool")))
        .select(
            "trace_id",
            "status",
            failed=joined[0],
            repeated=joined[1],
            last_tool=pl.col("tools").list.last(),
            fits=fitting(reviewers),
        )
        .collect(engine="streaming")
    )


def _signalled(signals: pl.DataFrame) -> pl.DataFrame:
    """Each trace once, by trace_id, with its strongest signal: the first that is flagged, else that of highest score.

    `signal` is that of the pattern: traces without a flag have none in common.
    """
    highest = pl.concat_list(f"{name}_score" for name in SIGNALS).list.arg_max()
    named = highest.replace_strict(list(range(len(SIGNALS))), list(SIGNALS), return_dtype=pl.String)
    unusual = pl.concat_list(
        pl.format("among the least usual of the cycle (anomaly {})", pl.col("anomaly_score").round(2))
    )
    return (
        signals.unique("trace_id", keep="first")
        .sort("trace_id")
        .with_columns(
            is_flagged=pl.col("flagged").list.len() > 0,
            queue=pl.coalesce(pl.col("flagged").list.first(), named),
            reasons=pl.when(pl.col("reasons").list.len() > 0).then("reasons").otherwise(unusual),
        )
        .with_columns(
            signal=pl.when("is_flagged").then("queue").otherwise(pl.lit(_NO_SIGNAL)),
            severity=pl.coalesce(pl.when(pl.col("queue") == name).then(f"{name}_score") for name in SIGNALS),
        )
        .select("trace_id", "day", "session_id", "service_name", "is_flagged", "queue", "reasons", "signal", "severity",
                "anomaly_score")
    )  # fmt: skip
