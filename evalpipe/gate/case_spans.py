"""An OTLP file -> TRACES rows, in memory: what the pipeline would make of it, without a home.

Finding payloads in files, decoding them and rolling spans up are otlp/'s and traces/'s; this file only joins them.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.otlp.files import Stream, payloads_in
from evalpipe.otlp.payload import Payload, Refused
from evalpipe.otlp.wire import decode, inspect
from evalpipe.tables import SPANS
from evalpipe.traces.conventions import PROMOTION
from evalpipe.traces.outline import in_batches, outline_frame
from evalpipe.traces.prices import with_costs
from evalpipe.traces.rollup import trace_frame
from evalpipe.traces.spans import Reading, span_frame

_BATCH_SPANS = 50_000  # rolled up at once: the transcripts of so many are some 100 MB of Python objects
_SOURCE = "file"  # stands where a segment's id stands in the pipeline
# The file is all there is, whenever it was written: no span is too early or too late, and no trace is open.
_FIRST_DAY = date(1970, 1, 1)
_LAST = datetime(2260, 1, 1, tzinfo=UTC)


class TracesOfFile(NamedTuple):
    """TRACES rows by start, and what of the file could not become one: payloads and spans, each with its place."""

    traces: pl.DataFrame
    refused: list[Refused]


def traces_in(stream: Stream, path: Path, reading: Reading) -> TracesOfFile:
    """The traces of an OTLP file; they are complete as far as the file goes, and none is open.

    What `evalpipe ingest` and `evalpipe run` make of the same file, but that times are not limited to days which the
    tables have. Raises InputError where the file holds no OTLP at all.
    """
    refused: list[Refused] = []
    settings = reading.settings.model_copy(update={"first_day": _FIRST_DAY})
    decoded = decode(_sound(payloads_in(stream, path, settings), refused), PROMOTION)
    refused += [item._replace(location=item.location.removeprefix(f"{_SOURCE} ")) for item in decoded.refused]
    spans = span_frame(decoded.spans, {_SOURCE: _LAST}, settings=settings, now=_LAST).spans
    del decoded  # with the raw spans there would be three copies
    spans = spans.filter(pl.struct(SPANS.key).is_first_distinct())
    spans = reading.redactor.spans(with_costs(spans, reading.prices))
    outlines = outline_frame(spans.lazy(), now=_LAST, quiet_s=0).sort("start_unix_ns", "trace_id")
    batches = in_batches(outlines, _BATCH_SPANS)
    rows = [trace_frame(spans.join(batch, on="trace_id", how="semi"), batch) for batch in batches]
    return TracesOfFile(pl.concat(rows).sort("start_unix_ns", "trace_id"), refused)


def _sound(items: Iterable[Payload | Refused], refused: list[Refused]) -> Iterator[Payload]:
    """The payloads that are exports of spans; the others join `refused`. A body lives until it is decoded."""
    for item in items:
        unsound = inspect(item) if isinstance(item, Payload) else item
        if isinstance(unsound, Refused):
            refused.append(unsound)
        elif isinstance(item, Payload):
            yield item._replace(location=f"{_SOURCE} {item.location}")
