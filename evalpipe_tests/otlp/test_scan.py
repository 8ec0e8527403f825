import numpy as np
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.exceptions import ComputeError

from evalpipe.otlp.scan import Wire

MANY = 100  # lanes: enough to be walked in lockstep

# The examples of https://protobuf.dev/programming-guides/encoding/: field 1 is the varint 150, field 2 is "testing".
EXAMPLE = bytes.fromhex("089601") + bytes.fromhex("120774657374696e67")


def varint(value: int) -> bytes:
    head = bytearray()
    while value > 0x7F:
        head.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*head, value])


def field(number: int, wire_type: int, value: int | bytes) -> bytes:
    tag = varint(number << 3 | wire_type)
    if isinstance(value, bytes):
        return tag + (varint(len(value)) if wire_type == 2 else b"") + value
    return tag + varint(value)


fields = st.one_of(
    st.tuples(st.integers(1, 2047), st.just(0), st.integers(0, 2**64 - 1)),
    st.tuples(st.integers(1, 2047), st.just(1), st.binary(min_size=8, max_size=8)),
    st.tuples(st.integers(1, 2047), st.just(2), st.binary(max_size=200)),
    st.tuples(st.integers(1, 2047), st.just(5), st.binary(min_size=4, max_size=4)),
)


def read(wire: Wire, lane: int = 0) -> list[tuple[int, int, int | bytes]]:
    """The fields of one message as (field number, wire type, value)."""
    found, is_given_up = wire.walk(wire.messages.start, wire.messages.end)
    assert not is_given_up.any()
    fields = found.where(found.lane == lane)
    rows = zip(*(column.tolist() for column in (*fields, wire.varints(fields.start))), strict=True)
    return [
        (tag >> 3, tag & 7, number % 2**64 if tag & 7 == 0 else wire.bytes[start:end])
        for _, tag, _, start, end, number in rows
    ]


@pytest.mark.parametrize("n_lanes", [1, MANY])
def test_the_examples_of_the_specification(n_lanes):
    assert read(Wire([EXAMPLE] * n_lanes), n_lanes - 1) == [(1, 0, 150), (2, 2, b"testing")]


@given(st.lists(fields, max_size=8), st.sampled_from([1, MANY]))
@settings(deadline=None)
def test_the_fields_are_those_that_protobuf_itself_finds(said, n_lanes):
    body = b"".join(field(*one) for one in said)

    found = read(Wire([body, *[EXAMPLE] * (n_lanes - 1)]))

    assert found == said
    unknown = UnknownFieldSet(Empty.FromString(body))
    assert [(one.field_number, one.wire_type) for one in unknown] == [one[:2] for one in found]


@given(st.binary(max_size=40))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_as_protobuf_reads_them_or_given_up(body):
    for n_lanes in (1, MANY):
        wire = Wire([body] * n_lanes)
        found, is_given_up = wire.walk(wire.messages.start, wire.messages.end)
        assert (found.start <= found.end).all()
        assert (found.end <= wire.messages.end[found.lane]).all()
        if not is_given_up.any():
            try:
                known = UnknownFieldSet(Empty.FromString(body))
            except DecodeError:
                pytest.fail("protobuf refuses what was read")
            assert len(known) * n_lanes == len(found.lane)


def test_lanes_of_different_lengths_keep_the_order_of_their_fields():
    bodies = [b"".join(field(number, 0, lane) for number in range(1, lane % 7 + 1)) for lane in range(MANY)]
    wire = Wire(bodies)
    for lane in (0, 1, 6, 13, 99):  # 0, 1, 6, 6 and 1 fields: the lane modulo 7
        assert read(wire, lane) == [(number, 0, lane) for number in range(1, lane % 7 + 1)]


@pytest.mark.parametrize(
    "body",
    [
        b"\x08",  # a tag without its varint
        b"\x08" + b"\xff" * 10,  # a varint without an end
        b"\x12\x05abc",  # longer than what is there
        b"\x12" + b"\xff" * 9 + b"\x01",  # a length of 2^64 - 1
        b"\x00\x01",  # field number 0
        b"\x0b\x0c",  # a group
        b"\x0e",  # wire type 6
        b"\x88\x80\x80\x00\x01",  # a tag longer than need be
        b"\x09\x00\x00",  # three of eight bytes
    ],
)
@pytest.mark.parametrize("n_lanes", [1, MANY])
def test_what_is_no_message_is_given_up_and_its_neighbours_are_not(body, n_lanes):
    wire = Wire([EXAMPLE, body] * n_lanes)
    found, is_given_up = wire.walk(wire.messages.start, wire.messages.end)
    assert is_given_up.tolist() == [False, True] * n_lanes
    assert np.bincount(found.lane, minlength=2 * n_lanes)[::2].tolist() == [2] * n_lanes


def test_texts_are_cut_out_and_have_to_be_utf8():
    wire = Wire(["Käse 東京".encode(), b"\xff"])
    starts, ends = wire.messages.start, wire.messages.end
    assert wire.slices(starts, ends).to_list() == ["Käse 東京".encode(), b"\xff"]
    assert wire.texts(starts[:1], ends[:1]).to_list() == ["Käse 東京"]
    with pytest.raises(ComputeError):
        wire.texts(starts, ends)


def test_nothing_has_no_fields():
    wire = Wire([])
    assert len(wire.walk(wire.messages.start, wire.messages.end).fields.lane) == 0
