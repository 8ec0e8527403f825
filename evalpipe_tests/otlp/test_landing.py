from datetime import timedelta

import polars as pl
import pytest

from evalpipe.errors import InputError
from evalpipe.otlp.landing import Landing
from evalpipe.otlp.payload import Payload
from evalpipe.settings import ObserveSettings
from evalpipe_tests.otlp.landings import DAY, NOW, SETTINGS, bytes_of, land, on, payloads_of, place_of
from evalpipe_tests.otlp.made import DAY_NS, START_NS, bare_span, json_bytes, json_payload, protobuf_payload, request_of


@pytest.fixture
def landing(tmp_path) -> Landing:
    return Landing(tmp_path / "landing", SETTINGS)


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
    path = place_of(landing, row["segment_id"])
    assert row == {
        "segment_id": row["segment_id"],
        "source": "collector",
        "n_payloads": 2,
        "n_spans": 3,
        "n_bytes": path.stat().st_size,
        "days": [DAY],
        "landed_at": NOW,
        "day": DAY,
        "is_expired": False,
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
    assert payloads_of(landing) == bytes_of(a, b, c)


def test_a_grown_file_lands_only_what_is_new(landing, tmp_path):
    file = tmp_path / "active.jsonl"
    lines = [json_bytes(on(0, n)) + b"\n" for n in range(1, 6)]
    file.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    first = landing.ingest([file], now=NOW)
    file.write_bytes(b"".join(lines))

    second = landing.ingest([file], now=NOW)

    assert (first.n_payloads, first.rejections.height) == (3, 1)
    assert (second.n_payloads, second.n_known, second.rejections.height) == (2, 3, 0)


def test_a_file_that_is_rotated_while_it_is_read_lands_once_with_its_tail(landing, tmp_path):
    active, rotated = tmp_path / "active.jsonl", tmp_path / "active-1.jsonl"
    lines = [json_bytes(on(0, n)) + b"\n" for n in range(1, 7)]
    active.write_bytes(b"".join(lines[:3]))

    def rotate(n_read: int) -> None:
        if n_read == 2:  # the collector renames what it has written and goes on in a new file
            active.rename(rotated)
            with rotated.open("ab") as file:
                file.write(lines[3])
            active.write_bytes(lines[4])

    landing.ingest([active], now=NOW, progress=rotate)
    with active.open("ab") as file:
        file.write(lines[5])
    landing.ingest([active, rotated], now=NOW)

    assert payloads_of(landing) == sorted(line.strip() for line in lines)


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


def test_an_empty_landing_has_an_empty_ledger(landing):
    assert landing.ledger().height == 0
    assert landing.ledger().schema["days"] == pl.List(pl.Date)
    assert landing.segments_on(DAY) == []
    assert landing.pending_trace_ids([]) == set()
