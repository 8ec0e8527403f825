import os
import zlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import zstandard

from evalpipe.errors import InputError, StateError
from evalpipe.otlp import landing as landing_module
from evalpipe.otlp import segment
from evalpipe.otlp.landing import Landing
from evalpipe.otlp.payload import Payload, Refused
from evalpipe.settings import ObserveSettings
from evalpipe_tests.otlp.made import DAY_NS, START_NS, bare_span, json_bytes, json_payload, protobuf_payload, request_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = date(2026, 2, 16)  # of START_NS
SETTINGS = ObserveSettings()


def on(day: int, *numbers: int):
    """A request with spans that start `day` days after DAY."""
    start = START_NS + day * DAY_NS
    return request_of(
        *(bare_span(n, start_time_unix_nano=start + n, end_time_unix_nano=start + n + 5) for n in numbers)
    )


def payloads_of(landing: Landing) -> list[bytes]:
    """Every landed body."""
    return sorted(
        item.body
        for segment_id in landing.ledger()["segment_id"]
        for item in landing.payloads(segment_id)
        if isinstance(item, Payload)
    )


@pytest.fixture
def landing(tmp_path) -> Landing:
    return Landing(tmp_path / "landing", SETTINGS)


def land(landing: Landing, *requests, source: str = "client"):
    return landing.land([protobuf_payload(request) for request in requests], source=source, now=NOW)


def test_payloads_come_back_as_they_were_received(landing):
    sent = [protobuf_payload(on(0, 1)), json_payload(on(0, 2))]

    landed = landing.land(sent, source="client", now=NOW)

    (segment_id,) = landed.segment_ids
    items = list(landing.payloads(segment_id))
    assert [(item.body, item.encoding) for item in items] == [(p.body, p.encoding) for p in sent]
    assert [item.location for item in items] == ["payload 1", "payload 2"]
    assert landed[:5] == (0, 2, 2, 1, 0)


def test_the_ledger_says_what_a_segment_holds(landing):
    land(landing, on(0, 1, 2), on(0, 3), source="collector")

    (row,) = landing.ledger().to_dicts()
    path = landing.folder_of(DAY) / f"{row['segment_id']}.otlp.zst"
    assert row == {
        "segment_id": row["segment_id"],
        "source": "collector",
        "n_payloads": 2,
        "n_spans": 3,
        "n_bytes": path.stat().st_size,
        "days": [DAY],
        "landed_at": NOW,
    }


def test_segments_are_cut_by_day_and_found_by_every_day_they_touch(landing):
    over_midnight = request_of(bare_span(3, start_time_unix_nano=START_NS + DAY_NS - 1), bare_span(4))
    over_midnight.resource_spans[0].scope_spans[0].spans[0].end_time_unix_nano = START_NS + 2 * DAY_NS
    early = on(0, 1)
    late = on(2, 2)
    both = request_of(
        *on(0, 5).resource_spans[0].scope_spans[0].spans, *on(1, 6).resource_spans[0].scope_spans[0].spans
    )

    landed = land(landing, early, late, over_midnight, both)

    assert landed.n_segments == 2
    first, second = landed.segment_ids
    assert landing.segments_on(DAY) == [first]
    assert landing.segments_on(DAY + timedelta(days=1)) == [first]
    assert landing.segments_on(DAY + timedelta(days=2)) == [second]
    assert landing.segments_on(DAY + timedelta(days=3)) == []


def test_a_segment_is_closed_at_its_size(tmp_path):
    requests = [on(0, n) for n in range(1, 11)]
    size = len(requests[0].SerializeToString())
    landing = Landing(tmp_path, ObserveSettings(segment_bytes=3 * size))

    landed = land(landing, *requests)

    assert landing.ledger()["n_payloads"].to_list() == [3, 3, 3, 1]
    assert landed.n_payloads == 10


def test_what_waits_for_a_segment_is_bounded_whatever_the_days(tmp_path):
    requests = [on(n % 5, n) for n in range(1, 31)]
    size = len(requests[0].SerializeToString())
    landing = Landing(tmp_path, ObserveSettings(segment_bytes=4 * size))

    land(landing, *requests)

    assert landing.ledger()["n_payloads"].max() <= 4
    assert landing.ledger()["n_payloads"].sum() == 30


def test_a_file_ingested_twice_changes_nothing(landing, tmp_path):
    file = tmp_path / "traces.jsonl"
    file.write_bytes(b"\n".join(json_bytes(on(n % 2, n)) for n in range(1, 9)))
    landing.ingest([file], now=NOW)
    before = landing.ledger()

    again = landing.ingest([file.rename(tmp_path / "rotated.jsonl")], now=NOW + timedelta(days=1))

    assert again[:5] == (1, 0, 0, 0, 8)
    assert landing.ledger().equals(before)


def test_a_payload_lands_once_however_its_deliveries_are_grouped(landing):
    a, b, c = on(0, 1), on(0, 2), on(0, 3)
    land(landing, a, b)

    overlapping = land(landing, b, c, c)

    assert (overlapping.n_payloads, overlapping.n_known) == (1, 2)
    assert payloads_of(landing) == sorted(r.SerializeToString() for r in (a, b, c))


def test_a_grown_file_lands_only_what_is_new(landing, tmp_path):
    file = tmp_path / "active.jsonl"
    lines = [json_bytes(on(0, n)) + b"\n" for n in range(1, 6)]
    file.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    first = landing.ingest([file], now=NOW)
    file.write_bytes(b"".join(lines))

    second = landing.ingest([file], now=NOW)

    assert (first.n_payloads, first.rejections.height) == (3, 1)
    assert (second.n_payloads, second.n_known, second.rejections.height) == (2, 3, 0)


def test_two_processes_may_share_a_landing(tmp_path):
    one, other = Landing(tmp_path, SETTINGS), Landing(tmp_path, SETTINGS)
    land(one, on(0, 1))

    landed = land(other, on(0, 1), on(0, 2))

    assert landed.n_known == 1
    assert one.ledger().equals(other.ledger())
    assert len(payloads_of(one)) == 2


def test_unreadable_payloads_are_refused_with_their_content(landing):
    bad = [
        Payload(b"\xff\xfe\x00", "protobuf", "message 1"),
        Payload(b'{"resourceSpans": [', "json", "line 2"),
        Payload(b'{"resourceSpans": 5}', "json", "line 3"),
    ]
    landed = landing.land([*bad, protobuf_payload(on(0, 1))], source="client", now=NOW)

    assert landed.n_payloads == 1
    rows = landed.rejections.select("kind", "source", "location", "content", "rejected_at").rows()
    assert rows == [
        ("payload", "client", "message 1", "base64://4A", NOW),
        ("payload", "client", "line 2", '{"resourceSpans": [', NOW),
        ("payload", "client", "line 3", '{"resourceSpans": 5}', NOW),
    ]
    assert landed.rejections["reason"].str.contains("protobuf|JSON|array").all()


def test_a_payload_outside_the_allowed_days_is_refused_naming_the_setting(landing):
    ancient, coming = on(-1_000, 1), on(60, 2)

    landed = land(landing, ancient, coming)

    assert landed.n_payloads == 0
    assert landed.rejections.height == 2
    assert landed.rejections["reason"].str.contains("EVALPIPE_OBSERVE__FIRST_DAY").all()


def test_a_request_without_spans_is_sound_and_lands_nothing(landing):
    landed = landing.land([Payload(b"{}", "json", "line 1"), Payload(b"", "protobuf", "m")], source="c", now=NOW)
    assert landed[:5] == (0, 0, 0, 0, 0)
    assert landed.rejections.is_empty()


def test_a_file_that_is_no_otlp_is_refused_and_the_others_go_on(landing, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "readme.md").write_text("# Traces")
    (folder / "traces.json").write_bytes(json_bytes(on(0, 1)))
    told: list[int] = []

    landed = landing.ingest([folder], now=NOW, progress=told.append)

    assert (landed.n_files, landed.n_payloads) == (1, 1)
    assert landed.rejections.select("kind", "source").rows() == [("file", str(folder / "readme.md"))]
    assert told == [1]
    with pytest.raises(InputError, match="no OTLP"):
        landing.ingest([folder / "readme.md"], now=NOW)


def test_trace_ids_are_known_before_spans_are_decoded(landing):
    landed = landing.land([protobuf_payload(on(0, 1, 2)), json_payload(on(0, 171))], source="client", now=NOW)
    assert landing.pending_trace_ids(landed.segment_ids) == {"0" * 31 + "1", "0" * 31 + "2", "0" * 30 + "ab"}


def test_an_unknown_or_missing_segment_is_a_state_error(landing):
    (segment_id,) = land(landing, on(0, 1)).segment_ids
    with pytest.raises(StateError, match="seg_none is not in"):
        list(landing.payloads("seg_none"))
    segment.path_of(landing.folder_of(DAY), segment_id).unlink()
    with pytest.raises(StateError, match="is missing"):
        list(landing.payloads(segment_id))


# Crashes: whatever step dies, a later open and the same ingestion give what one undisturbed ingestion gives.


class PowerCutError(BaseException):
    """Not an Exception: nothing in the code may catch it."""


def crash(monkeypatch, name: str, at_call: int = 1) -> None:
    """Die instead of the n-th call of a step."""
    n_calls = 0
    owner, attribute = {
        "fsync": (os, "fsync"),
        "rename": (Path, "replace"),
        "sync folder": (segment, "sync_folder"),
        "ledger": (landing_module, "_append_durably"),
    }[name]
    real = getattr(owner, attribute)

    def dying(*arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls == at_call:
            raise PowerCutError
        return real(*arguments)

    monkeypatch.setattr(owner, attribute, dying)


@pytest.mark.parametrize("at_call", [1, 2, 3])
@pytest.mark.parametrize("step", ["fsync", "rename", "sync folder", "ledger"])
def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(tmp_path, monkeypatch, step, at_call):
    requests = [on(0, 1), on(1, 2), on(2, 3)]
    landing = Landing(tmp_path, SETTINGS)
    with monkeypatch.context() as patch:
        crash(patch, step, at_call)
        with pytest.raises(PowerCutError):
            land(landing, *requests)
    durable_before = payloads_of(landing)

    reopened = Landing(tmp_path, SETTINGS)

    assert set(durable_before) <= set(payloads_of(reopened))
    land(reopened, *requests)
    assert payloads_of(reopened) == sorted(r.SerializeToString() for r in requests)
    assert reopened.ledger()["segment_id"].is_unique().all()
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_ledger_cut_anywhere_in_its_last_line_is_repaired(tmp_path):
    landing = Landing(tmp_path, SETTINGS)
    land(landing, on(0, 1))
    land(landing, on(0, 2), source="päyer")
    whole = landing.ledger()
    ledger = tmp_path / "ledger.jsonl"
    data = ledger.read_bytes()
    last_line = data.rstrip(b"\n").rfind(b"\n") + 1
    for n_kept in range(last_line, len(data)):
        ledger.write_bytes(data[:n_kept])
        repaired = Landing(tmp_path, SETTINGS)
        assert ledger.read_bytes() == data
        assert repaired.ledger().equals(whole)


def test_half_a_line_does_not_spoil_the_line_after_it(landing):
    land(landing, on(0, 1))
    with (landing.root / "ledger.jsonl").open("ab") as file:
        file.write(b'{"segment_id": "seg_half')  # the disk was full for a moment

    land(landing, on(0, 2))

    assert landing.ledger().height == 2


def test_a_lost_ledger_is_rebuilt_from_the_segments(landing, tmp_path):
    land(landing, on(0, 1), on(1, 2), on(2, 3))
    before = landing.ledger()
    (landing.root / "ledger.jsonl").unlink()
    assert Landing(landing.root, SETTINGS).ledger().equals(before)


def test_an_unreadable_ledger_line_is_written_again_from_its_segment(landing):
    land(landing, on(0, 1), on(1, 2))
    before = landing.ledger()
    ledger = landing.root / "ledger.jsonl"
    first, second = ledger.read_bytes().splitlines()
    ledger.write_bytes(b"\x00" * len(first) + b"\n" + second + b"\n")
    assert Landing(landing.root, SETTINGS).ledger().sort("days").equals(before)


# Damage within a segment.


def rewritten(path: Path, change) -> None:
    """A segment with its uncompressed frames changed."""
    frames = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    path.write_bytes(zstandard.ZstdCompressor().compress(change(frames)))


def only_segment(landing: Landing) -> tuple[str, Path]:
    (segment_id,) = landing.ledger()["segment_id"]
    return segment_id, segment.path_of(landing.folder_of(DAY), segment_id)


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


def test_an_empty_landing_has_an_empty_ledger(landing):
    assert landing.ledger().height == 0
    assert landing.ledger().schema["days"] == pl.List(pl.Date)
    assert landing.segments_on(DAY) == []
    assert landing.pending_trace_ids([]) == set()
