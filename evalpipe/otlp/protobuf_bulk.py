"""The protobuf form of many export requests -> spans, all at once: scan.py walks the wire, polars cuts the columns.

Read here is what makes up nearly all of traffic: ids, times, names, and attributes that are a string, a number or a
truth value. What remains of a request (resources, scopes, events, links, fields of newer versions) is still an
export request, and protobuf_form.py reads it. A payload with anything unusual is not done here at all: a span that
has to be refused, a part that is no message or no UTF-8, a field that may be there once and is there twice.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import ComputeError

from evalpipe.otlp.columns import MAX_UNIX_NS, RAW_SCHEMA, Cells, Origin, Promotion, column_of, json_text, text_of
from evalpipe.otlp.payload import Payload
from evalpipe.otlp.protobuf_form import events, links
from evalpipe.otlp.protobuf_form import pairs as pairs_of
from evalpipe.otlp.protobuf_form import scopes as scopes_of
from evalpipe.otlp.scan import Fields, Flags, Ints, Wire
from evalpipe.otlp.values import MalformedError, double


class Bulk(NamedTuple):
    """Spans as columns.Columns gives them, and the payloads that they are all of."""

    spans: pl.DataFrame
    done: frozenset[int]  # indexes of payloads


_NOTHING_DONE = Bulk(pl.DataFrame(), frozenset())

# Tags: field number << 3 | wire type. Sources: opentelemetry-proto v1, trace.proto, common.proto.
_RESOURCE_SPANS = 1 << 3 | 2  # of a request
_SCOPE_SPANS = 2 << 3 | 2  # of resource spans
_SPANS = 2 << 3 | 2  # of scope spans
_TRACE_ID, _SPAN_ID, _TRACE_STATE, _PARENT_ID, _NAME = (number << 3 | 2 for number in (1, 2, 3, 4, 5))
_START, _END = 7 << 3 | 1, 8 << 3 | 1
_ATTRIBUTE, _STATUS = 9 << 3 | 2, 15 << 3 | 2
_UNUSED = (6 << 3, 10 << 3, 12 << 3, 14 << 3, 16 << 3 | 5)  # kind, three dropped counts, flags
_OF_SPAN = (_TRACE_ID, _SPAN_ID, _TRACE_STATE, _PARENT_ID, _NAME, _START, _END, _ATTRIBUTE, _STATUS, *_UNUSED)
_MESSAGE, _CODE = 2 << 3 | 2, 3 << 3  # of a status
_KEY, _VALUE = 1 << 3 | 2, 2 << 3 | 2  # of a key-value pair
_STRING, _BOOL, _INT, _DOUBLE = 1 << 3 | 2, 2 << 3, 3 << 3, 4 << 3 | 1  # of an AnyValue
_BY_PROTOBUF = 0  # stands for the tag of any other value

_NO_ORIGIN = Origin(*[None] * len(Origin._fields))


def spans_in_bulk(payloads: Sequence[tuple[int, Payload]], promotion: Promotion) -> Bulk:
    """The spans of payloads with their indexes, without the payloads that have to be read one span at a time."""
    try:
        return _bulk(payloads, promotion) if payloads else _NOTHING_DONE
    except ComputeError:  # Some text is no UTF-8. Landing lets none in, so finding out which would not pay.
        return _NOTHING_DONE


def _bulk(payloads: Sequence[tuple[int, Payload]], promotion: Promotion) -> Bulk:
    wire = Wire([payload.body for _, payload in payloads])
    is_unusual = np.zeros(len(payloads), dtype=np.bool_)
    requests = _Messages(wire, wire.messages, np.arange(len(payloads)), is_unusual)
    resources = requests.inside(_RESOURCE_SPANS)
    scopes = resources.inside(_SCOPE_SPANS)
    spans = scopes.inside(_SPANS)

    rows = spans.payload
    cells = Cells()
    columns = {
        "payload": pl.Series([index for index, _ in payloads], dtype=pl.Int64).gather(rows),
        "location": pl.Series([payload.location for _, payload in payloads], dtype=pl.String).gather(rows),
        "number": pl.Series(np.arange(1, len(rows) + 1) - np.searchsorted(rows, rows)),
        **_own_columns(spans, cells),
        **_columns_of_remains(requests, resources, scopes, spans, cells),
    }
    _put_attributes(spans, promotion, cells)
    names = (*RAW_SCHEMA, *map(column_of, (*sorted(promotion.keys), *promotion.families)))
    columns |= cells.series([name for name in names if name not in columns], len(spans))
    frame = pl.DataFrame([columns[name].alias(name) for name in names])
    done = frozenset(index for (index, _), unusual in zip(payloads, is_unusual.tolist(), strict=True) if not unusual)
    return Bulk(frame if not is_unusual.any() else frame.filter(~is_unusual[rows]), done)


class _Messages:
    """All messages of one kind, with their fields. `is_unusual` is of the payloads; whoever finds cause marks them."""

    def __init__(self, wire: Wire, places: Fields, payload: Ints, is_unusual: Flags) -> None:
        self.wire = wire
        self.places = places
        self.payload = payload  # of each message
        self.is_unusual = is_unusual
        self.fields, is_given_up = wire.walk(places.start, places.end)
        self.mark(is_given_up)

    def __len__(self) -> int:
        return len(self.payload)

    @property
    def parent(self) -> Ints:
        return self.places.lane

    def mark(self, messages: Flags | Ints) -> None:
        """The payloads of these messages are not for the bulk."""
        self.is_unusual[self.payload[messages]] = True

    def inside(self, tag: int) -> "_Messages":
        """The messages that are their fields of this tag, in the order of the wire."""
        places = self.fields.of(tag).in_order()
        return _Messages(self.wire, places, self.payload[places.lane], self.is_unusual)

    def single(self, tag: int) -> "_Single":
        """A field that each may have once."""
        fields = self.fields.of(tag)
        found = _Single(self.places.start.copy(), self.places.start.copy(), np.zeros(len(self), dtype=np.bool_))
        for column, values in zip(found, (fields.start, fields.end, True), strict=True):
            column[fields.lane] = values
        if found.is_there.sum() < len(fields.lane):
            self.mark(np.bincount(fields.lane, minlength=len(self)) > 1)
        return found

    def without(self, tags: Collection[int]) -> list[bytearray]:
        """What each is without its fields of these tags."""
        rests = [bytearray() for _ in range(len(self))]
        others = self.fields.apart_from(tags).in_order()
        for lane, at, end in zip(others.lane.tolist(), others.at.tolist(), others.end.tolist(), strict=True):
            rests[lane] += self.wire.bytes[at:end]
        return rests


class _Single(NamedTuple):
    """A field that each message has at most once. Where it has none: nothing, at the message's start."""

    start: Ints
    end: Ints
    is_there: Flags


def _own_columns(spans: _Messages, cells: Cells) -> dict[str, pl.Series]:
    """Ids, name, times and status. Spans that have to be refused are marked."""
    wire, n_spans = spans.wire, len(spans)
    trace_id, span_id, parent_id = (spans.single(tag) for tag in (_TRACE_ID, _SPAN_ID, _PARENT_ID))
    start, end = (_fixed64(wire, spans.single(tag)) for tag in (_START, _END))
    spans.mark(~(_is_id(wire, trace_id, 16) & _is_id(wire, span_id, 8)))
    spans.mark(~np.isin(parent_id.end - parent_id.start, (0, 8)))
    spans.mark((start == 0) | (start > MAX_UNIX_NS) | (end > MAX_UNIX_NS) | ((end < start) & (end != 0)))
    trace_state, name = spans.single(_TRACE_STATE), spans.single(_NAME)
    wire.texts(trace_state.start, trace_state.end)  # no column, but it has to be text
    statuses = spans.inside(_STATUS)
    statuses.mark(np.bincount(statuses.parent, minlength=n_spans)[statuses.parent] > 1)
    statuses.mark(statuses.fields.apart_from((_MESSAGE, _CODE)).lane)
    message = statuses.single(_MESSAGE)
    said = message.end > message.start
    cells.put("status_message", statuses.parent[said], cells.add(wire.texts(message.start[said], message.end[said])))
    told = statuses.single(_CODE)
    code = np.zeros(n_spans, dtype=np.int32)  # an enum is the low 32 bits
    code[statuses.parent[told.is_there]] = wire.varints(told.start[told.is_there]).astype(np.int32)
    columns = pl.DataFrame(
        {
            "trace_id": _hex(wire, trace_id),
            "span_id": _hex(wire, span_id),
            "parent_span_id": _hex(wire, parent_id),
            "name": wire.texts(name.start, name.end),
            "start_unix_ns": start.astype(np.int64),
            "end_unix_ns": end.astype(np.int64),
            "status_code": code.astype(np.int64),
        }
    )
    return columns.with_columns(
        pl.when(pl.col("parent_span_id").str.strip_chars("0") != "").then("parent_span_id"),
        pl.when(pl.col("end_unix_ns") != 0).then("end_unix_ns"),
    ).to_dict()


def _is_id(wire: Wire, field: _Single, n_bytes: int) -> Flags:
    return (field.end - field.start == n_bytes) & wire.octets(field.start, n_bytes).any(axis=1)


def _hex(wire: Wire, field: _Single) -> pl.Series:
    return wire.slices(field.start, field.end).bin.encode("hex")


def _fixed64(wire: Wire, field: _Single) -> NDArray[np.uint64]:
    return np.where(field.is_there, wire.octets(field.start, 8).view("<u8").ravel(), 0)


def _columns_of_remains(
    requests: _Messages, resources: _Messages, scopes: _Messages, spans: _Messages, cells: Cells
) -> dict[str, pl.Series]:
    """Resource, scope, events and links: protobuf reads them from requests that lack what is read here."""
    of_span = spans.without(_OF_SPAN)
    has_rest = np.fromiter(map(bool, of_span), dtype=np.bool_)
    of_scope = _filled(scopes.without((_SPANS,)), _SPANS, spans.parent[has_rest], filter(None, of_span))
    of_resource = _filled(resources.without((_SCOPE_SPANS,)), _SCOPE_SPANS, scopes.parent, of_scope)
    bodies = _filled(requests.without((_RESOURCE_SPANS,)), _RESOURCE_SPANS, resources.parent, of_resource)
    n_scopes = np.bincount(scopes.payload, minlength=len(requests)).tolist()
    n_rests = np.bincount(spans.payload[has_rest], minlength=len(requests)).tolist()

    origins: list[Origin] = []
    rests: list[tuple[str | None, str | None]] = []
    for number, body in enumerate(bodies):
        try:
            found = [] if requests.is_unusual[number] else list(scopes_of(bytes(body)))
        except MalformedError:
            found = []
            requests.is_unusual[number] = True
        if requests.is_unusual[number]:
            origins += [_NO_ORIGIN] * n_scopes[number]
            rests += [(None, None)] * n_rests[number]
        origins += [origin for origin, _ in found]
        rests += [(json_text(events(span)), json_text(links(span))) for _, rest in found for span in rest]

    for name, texts in zip(("events", "links"), zip(*rests, strict=True), strict=False):
        cells.put(name, np.flatnonzero(has_rest), cells.add(pl.Series(texts, dtype=pl.String)))
    shared = pl.DataFrame(origins, schema=dict.fromkeys(Origin._fields, pl.String), orient="row")
    return shared.select(pl.all().gather(spans.parent)).to_dict()


def _filled(rests: list[bytearray], tag: int, parent: Ints, children: Iterable[bytes | bytearray]) -> list[bytearray]:
    """Messages with `children` put back as fields of `tag`."""
    for lane, child in zip(parent.tolist(), children, strict=True):
        rests[lane] += _field(tag, child)
    return rests


def _field(tag: int, content: bytes | bytearray) -> bytes:
    """A length-delimited field."""
    head = bytearray([tag])
    length = len(content)
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + content


def _put_attributes(spans: _Messages, promotion: Promotion, cells: Cells) -> None:
    """The columns of promoted attributes, and `attributes` with the others."""
    pairs = _Pairs(spans.inside(_ATTRIBUTE))
    objects: dict[str, list[Ints]] = {prefix: [] for prefix in ("", *promotion.families)}
    place = pairs.add_texts(cells, np.array([key in promotion.keys for key in pairs.keys], dtype=np.bool_))
    for key, chosen in zip(pairs.keys, pairs.by_key, strict=True):
        if key in promotion.keys:
            said = chosen[place[chosen] >= 0]
            cells.put(column_of(key), pairs.row[said], place[said])
        if key not in promotion.keys or key in promotion.kept:
            is_member = key not in promotion.keys and key.startswith(promotion.families)
            prefix = next(p for p in promotion.families if key.startswith(p)) if is_member else ""
            objects[prefix].append(chosen)
    for prefix, groups in objects.items():
        if groups:
            rows, texts = pairs.objects(np.sort(np.concatenate(groups)), prefix)
            cells.put(column_of(prefix) if prefix else "attributes", rows, cells.add(texts))


class _Pairs:
    """Attributes: the row of each, its key and its value. Plain values are read here, the others by protobuf."""

    def __init__(self, pairs: _Messages) -> None:
        self.row = pairs.parent
        self._wire = pairs.wire
        key, values = pairs.single(_KEY), pairs.inside(_VALUE)
        keys = pl.DataFrame({"key": self._wire.slices(key.start, key.end)}).with_row_index("pair")
        of_key = keys.group_by("key", maintain_order=True).agg("pair")
        self.keys: list[str] = of_key["key"].cast(pl.String).to_list()
        self.by_key: list[Ints] = [of_one.to_numpy() for of_one in of_key["pair"]]  # indexes of its pairs, ascending
        self.key = np.zeros(len(pairs), dtype=np.int64)
        for number, of_one in enumerate(self.by_key):
            self.key[of_one] = number
        pair = values.parent[values.fields.lane]
        self._tag, self._start, self._end = (np.zeros(len(pairs), dtype=np.int64) for _ in range(3))
        self._tag[pair], self._start[pair], self._end[pair] = values.fields.tag, values.fields.start, values.fields.end
        is_plain = np.isin(self._tag, (_STRING, _BOOL, _INT, _DOUBLE)) & key.is_there
        for lanes, n_expected in ((pairs.fields.lane, 2), (pair, 1)):
            is_plain &= np.bincount(lanes, minlength=len(pairs)) == n_expected
        self._tag[~is_plain] = _BY_PROTOBUF
        self._others = self._read_by_protobuf(pairs, np.flatnonzero(~is_plain))

    def add_texts(self, cells: Cells, of_keys: Flags) -> Ints:
        """Add the values of pairs with some keys, as text; their places, -1 of a pair with another key or no value."""
        place = np.full(len(self.row), -1)
        chosen = of_keys[self.key]
        strings, integers = (np.flatnonzero(chosen & (self._tag == tag)) for tag in (_STRING, _INT))
        place[strings] = cells.add(self._wire.texts(self._start[strings], self._end[strings]))
        place[integers] = cells.add(pl.Series(self._wire.varints(self._start[integers])).cast(pl.String))
        others = np.flatnonzero(chosen & (place < 0))
        values = self._values(others)
        said = np.array([value is not None for value in values], dtype=np.bool_)
        place[others[said]] = cells.add(pl.Series([text_of(v) for v in values if v is not None], dtype=pl.String))
        return place

    def objects(self, chosen: Ints, prefix: str) -> tuple[Ints, pl.Series]:
        """Pairs as a JSON object a row, keys without `prefix`; of a key that is there twice the last value."""
        rows = self.row[chosen]
        names = np.array([key.removeprefix(prefix) for key in self.keys], dtype=object)[self.key[chosen]].tolist()
        members = zip(names, self._values(chosen), strict=True)
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        n_members = np.diff(first, append=len(rows))
        texts = [orjson.dumps(dict(islice(members, n))) for n in n_members.tolist()]
        return rows[first], pl.Series(texts, dtype=pl.Binary).cast(pl.String)

    def _values(self, chosen: Ints) -> list[Any]:
        tag = self._tag[chosen]
        values = np.empty(len(chosen), dtype=object)
        for kind, read in (
            (_STRING, lambda which: self._wire.texts(self._start[which], self._end[which]).to_list()),
            (_INT, lambda which: self._wire.varints(self._start[which]).tolist()),
            (_BOOL, lambda which: (self._wire.varints(self._start[which]) != 0).tolist()),
            (_DOUBLE, lambda which: map(double, self._wire.octets(self._start[which], 8).view("<f8").ravel().tolist())),
            (_BY_PROTOBUF, lambda which: map(self._others.__getitem__, which.tolist())),
        ):
            is_kind = tag == kind
            values[is_kind] = np.fromiter(read(chosen[is_kind]), dtype=object, count=np.count_nonzero(is_kind))
        return values.tolist()

    def _read_by_protobuf(self, pairs: _Messages, chosen: Ints) -> dict[int, Any]:
        """Lists, objects, bytes, nothing, and what is unusual; most are few and say the same again and again."""
        known: dict[bytes, Any] = {}
        values: dict[int, Any] = {}
        for pair, at, end in zip(
            chosen.tolist(), pairs.places.at[chosen].tolist(), pairs.places.end[chosen].tolist(), strict=True
        ):
            raw = self._wire.bytes[at:end]
            try:
                values[pair] = known[raw] if raw in known else known.setdefault(raw, _value(raw))
            except MalformedError:
                values[pair] = None
                pairs.mark(np.array([pair]))
        return values


def _value(pair: bytes) -> Any:
    """The value of an attribute's field, read as deep in a request as it stood: protobuf bounds the depth."""
    body = pair
    for tag in (_SPANS, _SCOPE_SPANS, _RESOURCE_SPANS):
        body = _field(tag, body)
    [(_, (span,))] = scopes_of(body)
    return pairs_of(span)[0][1]
