"""What a reviewer reads in a cycle, from the tables in one pass over its days, and kept for the next page.

What it looks like is in sheet.py. What people said is not kept here: it changes with every answer.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

import polars as pl

from evalpipe.errors import StateError
from evalpipe.lake.store import Lake
from evalpipe.review.desk.sheet import Facts, SheetStep, Turn, steps_of
from evalpipe.tables import SPANS, TRACE_SIGNALS, TRACES

_MAX_TURNS = 40  # of a session around a trace: more is no context
_MAX_TURN_CHARS = 2_000  # of a request or response in it
_MAX_READINGS = 32
_FACTS = (
    "service_name", "service_version", "environment", "user_id", "session_id", "status", "is_complete", "defects",
    "n_tool_calls", "n_tool_errors",
)  # fmt: skip
_OF_TRACE = (
    *_FACTS, "trace_id", "request", "transcript", "n_input_tokens", "n_output_tokens", "cost_usd", "is_cost_estimated",
    "duration_ns", "start_unix_ns",
)  # fmt: skip


class Reading:
    """The traces of one queue with their evidence, models and sessions, in memory."""

    def __init__(self, traces: pl.DataFrame, turns: pl.DataFrame) -> None:
        """From the frames that `read_queue` makes; `turns` are those `around` each trace, in order."""
        self.n_bytes = int(traces.estimated_size() + turns.estimated_size())
        self.shown = turns["trace_id"].unique()
        self._traces = traces
        self._place_of = {trace_id: place for place, trace_id in enumerate(traces["trace_id"])}
        self._turns = turns.partition_by("around", as_dict=True)
        self._steps: dict[str, list[SheetStep]] = {}

    def request(self, trace_id: str) -> str | None:
        """What the user asked; None also when the trace is no longer in the tables."""
        return self._traces["request"][self._place_of[trace_id]] if trace_id in self._place_of else None

    def steps(self, trace_id: str) -> list[SheetStep]:
        """The conversation, with the evidence marked. Raises StateError when the trace is no longer there."""
        if trace_id not in self._steps:
            row = self._row(trace_id)
            self._steps[trace_id] = steps_of(row["transcript"], row["evidence"] or [])
        return self._steps[trace_id]

    def facts(self, trace_id: str) -> Facts:
        """What was measured. Raises StateError when the trace is no longer there."""
        row = self._row(trace_id)
        tokens = [n for n in (row["n_input_tokens"], row["n_output_tokens"]) if n is not None]
        return Facts(
            started_at=_instant(row["start_unix_ns"]),
            duration_s=row["duration_ns"] / 1e9,
            n_tokens=sum(tokens) if tokens else None,
            cost_usd=row["cost_usd"],
            is_cost_estimated=bool(row["is_cost_estimated"]),
            models=row["models"] or [],
            status_message=row["status_message"],
            **{name: row[name] for name in _FACTS},
        )

    def session(self, trace_id: str, verdicts: Mapping[str, str]) -> list[Turn]:
        """The turns of its session around the trace, in order; only itself where the application names no session."""
        return [
            Turn(
                trace_id=row["trace_id"],
                started_at=_instant(row["start_unix_ns"]),
                request=row["request"],
                response=row["response"],
                is_current=row["trace_id"] == trace_id,
                verdict=verdicts.get(row["trace_id"]),
            )
            for row in self._turns[(trace_id,)].iter_rows(named=True)
        ]

    def _row(self, trace_id: str) -> dict[str, Any]:
        if trace_id not in self._place_of:
            raise StateError(f"trace {trace_id} is no longer in the tables. Skip it; evalpipe run may bring it back.")
        return self._traces.row(self._place_of[trace_id], named=True)


def read_queue(lake: Lake, queue: pl.DataFrame, session_days: int) -> Reading:
    """All that a reviewer reads of `queue` (CANDIDATES rows), from the days it needs.

    The conversation around a trace is looked for in the `session_days` before and after the queue's own.
    """
    is_ours = pl.col("day").is_in(queue["day"].unique().to_list())
    is_ours &= pl.col("trace_id").is_in(queue["trace_id"].implode())
    is_root = pl.col("parent_span_id").is_null()
    traces, evidence, spans = pl.collect_all(
        [
            lake.scan(TRACES).filter(is_ours).select(_OF_TRACE),
            lake.scan(TRACE_SIGNALS).filter(is_ours).select("trace_id", "evidence"),
            lake.scan(SPANS)
            .filter(is_ours)
            .group_by("trace_id")
            .agg(
                models=pl.col("model").drop_nulls().unique().sort(),
                status_message=pl.col("status_message").filter(is_root).drop_nulls().first(),
            ),
        ]
    )
    told = traces.join(evidence, on="trace_id", how="left").join(spans, on="trace_id", how="left")
    return Reading(told, _turns_around(lake, queue, session_days))


def _turns_around(lake: Lake, queue: pl.DataFrame, session_days: int) -> pl.DataFrame:
    """around (a trace of the queue), trace_id, start_unix_ns, request, response of the turns around it, in order.

    Texts are read of these turns only: an application may call all its traffic one session.
    """
    pause = timedelta(days=session_days)
    first_day, last_day = queue.select(first=pl.col("day").min() - pause, last=pl.col("day").max() + pause).row(0)
    is_ours = pl.col("trace_id").is_in(queue["trace_id"].implode())
    is_near = is_ours | pl.col("session_id").is_in(queue["session_id"].drop_nulls().implode())
    placed = (
        lake.scan(TRACES)
        .filter(pl.col("day").is_between(first_day, last_day), is_near)
        .select("trace_id", "day", "start_unix_ns", session=pl.coalesce("session_id", "trace_id"))
        .sort("session", "start_unix_ns", "trace_id")
        .with_columns(
            place=pl.int_range(pl.len(), dtype=pl.Int64).over("session"), n=pl.len().cast(pl.Int64).over("session")
        )
        .collect()
    )
    first = pl.max_horizontal(pl.min_horizontal(pl.col("place") - _MAX_TURNS // 2, pl.col("n") - _MAX_TURNS), 0)
    turns = (
        placed.filter(is_ours)
        .select("session", around="trace_id", place=pl.int_ranges(first, pl.min_horizontal(first + _MAX_TURNS, "n")))
        .explode("place")
        .join(placed, on=["session", "place"], maintain_order="left")
        .select("around", "trace_id", "day", "start_unix_ns")
    )
    is_turn = pl.col("day").is_in(turns["day"].unique().to_list())
    is_turn &= pl.col("trace_id").is_in(turns["trace_id"].unique().implode())
    in_brief = pl.col("request", "response").str.head(_MAX_TURN_CHARS)
    texts = lake.scan(TRACES).filter(is_turn).select("trace_id", in_brief).collect()
    return turns.drop("day").join(texts, on="trace_id", how="left", maintain_order="left")


class Shelf:
    """The readings that were asked for last, in at most `max_bytes` when there are several. Thread-safe.

    Two who ask for one that is not there wait for the same pass over the tables.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._held: OrderedDict[Hashable, Future[Reading]] = OrderedDict()

    def get(self, key: Hashable, read: Callable[[], Reading]) -> Reading:
        """The reading of that name; `read` makes it where it is not held."""
        with self._lock:
            held = self._held.get(key)
            future = held or self._held.setdefault(key, Future())
            self._held.move_to_end(key)
        if held is None:
            try:
                future.set_result(read())
            except BaseException as error:
                with self._lock:
                    self._held.pop(key, None)
                future.set_exception(error)
            else:
                self._make_room()
        return future.result()

    def _make_room(self) -> None:
        with self._lock:
            made = [(key, future.result().n_bytes) for key, future in self._held.items() if future.done()]
            n_bytes = sum(size for _, size in made)
            for n_left, (key, size) in zip(range(len(made), 1, -1), made, strict=False):
                if n_left <= _MAX_READINGS and n_bytes <= self._max_bytes:
                    return
                del self._held[key]
                n_bytes -= size


def _instant(unix_ns: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=unix_ns // 1_000)
