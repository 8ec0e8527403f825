"""Spans into the lake: read what has landed for a day, decode it once, append what is new."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import NamedTuple

import polars as pl

from evalpipe.lake.store import Lake
from evalpipe.otlp.landing import Landing
from evalpipe.settings import ObserveSettings
from evalpipe.tables import REJECTIONS, SPANS
from evalpipe.traces.spans import read_segments

_COMMIT_SPANS = 100_000  # a commit costs 30 to 110 ms whatever its size; this many spans are some 300 MB in memory


class DayTakenIn(NamedTuple):
    """What one day's materialisation added."""

    n_new: int
    n_refused: int


def take_in_day(
    landing: Landing, lake: Lake, day: date, *, settings: ObserveSettings, now: datetime, made_from: int | None
) -> DayTakenIn:
    """Append the spans of `day` from the segments that are not in the table yet; refused ones go to `rejections`.

    A span that is there already stays as it is, so redelivered segments change nothing. `made_from` is recorded
    with the last append: a crash before it leaves the day stale, and the rerun finds most spans present.
    """
    present = lake.scan(SPANS).filter(pl.col("day") == day).select(pl.col("segment_id").unique()).collect()
    missing = [segment for segment in landing.segments_on(day) if segment not in set(present["segment_id"])]
    n_new = n_refused = 0
    for segments in _batches(landing, missing):
        frames = read_segments(landing, segments, settings=settings, now=now)
        if frames.rejections.height:
            n_refused += lake.append_new(REJECTIONS, frames.rejections)
        n_new += lake.append_new(SPANS, frames.spans.filter(pl.col("day") == day))
    lake.append_new(SPANS, SPANS.empty(), scope=str(day), made_from=made_from)
    return DayTakenIn(n_new, n_refused)


def _batches(landing: Landing, segment_ids: list[str]) -> Iterator[list[str]]:
    """The segments in order, cut where their spans would fill a commit."""
    n_spans_of = dict(landing.ledger().select("segment_id", "n_spans").iter_rows())
    batch: list[str] = []
    n_spans = 0
    for segment_id in segment_ids:
        batch.append(segment_id)
        n_spans += n_spans_of[segment_id]
        if n_spans >= _COMMIT_SPANS:
            yield batch
            batch, n_spans = [], 0
    if batch:
        yield batch
