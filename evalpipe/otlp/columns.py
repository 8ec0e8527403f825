"""Spans being collected, a list a column, until they are one frame. Both encodings end here.

Attributes that the caller promotes become columns of their own while they are in hand; the rest stay together as
one JSON object.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl

MAX_UNIX_NS = 2**63 - 1  # times are stored as signed 64-bit nanoseconds: up to the year 2262

RAW_SCHEMA = pl.Schema(
    {
        "location": pl.String,  # of the payload
        "number": pl.Int64,  # of the span in its payload, from 1
        "trace_id": pl.String,
        "span_id": pl.String,
        "parent_span_id": pl.String,  # null for a root
        "name": pl.String,
        "start_unix_ns": pl.Int64,
        "end_unix_ns": pl.Int64,  # null when the span was not finished
        "status_code": pl.Int64,  # 0 unset, 1 ok, 2 error
        "status_message": pl.String,
        "events": pl.String,  # JSON array
        "links": pl.String,  # JSON array
        "service_name": pl.String,
        "service_version": pl.String,
        "environment": pl.String,
        "resource": pl.String,  # resource and scope without the three above, JSON object
        "attributes": pl.String,  # those that were not promoted, JSON object
    }
)
"""Columns of decoded spans, before those of promoted attributes."""

_RESOURCE_KEYS = (
    ("service.name",),
    ("service.version",),
    ("deployment.environment.name", "deployment.environment"),
)


class Promotion(NamedTuple):
    """The attributes that become columns.

    `keys` become text columns (what is not a string as JSON), named by `column_of`. `families` are prefixes ending in
    a dot, whose members together become one JSON object. `kept` keys stand among the other attributes as well.
    """

    keys: frozenset[str] = frozenset()
    families: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()


class RawSpan(NamedTuple):
    """A span's own columns. Ids are lower-case hex, '' when absent; `end_unix_ns` is 0 when it was not finished."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_unix_ns: int
    end_unix_ns: int
    status_code: int
    status_message: str
    events: list[dict[str, Any]]
    links: list[dict[str, Any]]


class Origin(NamedTuple):
    """What the spans of one resource and scope share."""

    service_name: str | None
    service_version: str | None
    environment: str | None
    resource: str | None


def column_of(key: str) -> str:
    """The column of a promoted key or family: it cannot be mistaken for a column of the span itself."""
    return "@" + key


def origin_of(resource: dict[str, Any], scope_name: str, scope_version: str, scope: dict[str, Any]) -> Origin:
    """The shared columns, from the attributes of the resource and of the scope."""
    rest = dict(resource)
    named: list[str | None] = []
    for keys in _RESOURCE_KEYS:
        found = [value for key in keys if (value := rest.pop(key, None)) is not None]
        named.append(_text(found[0]) if found else None)
    # The names that OpenTelemetry gives a scope where the wire has no place for one.
    rest |= {f"otel.scope.{key}": value for key, value in (("name", scope_name), ("version", scope_version)) if value}
    return Origin(named[0], named[1], named[2], _json({**scope, **rest}))


def problem_of(span: RawSpan) -> str | None:
    """Why a span cannot be used: its ids or its times; None when it can."""
    for name, value, n_digits in (("trace id", span.trace_id, 32), ("span id", span.span_id, 16)):
        if not value:
            return f"it has no {name}"
        if not is_hex(value, n_digits):
            return f"its {name} is {value[:64]!r}, not {n_digits} hex digits"
        if value.count("0") == n_digits:
            return f"its {name} is all zeros"
    if span.parent_span_id and not is_hex(span.parent_span_id, 16):
        return f"its parent span id is {span.parent_span_id[:64]!r}, not 16 hex digits"
    start, end = span.start_unix_ns, span.end_unix_ns
    if start == 0:
        return "it has no start time"
    if start > MAX_UNIX_NS or end > MAX_UNIX_NS:
        return "its times lie beyond the year 2262; are they nanoseconds?"
    if end and end < start:
        return f"it ends {start - end} ns before it starts"
    return None


def is_hex(value: str, n_digits: int) -> bool:
    """Whether `value` is that many lower-case hex digits."""
    return len(value) == n_digits and not value.strip("0123456789abcdef")


class Columns:
    """Collects sound spans."""

    def __init__(self, promotion: Promotion) -> None:
        self._lists: list[list[Any]] = [[] for _ in RAW_SCHEMA]
        self._promoted = {key: _Sparse() for key in sorted(promotion.keys)}
        self._families = {prefix: _Sparse() for prefix in promotion.families}
        self._prefixes = promotion.families
        self._kept = promotion.kept
        self._n_rows = 0

    def add(
        self, location: str, number: int, span: RawSpan, origin: Origin, attributes: Iterable[tuple[str, Any]]
    ) -> None:
        """One span; of an attribute that is there twice the last counts."""
        row = (
            location,
            number,
            span.trace_id,
            span.span_id,
            span.parent_span_id if span.parent_span_id.strip("0") else None,
            span.name,
            span.start_unix_ns,
            span.end_unix_ns or None,
            span.status_code,
            span.status_message or None,
            _json(span.events),
            _json(span.links),
            *origin,
            _json(self._unpromoted(attributes)),
        )
        for column, value in zip(self._lists, row, strict=True):
            column.append(value)
        self._n_rows += 1

    def frame(self) -> pl.DataFrame:
        """All spans; equal content gives an equal frame whatever encoding it came in."""
        own = [
            pl.Series(name, values, dtype=dtype)
            for (name, dtype), values in zip(RAW_SCHEMA.items(), self._lists, strict=True)
        ]
        sparse = {**self._promoted, **self._families}
        return pl.DataFrame(own + [column.series(column_of(key), self._n_rows) for key, column in sparse.items()])

    def _unpromoted(self, attributes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Put promoted attributes into their columns; the others."""
        rest: dict[str, Any] = {}
        families: dict[str, dict[str, Any]] = {}
        promoted = self._promoted
        for key, value in attributes:
            sparse = promoted.get(key)
            if sparse is not None:
                if value is not None:
                    sparse.put(self._n_rows, value if type(value) is str else _text(value))
                if key in self._kept:
                    rest[key] = value
            elif key.startswith(self._prefixes):
                prefix = next(p for p in self._prefixes if key.startswith(p))
                families.setdefault(prefix, {})[key.removeprefix(prefix)] = value
            else:
                rest[key] = value
        for prefix, members in families.items():
            self._families[prefix].put(self._n_rows, _text(members))
        return rest


@dataclass
class _Sparse:
    """A column that few spans have: the rows that have a value, and the values."""

    rows: list[int] = field(default_factory=list)
    values: list[str | None] = field(default_factory=list)

    def put(self, row: int, value: str) -> None:
        self.rows.append(row)
        self.values.append(value)

    def series(self, name: str, n_rows: int) -> pl.Series:
        place = np.full(n_rows, len(self.values), dtype=np.uint32)
        place[self.rows] = np.arange(len(self.values), dtype=np.uint32)
        return pl.Series(name, [*self.values, None], dtype=pl.String).gather(place)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _json(value: Any) -> str | None:
    """JSON text; None of nothing."""
    return orjson.dumps(value).decode() if value else None
