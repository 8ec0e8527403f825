"""OTLP payloads -> one frame of raw spans, and what landing must know of a payload. What attributes mean is
traces/conventions.py's question; whether a span is a span is answered here, and a bad one is refused alone.
"""

import gc
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple

import orjson
import polars as pl

from evalpipe.otlp.columns import MAX_UNIX_NS, Columns, Promotion, is_hex, problem_of
from evalpipe.otlp.json_form import json_ids_and_starts, json_spans
from evalpipe.otlp.payload import Payload, Refused
from evalpipe.otlp.protobuf_form import protobuf_ids_and_starts, protobuf_spans
from evalpipe.otlp.values import MalformedError

_EPOCH = date(1970, 1, 1)
_NS_PER_DAY = 86_400 * 10**9
_NOTHING = Promotion()


class Contents(NamedTuple):
    """What landing must know of a payload."""

    n_spans: int
    days: frozenset[date]  # UTC dates on which its spans start


class Decoded(NamedTuple):
    """Raw spans (columns.RAW_SCHEMA and a column per promoted key and family), and what was refused."""

    spans: pl.DataFrame
    refused: list[Refused]


def decode(payloads: Iterable[Payload | Refused], promotion: Promotion = _NOTHING) -> Decoded:
    """Spans of all payloads in order. A span without sound ids and times is refused alone, with its place.

    A payload that cannot be read at all is refused whole; what came refused stays so.
    """
    columns = Columns(promotion)
    refused: list[Refused] = []
    was_enabled = gc.isenabled()
    gc.disable()  # Nothing here is circular, and collecting over millions of live strings triples the time.
    try:
        for payload in payloads:
            if isinstance(payload, Refused):
                refused.append(payload)
                continue
            try:
                refused.extend(_collect(payload, columns))
            except MalformedError as error:
                refused.append(Refused(payload.location, str(error), payload.body))
    finally:
        if was_enabled:
            gc.enable()
    return Decoded(columns.frame(), refused)


def inspect(payload: Payload) -> Contents | Refused:
    """Whether a payload is an export of spans at all; how many it has and their days."""
    try:
        ids_and_starts = list(_ids_and_starts(payload))
    except MalformedError as error:
        return Refused(payload.location, str(error), payload.body)
    # Logs and metrics use the same field numbers, so they decode as spans, but as spans without ids.
    if ids_and_starts and not any(_has_ids(trace_id, span_id) for trace_id, span_id, _ in ids_and_starts):
        reason = f"none of its {len(ids_and_starts)} spans has ids; are these logs or metrics? Send traces"
        return Refused(payload.location, reason, payload.body)
    days = {start // _NS_PER_DAY for _, _, start in ids_and_starts if 0 < start <= MAX_UNIX_NS}
    return Contents(len(ids_and_starts), frozenset(_EPOCH + timedelta(days=day) for day in days))


def trace_ids(payloads: Iterable[Payload | Refused]) -> set[str]:
    """Ids of the traces in sound payloads; nothing else is decoded, and nothing is refused."""
    found: set[str] = set()
    for payload in payloads:
        if isinstance(payload, Refused):
            continue
        try:
            found.update(trace_id for trace_id, span_id, _ in _ids_and_starts(payload) if _has_ids(trace_id, span_id))
        except MalformedError:
            continue  # Decoding refuses it, with the reason.
    return found


def _collect(payload: Payload, columns: Columns) -> Iterator[Refused]:
    """Add a payload's sound spans to `columns`; the others come out."""
    spans = protobuf_spans(payload.body) if payload.encoding == "protobuf" else json_spans(payload.body)
    for number, item in enumerate(spans, 1):
        if len(item) == 2:
            problem, content = str(item[0]), item[1]
        else:
            origin, span, attributes = item
            problem = problem_of(span)
            if problem is None:
                columns.add(payload.location, number, span, origin, attributes)
                continue
            content = {**span._asdict(), "attributes": dict(attributes)}
        yield Refused(f"{payload.location}, span {number}", problem, _shown(content))


def _ids_and_starts(payload: Payload) -> Iterator[tuple[str, str, int]]:
    read = protobuf_ids_and_starts if payload.encoding == "protobuf" else json_ids_and_starts
    return read(payload.body)


def _has_ids(trace_id: str, span_id: str) -> bool:
    return is_hex(trace_id, 32) and is_hex(span_id, 16)


def _shown(content: Any) -> bytes | None:
    try:
        return orjson.dumps(content)
    except TypeError:
        return None  # It nests deeper than JSON is written; the segment keeps it.
