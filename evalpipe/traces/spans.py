"""Raw spans -> SPANS rows: the day, the times that are allowed, and what is left over. Names are conventions.py's."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import orjson
import polars as pl

from evalpipe.otlp.landing import Landing
from evalpipe.otlp.payload import Refused, rejection_frame
from evalpipe.otlp.wire import decode
from evalpipe.redaction.redactor import Redactor
from evalpipe.settings import ObserveSettings
from evalpipe.tables import REJECTIONS, SPANS
from evalpipe.tables import UTC as UTC_US
from evalpipe.traces.conventions import PROMOTION, in_one_vocabulary
from evalpipe.traces.outline import unix_ns
from evalpipe.traces.prices import Prices, with_costs

_NS_PER_DAY = 86_400 * 10**9
_SEGMENT = r"^(\S+) "  # a location begins with it
_UNKNOWN_SERVICE = "unknown_service"  # what OpenTelemetry calls a service that does not say its name


@dataclass(frozen=True)
class Reading:
    """How landed spans are read: within which times, at which prices, and what of them is redacted."""

    settings: ObserveSettings
    prices: Prices
    redactor: Redactor


class SpanFrames(NamedTuple):
    """SPANS rows, and REJECTIONS rows for what could not become one."""

    spans: pl.DataFrame
    rejections: pl.DataFrame


def span_frame(
    raw: pl.DataFrame, landed_at: Mapping[str, datetime], *, settings: ObserveSettings, now: datetime
) -> SpanFrames:
    """SPANS rows of raw spans (decoded with PROMOTION), in their order. Every `location` begins with its segment's id.

    A span before `first_day`, or later than `max_future_s` after its segment landed, is refused: against the time
    of landing, so that decoding again another day gives the same rows. `now` is when refusals are recorded.
    """
    raw = raw.with_columns(segment_id=pl.col("location").str.extract(_SEGMENT)).with_columns(
        ingested_at=pl.col("segment_id").replace_strict(landed_at, return_dtype=UTC_US)
    )
    first_ns = unix_ns(settings.first_start)
    last_of = {segment_id: unix_ns(settings.last_start(at)) for segment_id, at in landed_at.items()}
    last_ns = pl.col("segment_id").replace_strict(last_of, return_dtype=pl.Int64)
    is_early, is_late = pl.col("start_unix_ns") < first_ns, pl.col("start_unix_ns") > last_ns
    refused = raw.filter(is_early | is_late)
    early = f"it starts before {settings.first_day}; EVALPIPE_OBSERVE__FIRST_DAY sets the first day"
    late = (
        f"it starts more than {settings.max_future_s} s after it was received; is the sender's clock right? "
        "EVALPIPE_OBSERVE__MAX_FUTURE_S sets the limit"
    )
    rejections = _rejections(
        (
            Refused(
                f"{row.pop('location')}, span {row.pop('number')}",
                early if row["start_unix_ns"] < first_ns else late,
                orjson.dumps({key: value for key, value in row.items() if value is not None}),
            )
            for row in refused.drop("payload", "segment_id", "ingested_at").iter_rows(named=True)
        ),
        now,
    )
    rows = in_one_vocabulary(raw.filter(~is_early & ~is_late)).with_columns(
        day=(pl.col("start_unix_ns") // _NS_PER_DAY).cast(pl.Int32).cast(pl.Date),
        is_finished=pl.col("end_unix_ns").is_not_null(),
        end_unix_ns=pl.coalesce("end_unix_ns", "start_unix_ns"),
        service_name=pl.col("service_name").fill_null(_UNKNOWN_SERVICE),
    )
    return SpanFrames(SPANS.conform(rows), rejections)


def read_segments(landing: Landing, segments: pl.DataFrame, *, reading: Reading, now: datetime) -> SpanFrames:
    """SPANS rows of whole segments (ledger rows), one row a span: one that landed twice counts as it landed first.

    They are decoded as one, because a frame costs the same whether a segment holds ten spans or ten thousand.
    """
    landed_at = dict(segments.select("segment_id", "landed_at").iter_rows())
    decoded = decode(
        (
            item._replace(location=f"{segment_id} {item.location}")
            for segment_id in landed_at
            for item in landing.payloads(segment_id)
        ),
        PROMOTION,
    )
    frames = span_frame(decoded.spans, landed_at, settings=reading.settings, now=now)
    spans = with_costs(frames.spans.filter(pl.struct(SPANS.key).is_first_distinct()), reading.prices)
    rejections = pl.concat([frames.rejections, _rejections(decoded.refused, now)])
    return SpanFrames(
        SPANS.conform(reading.redactor.spans(spans)),
        reading.redactor.rejections(rejections.unique(REJECTIONS.key, keep="first", maintain_order=True)),
    )


def _rejections(refused: Iterable[Refused], now: datetime) -> pl.DataFrame:
    """REJECTIONS rows of things whose location begins with their segment's id."""
    by_segment: dict[str, list[Refused]] = defaultdict(list)
    for item in refused:
        segment_id, _, place = item.location.partition(" ")
        by_segment[segment_id].append(item._replace(location=place))
    rows = [rejection_frame(items, kind="span", source=source, now=now) for source, items in by_segment.items()]
    return pl.concat([REJECTIONS.empty(), *rows])
