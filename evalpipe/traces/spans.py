"""Raw spans -> SPANS rows: the day, the times that are allowed, and what is left over. Names are conventions.py's."""

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

import orjson
import polars as pl

from evalpipe.otlp.landing import Landing
from evalpipe.otlp.payload import Refused, rejection_frame
from evalpipe.otlp.wire import decode
from evalpipe.settings import ObserveSettings
from evalpipe.tables import REJECTIONS, SPANS
from evalpipe.traces.conventions import PROMOTION, in_one_vocabulary

_NS_PER_DAY = 86_400 * 10**9
_UNKNOWN_SERVICE = "unknown_service"  # what OpenTelemetry calls a service that does not say its name


class SpanFrames(NamedTuple):
    """SPANS rows, and REJECTIONS rows for what could not become one."""

    spans: pl.DataFrame
    rejections: pl.DataFrame


def span_frame(
    raw: pl.DataFrame, *, segment_id: str, ingested_at: datetime, settings: ObserveSettings, now: datetime
) -> SpanFrames:
    """SPANS rows of one segment's raw spans (decoded with PROMOTION), in their order.

    A span before `first_day`, or later than `max_future_s` after its segment landed, is refused: against the time
    of landing, so that decoding again another day gives the same rows. `now` is when refusals are recorded.
    """
    first_ns = _unix_ns(datetime.combine(settings.first_day, time(), UTC))
    last_ns = _unix_ns(ingested_at + timedelta(seconds=settings.max_future_s))
    is_early, is_late = pl.col("start_unix_ns") < first_ns, pl.col("start_unix_ns") > last_ns
    accepted = raw.filter(~is_early & ~is_late)
    refused = raw.filter(is_early | is_late)
    early = f"it starts before {settings.first_day}; EVALPIPE_OBSERVE__FIRST_DAY sets the first day"
    late = (
        f"it starts more than {settings.max_future_s} s after it was received; is the sender's clock right? "
        "EVALPIPE_OBSERVE__MAX_FUTURE_S sets the limit"
    )
    rejections = rejection_frame(
        (
            Refused(
                f"{row['location']}, span {row['number']}",
                early if row["start_unix_ns"] < first_ns else late,
                orjson.dumps({key: value for key, value in row.items() if value is not None}),
            )
            for row in refused.iter_rows(named=True)
        ),
        kind="span",
        source=segment_id,
        now=now,
    )
    rows = in_one_vocabulary(accepted).with_columns(
        day=(pl.col("start_unix_ns") // _NS_PER_DAY).cast(pl.Int32).cast(pl.Date),
        is_finished=pl.col("end_unix_ns").is_not_null(),
        end_unix_ns=pl.coalesce("end_unix_ns", "start_unix_ns"),
        service_name=pl.col("service_name").fill_null(_UNKNOWN_SERVICE),
        segment_id=pl.lit(segment_id),
        ingested_at=pl.lit(ingested_at),
    )
    return SpanFrames(SPANS.conform(rows), rejections)


def read_segments(
    landing: Landing, segment_ids: Iterable[str], *, settings: ObserveSettings, now: datetime
) -> SpanFrames:
    """SPANS rows of whole segments, one row a span (a span landed twice counts as it landed first)."""
    landed_at = dict(landing.ledger().select("segment_id", "landed_at").iter_rows())
    spans, rejections = [SPANS.empty()], [REJECTIONS.empty()]
    for segment_id in segment_ids:
        decoded = decode(landing.payloads(segment_id), PROMOTION)
        frames = span_frame(
            decoded.spans,
            segment_id=segment_id,
            ingested_at=landed_at[segment_id],
            settings=settings,
            now=now,
        )
        spans.append(frames.spans)
        rejections += [frames.rejections, rejection_frame(decoded.refused, kind="span", source=segment_id, now=now)]
    return SpanFrames(
        pl.concat(spans).unique(SPANS.key, keep="first", maintain_order=True),
        pl.concat(rejections).unique(REJECTIONS.key, keep="first", maintain_order=True),
    )


def _unix_ns(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1_000
