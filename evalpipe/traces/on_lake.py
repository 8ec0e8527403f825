"""Observe on the lake: what has landed for a day becomes spans, and what changed in them traces and sessions.

Each commit says how far it got, so that what a killed run left is completed and nothing is written twice.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from typing import NamedTuple

import polars as pl

from evalpipe.lake.store import Lake
from evalpipe.otlp.landing import Landing
from evalpipe.settings import ObserveSettings
from evalpipe.tables import REJECTIONS, SESSIONS, SPANS, TRACES
from evalpipe.traces.outline import in_batches, keeps_open, outline_frame
from evalpipe.traces.rollup import session_frame, trace_frame
from evalpipe.traces.spans import Reading, SpanFrames, read_segments

_BATCH_SPANS = 10_000  # one commit; two batches are in memory, one decoded while the other is written
_SESSION_COLUMNS = (
    *("trace_id", "day", "session_id", "user_id", "service_name", "request", "start_unix_ns", "end_unix_ns"),
    *("n_input_tokens", "n_output_tokens", "cost_usd"),
)


class DayTakenIn(NamedTuple):
    """What one day's materialisation added."""

    n_new: int
    n_refused: int


class DayRolledUp(NamedTuple):
    """What one day's materialisation found: rows of the day, those that were made again, and those still open."""

    n_rows: int
    n_changed: int
    n_open: int


def take_in_day(
    landing: Landing,
    lake: Lake,
    day: date,
    *,
    reading: Reading,
    now: datetime,
    made_from: Callable[[Sequence[str]], int],
) -> DayTakenIn:
    """Append the spans of `day` from the segments that are not in the table yet; refused ones go to `rejections`.

    Every commit records how many of the day's segments it completes (in the ledger's order) and their fingerprint,
    `made_from(segment_ids)`: a rerun goes on after them. Where the fingerprint does not hold, because another code
    version decoded them, the day is decoded again whole. A span that is there already stays as it is.
    """
    ledger = landing.ledger_of(day)
    ids = ledger["segment_id"].to_list()
    scope, progress = str(day), f"{day}/n_segments"
    recorded = lake.made_from(SPANS, [scope, progress])
    n_done = recorded[progress] or 0
    if recorded[scope] is None or n_done > len(ids) or made_from(ids[:n_done]) != recorded[scope]:
        n_done = 0
    has_rows = not lake.scan(SPANS).filter(pl.col("day") == day).head(1).collect().is_empty()
    # What was decoded from segments that have expired cannot be decoded again, and stays.
    is_replaced = n_done == 0 and has_rows and not ledger["is_expired"].any()
    n_new = n_refused = 0
    for n_completed, frames in _frames_ahead(landing, ledger, n_done, reading, now):
        if frames.rejections.height:
            n_refused += lake.append_new(REJECTIONS, frames.rejections)
        rows = frames.spans.filter(pl.col("day") == day)
        remembered = {"made_from": made_from(ids[:n_completed]), "also": {progress: n_completed}}
        if is_replaced:
            n_new += lake.replace(SPANS, rows, partition=day, **remembered)
        else:
            n_new += lake.append_new(SPANS, rows, scope=scope, **remembered)
        is_replaced = False
    return DayTakenIn(n_new, n_refused)


def roll_up_day(
    lake: Lake, day: date, *, settings: ObserveSettings, now: datetime, made_from: int | None, code_version: int
) -> DayRolledUp:
    """Make the TRACES rows of `day` again where something changed: spans came, a trace closed or opened.

    Spans are only ever added, so a trace changed if its number of spans did. Traces are made some thousand at a time
    and committed; what a killed run left is found by the same comparison.
    """
    outlines = outline_frame(_spans_around(lake, day, settings), now=now, quiet_s=settings.quiet_s).filter(
        pl.col("day") == day
    )
    scope, version = str(day), f"{day}/code"
    is_fresh = lake.made_from(TRACES, [version])[version] != code_version
    compared = ["trace_id", "n_spans", "turn_index", "is_open"]
    present = lake.scan(TRACES).filter(pl.col("day") == day).select(compared).collect()
    if is_fresh:
        present = present.clear()
    changed = outlines.join(present, on=compared, how="anti", nulls_equal=True).sort("start_unix_ns", "trace_id")
    gone = present.join(outlines, on="trace_id", how="anti")["trace_id"].to_list()
    known = set(present["trace_id"])
    chunks = in_batches(changed, _BATCH_SPANS)
    for number, chunk in enumerate(chunks, 1):
        rows = trace_frame(_spans_of(lake, chunk, day, settings), chunk)
        remembered = {"made_from": made_from if number == len(chunks) else None, "also": {version: code_version}}
        keys = [*gone, *chunk["trace_id"]]
        if is_fresh:
            lake.replace(TRACES, rows, partition=day, **remembered)
        elif known.isdisjoint(keys):
            lake.append_new(TRACES, rows, scope=scope, **remembered)
        else:
            lake.replace_rows(TRACES, rows, keys=keys, partitions=[day], scope=scope, **remembered)
        gone, is_fresh = [], False
    return DayRolledUp(outlines.height, changed.height, int(outlines["is_open"].sum()))


def roll_up_sessions(lake: Lake, day: date, *, settings: ObserveSettings, made_from: int | None) -> DayRolledUp:
    """Make the sessions with a trace on `day` again where something changed in them."""
    reach = timedelta(days=settings.session_days)
    near = pl.col("day").is_between(day - reach, day + reach)
    today = lake.scan(TRACES).filter(pl.col("day") == day).select(pl.col("session_id").drop_nulls().unique()).collect()
    touches = (pl.col("first_day") <= day) & (pl.col("last_day") >= day)
    is_whole = pl.col("first_day").is_between(day - reach, day) & (pl.col("last_day") <= day + reach)
    is_today = pl.col("session_id").is_in(today["session_id"].implode())
    present = lake.read(
        SESSIONS, pl.col("first_day").is_between(day - reach, day + reach), is_today | (touches & is_whole)
    )
    ids = pl.concat([today["session_id"], present["session_id"]]).unique()
    traces = lake.scan(TRACES).filter(near, pl.col("session_id").is_in(ids.implode())).select(_SESSION_COLUMNS)
    sessions = session_frame(traces.collect())
    # A list is no key of a join: as text it is.
    as_text = pl.col("trace_ids").list.join(",")
    same = sessions.with_columns(as_text).join(
        present.with_columns(as_text), on=SESSIONS.column_names, nulls_equal=True
    )
    is_same = pl.col("session_id").is_in(same["session_id"].implode())
    changed, before = sessions.filter(~is_same), present.filter(~is_same)
    lake.replace_rows(
        SESSIONS,
        changed,
        keys=sorted({*changed["session_id"], *before["session_id"]}),
        partitions=sorted({*changed["first_day"], *before["first_day"]}),
        scope=str(day),
        made_from=made_from,
    )
    return DayRolledUp(sessions.height, changed.height, 0)


def _frames_ahead(
    landing: Landing, ledger: pl.DataFrame, n_done: int, reading: Reading, now: datetime
) -> Iterator[tuple[int, SpanFrames]]:
    """How many segments of the ledger are complete after a batch, and its frames; the next is read meanwhile."""

    def read(batch: pl.DataFrame) -> SpanFrames:
        return read_segments(landing, batch.filter(~pl.col("is_expired")), reading=reading, now=now)

    batches = list(_batches(ledger, n_done))
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as ahead:
        following = ahead.submit(read, batches[0][1]) if batches else None
        for number, (n_completed, _) in enumerate(batches, 1):
            assert following is not None
            frames = following.result()
            following = ahead.submit(read, batches[number][1]) if number < len(batches) else None
            yield n_completed, frames


def _batches(ledger: pl.DataFrame, n_done: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Ledger rows after the first `n_done`, cut where their spans fill a commit, and the number of rows up to there."""
    first = n_done
    n_spans = 0
    for number, more in enumerate(ledger["n_spans"].to_list()[n_done:], n_done + 1):
        n_spans += more
        if n_spans >= _BATCH_SPANS or number == ledger.height:
            yield number, ledger[first:number]
            first, n_spans = number, 0


def _spans_around(lake: Lake, day: date, settings: ObserveSettings) -> pl.LazyFrame:
    reach = timedelta(days=settings.window_days)
    return lake.scan(SPANS).filter(pl.col("day").is_between(day - reach, day + reach))


def _spans_of(lake: Lake, outlines: pl.DataFrame, day: date, settings: ObserveSettings) -> pl.DataFrame:
    """All spans of these traces; the times let the scan pass over files and row groups."""
    if not outlines.height:
        return SPANS.empty()
    within = pl.col("start_unix_ns").is_between(outlines["start_unix_ns"].min(), outlines["last_start_unix_ns"].max())
    wanted = pl.col("trace_id").is_in(outlines["trace_id"].implode())
    return _spans_around(lake, day, settings).filter(within, wanted).collect()


def n_open_traces(lake: Lake, day: date, *, settings: ObserveSettings, now: datetime) -> int:
    """Traces around `day` that are open at `now`, from the few spans that are recent enough to keep one open."""
    recent = pl.col("ingested_at") > now - timedelta(seconds=settings.quiet_s)  # which the files' statistics know
    open_now = _spans_around(lake, day, settings).filter(recent, keeps_open(now, settings.quiet_s))
    return open_now.select(pl.col("trace_id").n_unique()).collect().item()
