"""What a segment is on disk and called, the form of an older version, and damage at any place in it."""

import random
import re
import zlib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest import mock

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.otlp import segment
from evalpipe.otlp.landing import Landing
from evalpipe.otlp.payload import Payload, Refused
from evalpipe.otlp.segment import Index, Parcel, digest, index_of, read_index, read_segment, write_segment
from evalpipe_tests.otlp.landings import DAY, NOW, SETTINGS, land, on, place_of
from evalpipe_tests.otlp.made import protobuf_payload

MIB = 1 << 20
KINDS = {"protobuf": 1, "json": 2}


class ZstdFrame(NamedTuple):
    """A zstd frame of a file: its bytes from `start` up to `end`, and what is compressed in it."""

    start: int
    end: int
    content: bytes


def index_for(payloads: Iterable[Payload]) -> Index:
    return index_of([Parcel(p, digest(p.body), 1, frozenset({DAY}), "client") for p in payloads], NOW)


def written(path: Path, *bodies: bytes) -> list[Payload]:
    """A segment of these protobuf and JSON bodies by turns; what reading it gives."""
    payloads = [
        Payload(body, "json" if number % 2 else "protobuf", f"payload {number + 1}")
        for number, body in enumerate(bodies)
    ]
    write_segment(path, index_for(payloads), payloads)
    return payloads


def written_in_the_older_form(path: Path, payloads: Sequence[Payload]) -> None:
    """One zstd frame; a header's CRC-32 is the body's alone."""
    frames = [(0, orjson.dumps(index_for(payloads))), *((KINDS[p.encoding], p.body) for p in payloads)]
    content = b"".join(
        len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + bytes([kind]) + body
        for kind, body in frames
    )
    path.write_bytes(zstandard.ZstdCompressor(level=1, write_checksum=True).compress(content))


def zstd_frames(data: bytes) -> list[ZstdFrame]:
    frames: list[ZstdFrame] = []
    start = 0
    while start < len(data):
        one = zstandard.ZstdDecompressor().decompressobj()
        content = one.decompress(data[start:])
        end = len(data) - len(one.unused_data)
        frames.append(ZstdFrame(start, end, content))
        start = end
    return frames


def flip(path: Path, position: int, n_bytes: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[position : position + n_bytes] = bytes(byte ^ 0xFF for byte in data[position : position + n_bytes])
    path.write_bytes(data)


def lost_numbers(items: Iterable[Payload | Refused]) -> list[int]:
    """The numbers of the payloads that refusals name."""
    lost: list[int] = []
    for item in items:
        if isinstance(item, Refused):
            first, *last = map(int, re.findall(r"\d+", item.location))
            lost += range(first, (last or [first])[0] + 1)
    return lost


def sound(items: Iterable[Payload | Refused]) -> list[Payload]:
    return [item for item in items if isinstance(item, Payload)]


def noise(n_bytes: int, seed: int = 1) -> bytes:
    """Bytes that do not compress, so that zstd keeps them as they are."""
    return random.Random(seed).randbytes(n_bytes)


# Its form.


def test_the_index_is_compressed_alone_and_then_a_mebibyte_of_payloads_at_a_time(tmp_path):
    sizes = [MIB // 2, MIB // 2, 1, 3 * MIB, MIB // 4, MIB // 4]
    payloads = written(tmp_path / "a", *(noise(size, seed) for seed, size in enumerate(sizes)))

    index, *frames = zstd_frames((tmp_path / "a").read_bytes())

    assert index.content[9:] == orjson.dumps(index_for(payloads))
    # Nine bytes of header before each body: two halves fill one, and what is larger than one is alone.
    assert [len(frame.content) for frame in frames] == [MIB + 18, 1 + 9, 3 * MIB + 9, MIB // 2 + 18]
    assert list(read_segment(tmp_path / "a")) == payloads
    assert read_index(tmp_path / "a") == index_for(payloads)


def test_a_segment_of_an_older_version_reads_the_same(tmp_path):
    bodies = [noise(MIB // 2, seed) + b"x" * seed for seed in range(4)]
    payloads = written(tmp_path / "new", *bodies)
    written_in_the_older_form(tmp_path / "old", payloads)

    assert list(read_segment(tmp_path / "old")) == payloads
    assert read_index(tmp_path / "old") == index_for(payloads)


def test_damage_in_a_segment_of_an_older_version_costs_what_follows_it(tmp_path):
    payloads = written(tmp_path / "new", *(noise(MIB // 2, seed) for seed in range(4)))
    written_in_the_older_form(tmp_path / "old", payloads)
    data = (tmp_path / "old").read_bytes()
    (tmp_path / "old").write_bytes(data[: data.index(payloads[2].body[:64])])

    *whole, refused = read_segment(tmp_path / "old")

    assert whole == payloads[:2]
    assert refused == Refused("payloads 3 to 4", "2 payloads are lost: the segment is damaged on disk", None)


# Damage.


def test_damage_costs_what_its_zstd_frame_holds_and_every_lost_payload_is_named(tmp_path):
    payloads = written(tmp_path / "a", *(noise(MIB // 4, seed) for seed in range(12)))  # four in a zstd frame
    flip(tmp_path / "a", zstd_frames((tmp_path / "a").read_bytes())[2].start, 16)  # where its header is

    items = list(read_segment(tmp_path / "a"))

    assert items == [
        *payloads[:4],
        Refused("payloads 5 to 8", "4 payloads are lost: the segment is damaged on disk", None),
        *payloads[8:],
    ]


def test_what_is_sound_in_a_segment_without_its_index_comes_through(tmp_path):
    payloads = written(tmp_path / "a", *(noise(MIB, seed) for seed in range(3)))
    flip(tmp_path / "a", 30)

    *whole, refused = read_segment(tmp_path / "a")

    assert whole == payloads
    assert isinstance(refused, Refused)
    assert refused.location == "index"


def test_a_zstd_frame_within_a_payload_is_no_part_of_its_segment(tmp_path):
    (forged,) = written(tmp_path / "forged", b"forged")
    (genuine,) = written(tmp_path / "genuine", noise(2_000, 3))
    within = noise(500) + (tmp_path / "forged").read_bytes() + (tmp_path / "genuine").read_bytes() + noise(500, 2)
    payloads = written(tmp_path / "a", within, noise(MIB, 4))
    data = (tmp_path / "a").read_bytes()
    assert within in data  # as it is: what does not compress is kept

    flip(tmp_path / "a", data.index(within) + 100)
    items = list(read_segment(tmp_path / "a"))

    assert forged not in items
    assert genuine not in items
    assert sound(items) == payloads[1:]
    assert lost_numbers(items) == [1]


BODIES = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=400),
        st.integers(1, 60).map(lambda n: b"the same again, " * n),
        st.binary(max_size=40).map(lambda tail: b"\x28\xb5\x2f\xfd" + tail),
        st.integers(1, 400).map(bytes),  # zeros, which look like empty frames
    ),
    min_size=1,
    max_size=12,
    unique=True,
)
PLACES = st.floats(0, 1, exclude_max=True)  # in a file


@given(BODIES, st.lists(st.tuples(PLACES, st.integers(1, 255)), min_size=1, max_size=8), st.integers(0, 600))
def test_whatever_bytes_are_flipped_payloads_are_whole_or_refused(bodies, flips, zstd_frame_bytes):
    with TemporaryDirectory() as folder, mock.patch.object(segment, "_ZSTD_FRAME", zstd_frame_bytes):
        path = Path(folder) / "a"
        payloads = written(path, *bodies)
        data = path.read_bytes()
        damaged = bytearray(data)
        for place, mask in flips:
            damaged[int(place * len(data))] ^= mask
        path.write_bytes(damaged)
        items = list(read_segment(path))

    expect_whole_or_refused(items, payloads, data, bytes(damaged))


@given(BODIES, PLACES, st.integers(0, 600))
def test_wherever_a_segment_is_cut_off_payloads_are_whole_or_refused(bodies, place, zstd_frame_bytes):
    with TemporaryDirectory() as folder, mock.patch.object(segment, "_ZSTD_FRAME", zstd_frame_bytes):
        path = Path(folder) / "a"
        payloads = written(path, *bodies)
        data = path.read_bytes()
        path.write_bytes(data[: int(place * len(data))])
        items = list(read_segment(path))

    expect_whole_or_refused(items, payloads, data, data[: int(place * len(data))])


def expect_whole_or_refused(items: list[Payload | Refused], payloads: list[Payload], data: bytes, damaged: bytes):
    """Nothing else is ever a payload, those in sound zstd frames are there in order, and all others are counted."""
    originals = [(payload.body, payload.encoding) for payload in payloads]
    found = [originals.index((item.body, item.encoding)) for item in sound(items)]
    assert found == sorted(set(found))
    kept = b"".join(frame.content for frame in zstd_frames(data) if is_kept(frame, data, damaged))
    assert {n for n, (body, _) in enumerate(originals) if header_of(payloads[n]) + body in kept} <= set(found)
    if isinstance(items[-1], Refused) and items[-1].location == "index":
        return
    assert [item.location for item in sound(items)] == [f"payload {number + 1}" for number in found]
    assert sorted([*(number + 1 for number in found), *lost_numbers(items)]) == list(range(1, len(payloads) + 1))


def is_kept(frame: ZstdFrame, data: bytes, damaged: bytes) -> bool:
    return damaged[frame.start : frame.end] == data[frame.start : frame.end]


def header_of(payload: Payload) -> bytes:
    kind = KINDS[payload.encoding]
    return segment._HEADER.pack(len(payload.body), zlib.crc32(payload.body, kind), kind)


# Frames that are damaged though zstd is not.


@pytest.fixture
def landing(tmp_path) -> Landing:
    return Landing(tmp_path / "landing", SETTINGS)


def rewritten(path: Path, change) -> None:
    """A segment with its uncompressed frames changed."""
    frames = b"".join(frame.content for frame in zstd_frames(path.read_bytes()))
    path.write_bytes(zstandard.ZstdCompressor().compress(change(frames)))


def only_segment(landing: Landing) -> tuple[str, Path]:
    (segment_id,) = landing.ledger()["segment_id"]
    return segment_id, place_of(landing, segment_id)


def test_a_frame_with_a_wrong_checksum_is_refused_and_the_rest_goes_on(landing):
    a, b = on(0, 1).SerializeToString(), on(0, 2).SerializeToString()
    land(landing, on(0, 1), on(0, 2))
    segment_id, path = only_segment(landing)
    rewritten(path, lambda frames: frames.replace(a, a[:-1] + bytes([a[-1] ^ 1])))

    assert list(landing.payloads(segment_id)) == [
        Refused("payload 1", "it is lost: the segment is damaged on disk", None),
        Payload(b, "protobuf", "payload 2"),
    ]


def test_a_kind_is_not_believed_without_the_checksum(landing):
    body = on(0, 1).SerializeToString()
    land(landing, on(0, 1))
    segment_id, path = only_segment(landing)
    header = header_of(Payload(body, "protobuf", ""))
    rewritten(path, lambda frames: frames.replace(header, header[:-1] + b"\x02"))

    assert lost_numbers(landing.payloads(segment_id)) == [1]


def test_a_kind_of_a_newer_version_is_refused_with_what_it_holds(landing):
    body = on(0, 1).SerializeToString()
    land(landing, on(0, 1), on(0, 2))
    segment_id, path = only_segment(landing)
    newer = segment._HEADER.pack(len(body), zlib.crc32(body, 9), 9)
    rewritten(path, lambda frames: frames.replace(header_of(Payload(body, "protobuf", "")), newer))

    refused, payload = landing.payloads(segment_id)

    assert isinstance(refused, Refused)
    assert (refused.location, refused.content) == ("payload 1", body)
    assert "newer evalpipe" in refused.reason
    assert isinstance(payload, Payload)


def test_a_claimed_frame_length_is_not_believed(landing):
    body = on(0, 1).SerializeToString()
    land(landing, on(0, 1))
    segment_id, path = only_segment(landing)
    header = header_of(Payload(body, "protobuf", ""))
    rewritten(path, lambda frames: frames.replace(header, b"\xff\xff\xff\xff" + header[4:]))

    assert lost_numbers(landing.payloads(segment_id)) == [1]


# Its name.


def test_equal_payloads_give_a_segment_of_equal_name(tmp_path):
    ids = set()
    for name, moment in (("a", NOW), ("b", NOW + timedelta(hours=1))):
        landing = Landing(tmp_path / name, SETTINGS)
        ids.add(landing.land([protobuf_payload(on(0, 1))], source=name, now=moment).segment_ids[0])
    assert len(ids) == 1


def test_a_segment_says_the_day_it_is_filed_under(landing):
    (segment_id,) = land(landing, on(0, 1)).segment_ids
    assert segment.day_in(segment_id) == DAY
    assert segment.day_in("seg_0123456789abcdef01234567") is None  # of a version that did not say it
    assert segment.day_in("") is None
