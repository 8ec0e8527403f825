"""Protobuf's wire format, read for many messages at once: numpy walks them in lockstep, each message a lane.

A step reads the next field of every lane: a tag, then a varint, a length with its bytes, or a fixed number. A lane
whose bytes are no message, or that use what no sender of OTLP does (groups, field numbers above 2047, overlong
varints), is given up: the caller reads it in another way. What fields mean is protobuf_bulk.py's question.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from arro3.core import Array, list_array
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Wire types. Fixed numbers have 1 (eight bytes) and 5 (four); 3 and 4 are groups, 6 and 7 are none.
_VARINT, _LENGTH_DELIMITED = 0, 2
_N_FIXED_BYTES = np.array([0, 8, 0, 0, 0, 4, 0, 0])
_MAX_TAG_BYTES, _MAX_LENGTH_BYTES, _MAX_VARINT_BYTES = 2, 4, 10
_ANY = 99  # what follows the tag of a fixed number is no varint, however long it looks
_MAX_NUMBER_BYTES = np.array([_MAX_VARINT_BYTES, _ANY, _MAX_LENGTH_BYTES, 0, 0, _ANY, 0, 0])  # a wire type each
_BEYOND = 1 << 62  # the end of a field that cannot be read: outside of any message
_PADDING = bytes(2 * (_MAX_VARINT_BYTES + 1))  # what is read of a cut-off message is still there
_N_LANES = 8_192  # walked together: what a step makes stays in the processor's cache
_FEW = 32  # lanes are quicker walked one after the other than in lockstep


class Fields(NamedTuple):
    """The fields of many messages; those of one lane follow each other as they stand, others may come between.

    Places count from where the wire begins.
    """

    lane: Ints  # index of the message
    tag: Ints  # field number << 3 | wire type
    at: Ints  # where the tag begins
    start: Ints  # where the value begins, after its length
    end: Ints

    def where(self, chosen: Flags) -> "Fields":
        """Those that are chosen."""
        places = np.flatnonzero(chosen)  # once, not once a column
        return Fields(*(column[places] for column in self))

    def of(self, tag: int) -> "Fields":
        """Those with one tag."""
        return self.where(self.tag == tag)

    def apart_from(self, tags: Collection[int]) -> "Fields":
        """Those with none of these tags."""
        is_other = np.ones(1 << 7 * _MAX_TAG_BYTES, dtype=np.bool_)
        is_other[list(tags)] = False
        return self.where(is_other[self.tag])

    def in_order(self) -> "Fields":
        """Lane after lane."""
        if (np.diff(self.lane) >= 0).all():
            return self
        order = np.argsort(self.lane, kind="stable")
        return Fields(*(column[order] for column in self))


_NO_FIELDS = Fields(*(np.zeros(0, dtype=np.int64) for _ in Fields._fields))


class Walk(NamedTuple):
    """The fields of lanes; of a lane that was given up, those before the trouble."""

    fields: Fields
    is_given_up: Flags  # a lane each


class Wire:
    """Messages laid one after the other."""

    def __init__(self, messages: Sequence[bytes]) -> None:
        self.bytes = b"".join([*messages, _PADDING])
        lengths = np.array([len(message) for message in messages], dtype=np.int64)
        end = np.cumsum(lengths)
        lane = np.arange(len(messages))
        self.messages = Fields(lane, lane, end - lengths, end - lengths, end)  # as if they were fields
        self._octets = np.frombuffer(self.bytes, dtype=np.uint8)
        self._values = Array.from_buffer(self.bytes)

    def walk(self, start: Ints, end: Ints) -> Walk:
        """The fields of the messages that lie at these places."""
        steps = [_NO_FIELDS]
        is_given_up = np.zeros(len(start), dtype=np.bool_)
        lanes = np.flatnonzero(start < end)
        for first in range(0, len(lanes), _N_LANES):
            lane = lanes[first : first + _N_LANES]
            at, limit = start[lane], end[lane]
            while len(lane) > _FEW:
                step = self._step(lane, at)
                is_sound = step.end <= limit
                if not is_sound.all():
                    is_given_up[lane[~is_sound]] = True
                    step, limit = step.where(is_sound), limit[is_sound]
                steps.append(step)
                goes_on = step.end < limit
                lane, at = step.lane, step.end
                if not goes_on.all():
                    lane, at, limit = lane[goes_on], at[goes_on], limit[goes_on]
            for one, place, stop in zip(lane.tolist(), at.tolist(), limit.tolist(), strict=True):
                rows = list(_fields_of_one(self.bytes, one, place, stop))
                is_given_up[one] = (rows[-1][4] if rows else place) != stop
                steps.append(Fields(*np.array(rows, dtype=np.int64).reshape(-1, len(Fields._fields)).T))
        return Walk(Fields(*map(np.concatenate, zip(*steps, strict=True))), is_given_up)

    def slices(self, start: Ints, end: Ints) -> pl.Series:
        """The bytes at these places, which ascend. They are not copied, so they keep the wire in memory."""
        # Arrow has lists of bytes that lie one after the other: here every second is what lies between two places.
        edges = np.zeros(2 * len(start) + 1, dtype=np.int64)
        edges[1::2], edges[2::2] = start, end
        return pl.Series(list_array(Array(edges), self._values)).cast(pl.Binary).gather_every(2, 1)

    def texts(self, start: Ints, end: Ints) -> pl.Series:
        """The same as text. Raises ComputeError where it is not UTF-8."""
        return self.slices(start, end).cast(pl.String)

    def octets(self, start: Ints, n_octets: int) -> NDArray[np.uint8]:
        """So many bytes from each of these places on, a row each."""
        return sliding_window_view(self._octets, n_octets)[start]

    def varints(self, start: Ints) -> Ints:
        """The 64 bits of the varints that begin at these places."""
        return self._varints(start)[0]

    def _step(self, lane: Ints, at: Ints) -> Fields:
        """The field of every lane at `at`; one that cannot be read ends beyond everything."""
        tag, after = self._varints(at)
        number, stop = self._varints(after)
        wire_type = tag & 7
        is_delimited = wire_type == _LENGTH_DELIMITED
        start = np.where(is_delimited, stop, after)
        end = np.where(
            is_delimited, stop + number, np.where(wire_type == _VARINT, stop, after + _N_FIXED_BYTES[wire_type])
        )
        is_unreadable = (
            (after - at > _MAX_TAG_BYTES)
            | (tag < 8)  # field number 0
            | (stop - after > _MAX_NUMBER_BYTES[wire_type])
        )
        return Fields(lane, tag, at, start, np.where(is_unreadable, _BEYOND, end))

    def _varints(self, at: Ints) -> tuple[Ints, Ints]:
        """The varints at these places, and where each ends; one that is too long ends a byte after the longest."""
        octet = self._octets[at]
        value = (octet & 0x7F).astype(np.int64)
        end = at + 1
        more = np.flatnonzero(octet > 0x7F)
        for n_bytes in range(1, _MAX_VARINT_BYTES):
            if not len(more):
                break
            octet = self._octets[end[more]]
            value[more] |= (octet & 0x7F).astype(np.int64) << 7 * n_bytes
            end[more] += 1
            more = more[octet > 0x7F]
        end[more] += 1
        return value, end


def _fields_of_one(data: bytes, lane: int, at: int, limit: int) -> Iterator[tuple[int, int, int, int, int]]:
    """What `_step` reads of one lane, to its end or to the first field that cannot be read."""
    while at < limit:
        tag, after = _varint(data, at)
        length, stop = _varint(data, after)
        match tag & 7:
            case 0 if stop - after <= _MAX_VARINT_BYTES:
                start, end = after, stop
            case 2 if stop - after <= _MAX_LENGTH_BYTES:
                start, end = stop, stop + length
            case 1:
                start, end = after, after + 8
            case 5:
                start, end = after, after + 4
            case _:
                return
        if after - at > _MAX_TAG_BYTES or tag < 8 or end > limit:
            return
        yield lane, tag, at, start, end
        at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    if value <= 0x7F:
        return value, at + 1
    value &= 0x7F
    for n_bytes in range(1, _MAX_VARINT_BYTES):
        octet = data[at + n_bytes]
        value |= (octet & 0x7F) << 7 * n_bytes
        if octet <= 0x7F:
            return value, at + n_bytes + 1
    return value, at + _MAX_VARINT_BYTES + 1
