"""SPANS rows for tests: emitted by the real SDK and decoded, or written down."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from evalpipe.otlp.payload import Payload
from evalpipe.otlp.wire import decode
from evalpipe.redaction.redactor import Redactor
from evalpipe.settings import ObserveSettings
from evalpipe.tables import SPANS
from evalpipe.traces.conventions import PROMOTION
from evalpipe.traces.outline import outline_frame
from evalpipe.traces.prices import load_prices
from evalpipe.traces.rollup import trace_frame
from evalpipe.traces.spans import Reading, SpanFrames, span_frame
from evalpipe_tests.otlp.made import DAY_NS, START_NS, Application, protobuf_payload

DAY = date(2026, 2, 16)  # of START_NS
LANDED = datetime(2026, 3, 1, tzinfo=UTC)
NOW = LANDED + timedelta(hours=1)
READING = Reading(ObserveSettings(), load_prices(), Redactor())


def frames_of(*payloads: Payload, settings: ObserveSettings = ObserveSettings()) -> SpanFrames:  # noqa: B008
    """What one segment with these payloads becomes."""
    placed = (payload._replace(location=f"seg_1 {payload.location}") for payload in payloads)
    return span_frame(decode(placed, PROMOTION).spans, {"seg_1": LANDED}, settings=settings, now=NOW)


def spans_of(app: Application) -> pl.DataFrame:
    """SPANS rows of everything an application has sent."""
    return frames_of(protobuf_payload(app.request())).spans


def traces_on(spans: pl.DataFrame, day: date | None = None, now: datetime = NOW) -> pl.DataFrame:
    """TRACES rows of these spans, or of those traces that start on `day`."""
    outlines = outline_frame(spans.lazy(), now=now, quiet_s=ObserveSettings().quiet_s)
    return trace_frame(spans, outlines if day is None else outlines.filter(pl.col("day") == day))


def only_span(attributes: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """The SPANS row of a single span with these attributes."""
    app = Application()
    with app.span("the span", attributes, **options):
        pass
    (row,) = spans_of(app).to_dicts()
    return row


def said(row: Mapping[str, Any], *columns: str) -> dict[str, Any]:
    """Those columns of a row that have a value."""
    return {name: row[name] for name in columns if row[name] is not None}


def written(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """SPANS rows of one trace "t", written down: times are ns after START_NS, an id is a short name."""
    defaults = {
        "trace_id": "t",
        "parent_span_id": None,
        "at": 0,
        "lasts": 10,
        "session_id": "s",
        "service_name": "shop",
        "name": "span",
        "operation": "other",
        "status": "unset",
        "dialect": "plain",
        "segment_id": "seg_1",
        "ingested_at": LANDED,
        "is_finished": True,
    }
    full = []
    for row in rows:
        fields = {**defaults, **row}
        start = START_NS + fields.pop("at")
        end = start + fields.pop("lasts")
        day = date(1970, 1, 1) + timedelta(days=start // DAY_NS)
        full.append({**fields, "start_unix_ns": start, "end_unix_ns": end, "day": day})
    schema = {name: dtype for name, dtype in SPANS.schema.items() if any(name in row for row in full)}
    return SPANS.conform(pl.DataFrame(full, schema=schema))
