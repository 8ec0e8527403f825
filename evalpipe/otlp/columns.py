"""Spans being collected, a list a column, until they are one frame. Both encodings end here.

Attributes that the caller promotes become columns of their own while they are in hand; the rest stay together as
one JSON object.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from evalpipe.otlp.values import MalformedError

Rows = NDArray[np.int64]

MAX_UNIX_NS = 2**63 - 1  # times are stored as signed 64-bit nanoseconds: up to the year 2262

RAW_SCHEMA = pl.Schema(
    {
        "payload": pl.Int64,  # its index among the payloads given
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
        "gate_ref": pl.String,
        "resource": pl.String,  # resource and scope without the four above, JSON object
        "attributes": pl.String,  # those that were not promoted, JSON object
    }
)
"""Columns of decoded spans, before those of promoted attributes."""

_RESOURCE_KEYS = (
    ("service.name",),
    ("service.version",),
    ("deployment.environment.name", "deployment.environment"),
    ("evalpipe.gate.id",),
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


class Place(NamedTuple):
    """Where a span stood."""

    payload: int  # index among the payloads given
    location: str  # of that payload
    number: int  # of the span in it, from 1


class Outline(NamedTuple):
    """What of a span decides whether it can be used, as in RawSpan."""

    trace_id: str
    span_id: str
    parent_span_id: str
    start_unix_ns: int
    end_unix_ns: int


class Summary(NamedTuple):
    """The spans of a payload at a glance."""

    starts: list[int]  # unix ns, one a span; 0 of one whose start cannot be read
    doubtful: list[Outline | MalformedError]  # spans that may not be usable; all others are


class Origin(NamedTuple):
    """What the spans of one resource and scope share."""

    service_name: str | None
    service_version: str | None
    environment: str | None
    gate_ref: str | None
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
        named.append(text_of(found[0]) if found else None)
    # The names that OpenTelemetry gives a scope where the wire has no place for one.
    rest |= {f"otel.scope.{key}": value for key, value in (("name", scope_name), ("version", scope_version)) if value}
    service_name, service_version, environment, gate_ref = named
    return Origin(service_name, service_version, environment, gate_ref, json_text({**scope, **rest}))


def problem_of(span: RawSpan | Outline) -> str | None:
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
        self._promoted = {key: _Sparse([], []) for key in sorted(promotion.keys)}
        self._families = {prefix: _Sparse([], []) for prefix in promotion.families}
        self._prefixes = promotion.families
        self._kept = promotion.kept
        self._n_rows = 0

    def __len__(self) -> int:
        return self._n_rows

    def add(self, place: Place, span: RawSpan, origin: Origin, attributes: Iterable[tuple[str, Any]]) -> None:
        """One span; of an attribute that is there twice the last counts."""
        row = (
            *place,
            span.trace_id,
            span.span_id,
            span.parent_span_id if span.parent_span_id.strip("0") else None,
            span.name,
            span.start_unix_ns,
            span.end_unix_ns or None,
            span.status_code,
            span.status_message or None,
            json_text(span.events),
            json_text(span.links),
            *origin,
            json_text(self._unpromoted(attributes)),
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
        cells = Cells()
        sparse = {column_of(key): column for key, column in {**self._promoted, **self._families}.items()}
        for name, (rows, values) in sparse.items():
            if rows:
                cells.put(name, np.array(rows), cells.add(pl.Series(values, dtype=pl.String)))
        return pl.DataFrame(own).with_columns(**cells.series(sparse, self._n_rows))

    def _unpromoted(self, attributes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Put promoted attributes into their columns; the others."""
        rest: dict[str, Any] = {}
        families: dict[str, dict[str, Any]] = {}
        promoted = self._promoted
        for key, value in attributes:
            sparse = promoted.get(key)
            if sparse is not None:
                if value is not None:
                    sparse.rows.append(self._n_rows)
                    sparse.values.append(value if type(value) is str else text_of(value))
                if key in self._kept:
                    rest[key] = value
            elif key.startswith(self._prefixes):
                prefix = next(p for p in self._prefixes if key.startswith(p))
                families.setdefault(prefix, {})[key.removeprefix(prefix)] = value
            else:
                rest[key] = value
        for prefix, members in families.items():
            self._families[prefix].rows.append(self._n_rows)
            self._families[prefix].values.append(text_of(members))
        return rest


class _Sparse(NamedTuple):
    """A column that few spans have: the rows that have a value, and the values."""

    rows: list[int]
    values: list[str]


class Cells:
    """Text columns that few rows have, in the making: all values together, and which of them a row of a column has."""

    def __init__(self) -> None:
        self._values: list[pl.Series] = [pl.Series(dtype=pl.String)]
        self._n_values = 0
        self._places: dict[str, list[tuple[Rows, Rows]]] = {}

    def add(self, values: pl.Series) -> Rows:
        """Take values; where they are from now on."""
        self._values.append(values)
        self._n_values += len(values)
        return np.arange(self._n_values - len(values), self._n_values)

    def put(self, column: str, rows: Rows, places: Rows) -> None:
        """Give rows of a column the values at these places; a row that is given two has the last."""
        self._places.setdefault(column, []).append((rows, places))

    def series(self, names: Iterable[str], n_rows: int) -> dict[str, pl.Series]:
        """These columns, null where a row was given nothing."""
        values = pl.lit(pl.concat(self._values, rechunk=True))
        nothing = pl.repeat(None, n_rows, dtype=pl.String, eager=True)
        place = pl.DataFrame({name: self._place(name, n_rows) for name in names if name in self._places})
        cells = [values.gather(pl.when(pl.col(name) >= 0).then(name)).alias(name) for name in place.columns]
        return dict.fromkeys(names, nothing) | place.select(cells).to_dict()

    def _place(self, name: str, n_rows: int) -> Rows:
        place = np.full(n_rows, -1)
        for rows, places in self._places[name]:
            place[rows] = places
        return place


def text_of(value: Any) -> str:
    """A value as text: a string is itself, anything else is JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def json_text(value: Any) -> str | None:
    """JSON text; None of nothing."""
    return orjson.dumps(value).decode() if value else None
