"""OTLP payloads -> one frame of raw spans, and what landing must know of a payload. What attributes mean is
traces/conventions.py's question; whether a span is a span is answered here, and a bad one is refused alone.

Many protobuf spans are read in bulk (protobuf_bulk.py); JSON, few spans and whatever is unusual, one at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import orjson
import polars as pl

from evalpipe.garbage import without_collection
from evalpipe.otlp.columns import MAX_UNIX_NS, Columns, Outline, Place, Promotion, is_hex, problem_of
from evalpipe.otlp.json_form import json_ids, json_spans, json_summary
from evalpipe.otlp.payload import Payload, Refused
from evalpipe.otlp.protobuf_bulk import spans_in_bulk
from evalpipe.otlp.protobuf_form import protobuf_ids, protobuf_spans, protobuf_summary
from evalpipe.otlp.values import MalformedError

_EPOCH = date(1970, 1, 1)
_NS_PER_DAY = 86_400 * 10**9
_NOTHING = Promotion()
_BATCH_BYTES = 16 * 1024 * 1024  # read in bulk at once: fewer pay the fixed cost more often, more leave the cache
_MIN_BULK_BYTES = 1024 * 1024  # below some 400 spans the fixed cost of the bulk, 6 ms, does not pay


class Contents(NamedTuple):
    """What landing must know of a payload."""

    n_spans: int
    days: frozenset[date]  # UTC dates on which its spans start
    n_unusable: int = 0  # spans that `decode` refuses for their ids or times
    first_problem: str | None = None  # why, of the first of these, such as "its trace id is all zeros"


class Decoded(NamedTuple):
    """Raw spans (columns.RAW_SCHEMA and a column per promoted key and family), and what was refused."""

    spans: pl.DataFrame
    refused: list[Refused]


def decode(payloads: Iterable[Payload | Refused], promotion: Promotion = _NOTHING) -> Decoded:
    """Spans of all payloads in order. A span without sound ids and times is refused alone, with its place.

    A payload that cannot be read at all is refused whole; what came refused stays so. The `payload` of a row is the
    index among what was given, so the payloads of many segments can be decoded in one call.
    """
    frames: list[pl.DataFrame] = []
    refused: list[Refused] = []
    with without_collection():
        for batch in _batches(payloads):
            decoded = _decoded(batch, promotion)
            frames.append(decoded.spans)
            refused += decoded.refused
    return Decoded(pl.concat(frames), refused)


def inspect(payload: Payload) -> Contents | Refused:
    """Whether a payload is an export of spans at all; how many it has, their days, and how many cannot be used."""
    try:
        starts, doubtful = (protobuf_summary if payload.encoding == "protobuf" else json_summary)(payload.body)
    except MalformedError as error:
        return Refused(payload.location, str(error), payload.body)
    # Logs and metrics use the same field numbers, so they decode as spans, but as spans without ids.
    if starts and len(doubtful) == len(starts) and not any(map(_is_identified, doubtful)):
        reason = f"none of its {len(starts)} spans has ids; are these logs or metrics? Send traces"
        return Refused(payload.location, reason, payload.body)
    problems = [problem for problem in map(_problem, doubtful) if problem]
    days = {start // _NS_PER_DAY for start in starts if 0 < start <= MAX_UNIX_NS}
    return Contents(
        len(starts),
        frozenset(_EPOCH + timedelta(days=day) for day in days),
        len(problems),
        problems[0] if problems else None,
    )


def trace_ids(payloads: Iterable[Payload | Refused]) -> set[str]:
    """Ids of the traces in sound payloads; nothing else is decoded, and nothing is refused."""
    found: set[str] = set()
    for payload in payloads:
        if isinstance(payload, Refused):
            continue
        try:
            ids = (protobuf_ids if payload.encoding == "protobuf" else json_ids)(payload.body)
            found.update(trace_id for trace_id, span_id in ids if _has_ids(trace_id, span_id))
        except MalformedError:
            continue  # Decoding refuses it, with the reason.
    return found


def _batches(payloads: Iterable[Payload | Refused]) -> Iterator[list[tuple[int, Payload | Refused]]]:
    """Payloads with their index, cut where a batch has its bytes."""
    batch: list[tuple[int, Payload | Refused]] = []
    n_bytes = 0
    for item in enumerate(payloads):
        batch.append(item)
        n_bytes += len(item[1].body) if isinstance(item[1], Payload) else 0
        if n_bytes >= _BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    yield batch


def _decoded(batch: Sequence[tuple[int, Payload | Refused]], promotion: Promotion) -> Decoded:
    protobuf = [(index, item) for index, item in batch if isinstance(item, Payload) and item.encoding == "protobuf"]
    pays = sum(len(payload.body) for _, payload in protobuf) >= _MIN_BULK_BYTES
    bulk = spans_in_bulk(protobuf if pays else [], promotion)
    columns = Columns(promotion)
    refused: list[Refused] = []
    for index, item in batch:
        if isinstance(item, Refused):
            refused.append(item)
        elif index not in bulk.done:
            refused += _collect(index, item, columns)
    if not bulk.done:
        return Decoded(columns.frame(), refused)
    if not len(columns):
        return Decoded(bulk.spans, refused)
    return Decoded(pl.concat([bulk.spans, columns.frame()]).sort("payload", maintain_order=True), refused)


def _collect(index: int, payload: Payload, columns: Columns) -> Iterator[Refused]:
    """Add a payload's sound spans to `columns`; what is refused comes out."""
    spans = (protobuf_spans if payload.encoding == "protobuf" else json_spans)(payload.body)
    try:
        for number, item in enumerate(spans, 1):
            if len(item) == 2:
                problem, content = str(item[0]), item[1]
            else:
                origin, span, attributes = item
                problem = problem_of(span)
                if problem is None:
                    columns.add(Place(index, payload.location, number), span, origin, attributes)
                    continue
                content = {**span._asdict(), "attributes": dict(attributes)}
            yield Refused(f"{payload.location}, span {number}", problem, _shown(content))
    except MalformedError as error:
        yield Refused(payload.location, str(error), payload.body)


def _problem(outline: Outline | MalformedError) -> str | None:
    return str(outline) if isinstance(outline, MalformedError) else problem_of(outline)


def _is_identified(outline: Outline | MalformedError) -> bool:
    return isinstance(outline, Outline) and _has_ids(outline.trace_id, outline.span_id)


def _has_ids(trace_id: str, span_id: str) -> bool:
    return is_hex(trace_id, 32) and is_hex(span_id, 16)


def _shown(content: Any) -> bytes | None:
    try:
        return orjson.dumps(content)
    except TypeError:
        return None  # It nests deeper than JSON is written; the segment keeps it.
