"""The review queue of a cycle: which traces, for which reviewer, in which order, and with what chance they were chosen.

What makes a trace unusual is in signals/; what reviewers answer is in annotations.py.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from evalpipe.errors import InputError
from evalpipe.ids import content_hash
from evalpipe.settings import ReviewSettings
from evalpipe.tables import CANDIDATES, SIGNALS

_CYCLE = re.compile(r"(\d{4})-W(\d{2})")
_SHAPE = ("failed", "repeated", "last_tool", "status")
_NO_SIGNAL = "none"  # of the pattern of a trace on which no signal is flagged


class Reviewer(NamedTuple):
    """Who reads, and how many traces a cycle."""

    name: str
    capacity: int


def candidate_frame(
    cycle: str,
    signals: pl.DataFrame,
    traces: pl.DataFrame,
    reviewed: pl.DataFrame,
    reviewers: Sequence[Reviewer],
    settings: ReviewSettings,
) -> pl.DataFrame:
    """CANDIDATES of `cycle` from TRACE_SIGNALS and TRACES rows of its days; rank is the reading order per reviewer.

    Two arms share the reviewers' capacity. The control arm is drawn uniformly from all traces of the cycle, each with
    probability n_drawn / n_traces: only it speaks for all traffic. The anomaly arm takes the rest by impact; its choice
    is certain once the signals are known, so its inclusion probability is 1, and it speaks for nothing but itself.

    Impact is frequency x severity x anomaly: traces in the pattern (1 for an unflagged trace), mean strength of the
    pattern's strongest signal, and the trace's anomaly score. No pattern takes more than `max_pattern_share` of the arm
    while anything else is left; when the flagged traces run out, the highest anomaly scores fill up. A pattern's traces
    are spread over the reading order, the frequent patterns starting first.

    `reviewed` (trace_id, reviewer) is what was annotated, or queued in another cycle. A trace that one of `reviewers`
    has read stays where it was chosen, as 'reviewed': building a queue again neither hands out more than the capacity
    nor forgets why something was read. One that only others have read (a program, say) is left out of the anomaly arm.
    """
    capacity = sum(reviewer.capacity for reviewer in reviewers)
    names = [reviewer.name for reviewer in reviewers]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"reviewer {', '.join(repeated)} is listed twice. Give each reviewer one entry.")
    pool = _pool(signals, traces)
    n_slots = min(capacity, pool.height)
    if n_slots == 0:
        return CANDIDATES.empty()
    control = _control(pool, cycle, n_slots, settings)
    readers = reviewed.select("trace_id", read_by="reviewer").unique().sort("trace_id", "read_by")
    ours = readers.filter(pl.col("read_by").is_in(names)).unique("trace_id", keep="first", maintain_order=True)
    elsewhere = readers.join(ours.select("trace_id"), on="trace_id", how="anti").select("trace_id")
    rest = pool.join(control.select("trace_id"), on="trace_id", how="anti").join(elsewhere, on="trace_id", how="anti")
    anomaly = _anomaly(rest, n_slots - control.height, settings.max_pattern_share)
    queue = _interleaved(pl.concat([control, anomaly], how="diagonal"))
    dealt = queue.with_columns(reviewer=pl.Series(_deal(reviewers, queue.height), dtype=pl.String))
    known = pl.concat([ours, readers.join(elsewhere, on="trace_id", how="semi").unique("trace_id", keep="first")])
    return CANDIDATES.conform(
        dealt.join(known, on="trace_id", how="left", maintain_order="left")
        .with_columns(
            cycle=pl.lit(cycle),
            reviewer=pl.coalesce("read_by", "reviewer"),
            status=pl.when(pl.col("read_by").is_null()).then(pl.lit("queued")).otherwise(pl.lit("reviewed")),
        )
        .with_columns(rank=1 + pl.int_range(pl.len()).over("reviewer"))
        .sort("reviewer", "rank")
    )


def cycle_of(day: date) -> str:
    """The review cycle of a day: its ISO week, such as '2026-W47'."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


def cycle_days(cycle: str) -> tuple[date, date]:
    """Monday and Sunday of a cycle. Raises InputError for what is no ISO week."""
    match = _CYCLE.fullmatch(cycle)
    try:
        if match is None:
            raise ValueError(cycle)
        first = date.fromisocalendar(int(match[1]), int(match[2]), 1)
    except ValueError as error:
        raise InputError(f"{cycle!r} is no review cycle. Give an ISO week, such as 2026-W47.") from error
    return first, first + timedelta(days=6)


def load_reviewers(path: Path | None, settings: ReviewSettings) -> list[Reviewer]:
    """The reviewers of a YAML file, a list of {name, capacity}; without the file, the default reviewer alone.

    A missing capacity is `settings.capacity`. Raises InputError, naming the file and the entry.
    """
    if path is None or not path.exists():
        return [Reviewer(settings.default_reviewer, settings.capacity)]
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {error}") from error
    entries = content.get("reviewers") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: no list of reviewers. Write one entry a line: - {{name: ada, capacity: 100}}")
    reviewers = [_reviewer(entry, f"{path}, reviewer {place}", settings) for place, entry in enumerate(entries, 1)]
    names = [reviewer.name for reviewer in reviewers]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path}: reviewer {', '.join(repeated)} is listed twice. Give each reviewer one entry.")
    return reviewers


def _reviewer(entry: Any, where: str, settings: ReviewSettings) -> Reviewer:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise InputError(f"{where}: needs a name, as in {{name: ada, capacity: 100}}")
    if unknown := sorted(str(key) for key in entry if key not in ("name", "capacity")):
        raise InputError(f"{where}: unknown {', '.join(unknown)}. Known: name, capacity")
    capacity = entry.get("capacity", settings.capacity)
    if not isinstance(capacity, int) or isinstance(capacity, bool) or capacity < 0:
        raise InputError(f"{where}: capacity must be a whole number of traces a week, it is {capacity!r}")
    return Reviewer(entry["name"].strip(), capacity)


def _pool(signals: pl.DataFrame, traces: pl.DataFrame) -> pl.DataFrame:
    """All traces of the cycle with pattern, frequency, priority and the signal they would be queued for."""
    shapes = _shapes(traces)
    scores = pl.concat_list(f"{name}_score" for name in SIGNALS)
    ranked = (
        signals.unique("trace_id", keep="first")
        .sort("trace_id")
        .with_columns(
            is_flagged=pl.col("flagged").list.len() > 0,
            severity=scores.list.max(),
            queue=scores.list.arg_max().replace_strict(list(range(len(SIGNALS))), SIGNALS, return_dtype=pl.String),
        )
    )
    shaped = ranked.join(shapes, on="trace_id", how="left", maintain_order="left").with_columns(
        top=pl.when("is_flagged").then("queue").otherwise(pl.lit(_NO_SIGNAL))
    )
    of_pattern = ["service_name", "top", *_SHAPE]
    patterns = shaped.select(of_pattern).unique()
    # One hash per pattern, not per trace.
    hashed = patterns.with_columns(
        pattern_id=pl.Series([f"pat_{content_hash(list(row), 12)}" for row in patterns.rows()], dtype=pl.String)
    )
    impact = pl.col("pattern_frequency") * pl.col("severity").mean().over("pattern_id") * pl.col("anomaly_score")
    return (
        shaped.join(hashed, on=of_pattern, nulls_equal=True, maintain_order="left")
        .with_columns(
            pattern_frequency=pl.len().over("pattern_id"),
            reasons=pl.when(pl.col("reasons").list.len() > 0)
            .then("reasons")
            .otherwise(
                pl.concat_list(
                    pl.format("among the least usual of the cycle (anomaly {})", pl.col("anomaly_score").round(2))
                )
            ),
        )
        .with_columns(
            priority=pl.when("is_flagged").then(impact).otherwise(pl.col("severity") * pl.col("anomaly_score"))
        )
        .sort("trace_id")
    )


def _shapes(traces: pl.DataFrame) -> pl.DataFrame:
    """What else makes traces alike: the tools that failed, those called twice alike, the last one, and how it ended.

    Not the whole set of tools: an agent with many would have a pattern for every trace.
    """
    step, role = pl.element().struct.field, pl.element().struct.field("role")
    calls = pl.col("transcript").list.eval(pl.element().filter(role == "tool_call"))
    failed = pl.col("transcript").list.eval(step("tool").filter((role == "tool_result") & step("is_error")))
    call = pl.struct(step("tool"), step("content"))
    repeated = pl.col("calls").list.eval(step("tool").filter(call == call.shift(1)))
    names = [tools.list.drop_nulls().list.unique().list.sort().list.join("\x1f") for tools in (failed, repeated)]
    return traces.with_columns(calls=calls).select(
        "trace_id",
        "status",
        failed=names[0],
        repeated=names[1],
        last_tool=pl.col("calls").list.last().struct.field("tool"),
    )


def _control(pool: pl.DataFrame, cycle: str, n_slots: int, settings: ReviewSettings) -> pl.DataFrame:
    """The traces with the smallest hashes of (seed, cycle, trace): uniform, and the same when drawn again."""
    if settings.control_share == 0:
        return pool.clear().with_columns(arm=pl.lit("control"), inclusion_probability=pl.lit(1.0))
    n_drawn = min(n_slots, max(1, math.floor(settings.control_share * n_slots + 0.5)))
    salt = f"{settings.seed}/{cycle}/"
    draw = [hashlib.sha256((salt + trace_id).encode()).digest() for trace_id in pool["trace_id"]]
    return (
        pool.with_columns(draw=pl.Series(draw, dtype=pl.Binary))
        .sort("draw")
        .head(n_drawn)
        .drop("draw")
        .with_columns(
            queue=pl.lit("control"),
            reasons=pl.concat_list(pl.lit("drawn at random from all traffic")),
            arm=pl.lit("control"),
            inclusion_probability=pl.lit(n_drawn / pool.height),
        )
    )


def _anomaly(rest: pl.DataFrame, n_slots: int, max_pattern_share: float) -> pl.DataFrame:
    quota = max(1, math.floor(max_pattern_share * n_slots))
    return (
        rest.sort("anomaly_score", "trace_id", descending=[True, False])
        .with_columns(is_over=pl.int_range(pl.len()).over("pattern_id") >= quota)
        .with_columns(order=pl.when("is_flagged").then("priority").otherwise("anomaly_score"))
        .sort("is_over", "is_flagged", "order", "trace_id", descending=[False, True, True, False])
        .head(n_slots)
        .drop("is_over", "order")
        .with_columns(arm=pl.lit("anomaly"), inclusion_probability=pl.lit(1.0))
    )


def _interleaved(chosen: pl.DataFrame) -> pl.DataFrame:
    """In reading order: each pattern, and the control arm, evenly over the queue, so that no stretch is all copies.

    A pattern of n traces stands at 1/2n, 3/2n, ...: the frequent ones start first, each with its most anomalous trace.
    """
    of_group = pl.when(pl.col("arm") == "control").then(pl.lit("control")).otherwise("pattern_id")
    return (
        chosen.with_columns(group=of_group)
        .sort("priority", "trace_id", descending=[True, False])
        .with_columns(place=(pl.int_range(pl.len()).over("group") + 0.5) / pl.len().over("group"))
        .sort("place", "priority", "trace_id", descending=[False, True, False])
    )


def _deal(reviewers: Sequence[Reviewer], n: int) -> list[str]:
    """Who reads the n traces in order: in turn, in proportion to the capacities."""
    slots = sorted(
        ((turn + 0.5) / reviewer.capacity, place, reviewer.name)
        for place, reviewer in enumerate(reviewers)
        for turn in range(reviewer.capacity)
    )
    return [name for _, _, name in slots[:n]]
