"""Golden fixtures as rows: what evalpipe makes of the spans that a library really sent."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from evalpipe.otlp.payload import Payload
from evalpipe.otlp.wire import decode
from evalpipe.settings import ObserveSettings
from evalpipe.traces.conventions import PROMOTION
from evalpipe.traces.spans import span_frame
from evalpipe_tests.traces.made import traces_on

LANDED = datetime(2100, 1, 1, tzinfo=UTC)  # after every recording, whenever one is made again
NOW = LANDED + timedelta(days=1)


class Golden(NamedTuple):
    """One recording: SPANS rows, and TRACES rows in order of their start."""

    spans: pl.DataFrame
    traces: pl.DataFrame


def steps_of(trace: Mapping[str, Any]) -> list[tuple[str, str, str | None]]:
    """Role, content and tool of every step in the transcript of a TRACES row."""
    return [(step["role"], step["content"], step["tool"]) for step in trace["transcript"]]


def golden(name: str) -> Golden:
    """The recording golden/NAME.json."""
    payload = Payload((Path(__file__).parent / f"{name}.json").read_bytes(), "json", "seg_1 payload 1")
    raw = decode([payload], PROMOTION).spans
    spans = span_frame(raw, {"seg_1": LANDED}, settings=ObserveSettings(), now=NOW).spans
    return Golden(spans, traces_on(spans, now=NOW).sort("start_unix_ns"))
