"""Damage within a segment, and what a segment is called."""

import zlib
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard

from evalpipe.otlp import segment
from evalpipe.otlp.landing import Landing
from evalpipe.otlp.payload import Payload, Refused
from evalpipe_tests.otlp.landings import DAY, NOW, SETTINGS, land, on, place_of
from evalpipe_tests.otlp.made import protobuf_payload


@pytest.fixture
def landing(tmp_path) -> Landing:
    return Landing(tmp_path / "landing", SETTINGS)


def rewritten(path: Path, change) -> None:
    """A segment with its uncompressed frames changed."""
    frames = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    path.write_bytes(zstandard.ZstdCompressor().compress(change(frames)))


def only_segment(landing: Landing) -> tuple[str, Path]:
    (segment_id,) = landing.ledger()["segment_id"]
    return segment_id, place_of(landing, segment_id)


def test_a_frame_with_a_wrong_checksum_is_refused_and_the_rest_goes_on(landing):
    a, b = on(0, 1).SerializeToString(), on(0, 2).SerializeToString()
    land(landing, on(0, 1), on(0, 2))
    segment_id, path = only_segment(landing)
    spoilt = a[:-1] + bytes([a[-1] ^ 1])
    rewritten(path, lambda frames: frames.replace(a, spoilt))

    refused, sound = landing.payloads(segment_id)

    assert isinstance(refused, Refused)
    assert (refused.location, refused.content) == ("payload 1", spoilt)
    assert "checksum" in refused.reason
    assert sound == Payload(b, "protobuf", "payload 2")


def test_a_cut_off_segment_keeps_what_is_whole(landing):
    land(landing, on(0, 1), on(0, 2))
    segment_id, path = only_segment(landing)
    rewritten(path, lambda frames: frames[:-3])

    sound, refused = landing.payloads(segment_id)

    assert isinstance(sound, Payload)
    assert isinstance(refused, Refused)
    assert "cut off" in refused.reason


def test_a_claimed_frame_length_is_not_believed(landing):
    body = on(0, 1).SerializeToString()
    land(landing, on(0, 1))
    segment_id, path = only_segment(landing)
    header = segment._HEADER.pack(len(body), zlib.crc32(body), 1)
    rewritten(path, lambda frames: frames.replace(header, b"\xff\xff\xff\xff" + header[4:]))

    (refused,) = landing.payloads(segment_id)

    assert isinstance(refused, Refused)


def test_a_segment_with_damaged_zstd_is_refused_not_raised(landing):
    land(landing, *(on(0, n) for n in range(1, 30)))
    segment_id, path = only_segment(landing)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\x00" * 40 + data[len(data) // 2 + 40 :])

    items = list(landing.payloads(segment_id))

    assert isinstance(items[-1], Refused)


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
