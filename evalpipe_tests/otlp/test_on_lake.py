import gzip
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from evalpipe.errors import InputError
from evalpipe.lake.store import Lake
from evalpipe.otlp import on_lake
from evalpipe.otlp.journal import Journal, Received
from evalpipe.otlp.landing import Landing
from evalpipe.otlp.on_lake import absorb, backlog_bytes, ingest
from evalpipe.settings import IngestSettings, ObserveSettings
from evalpipe.tables import REJECTIONS
from evalpipe_tests.otlp.landings import (
    NOW,
    SETTINGS,
    PowerCutError,
    bytes_of,
    each_death,
    land,
    leftovers,
    on,
    over_days,
    payloads_of,
    place_of,
)
from evalpipe_tests.otlp.made import json_bytes

NOON_NS = 1_771_243_200 * 10**9  # 2026-02-16 12:00 UTC


@pytest.fixture
def landing(tmp_path) -> Landing:
    return Landing(tmp_path / "landing", SETTINGS)


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


def received(request, *, is_gzip: bool = True, after_ns: int = 0) -> Received:
    body = request.SerializeToString()
    body = gzip.compress(body, mtime=0) if is_gzip else body
    return Received(body, "protobuf", is_gzip, NOON_NS + after_ns, "http 127.0.0.1")


def refused(number: int) -> Received:
    return Received(b"no request %d" % number, "json", False, NOON_NS + number, "grpc peer", "it is no JSON")


def journal_of(landing: Landing) -> Journal:
    return Journal(landing.journals, IngestSettings())


def dead_journal(landing: Landing, *batch: Received) -> None:
    journal = journal_of(landing)
    journal.append(batch)
    journal.close()


def rejections_of(lake: Lake) -> list[tuple[str, ...]]:
    """What was rejected, without the time at which it was."""
    return sorted(lake.read(REJECTIONS).select("kind", "source", "location", "reason", "content").rows())


def test_what_was_acknowledged_lands_as_it_was_and_its_journal_goes(landing, lake):
    sent = [on(0, 1), over_days(0, 1, number=2), on(2, 3)]
    document = Received(json_bytes(on(0, 4)), "json", False, NOON_NS, "http 10.0.0.9")
    dead_journal(landing, received(sent[0]), received(sent[1], is_gzip=False), received(sent[2]), document)

    absorbed = absorb(landing, lake, now=NOW)

    assert absorbed._replace(segment_ids=[]) == (1, 4, 5, 0, 0, [])
    assert payloads_of(landing) == sorted([*bytes_of(*sent), document.body])
    assert landing.ledger()["segment_id"].to_list() == absorbed.segment_ids
    assert landing.ledger()["source"].to_list() == ["http 127.0.0.1 and 1 more", "http 127.0.0.1"]
    assert backlog_bytes(landing) == 0
    assert absorb(landing, lake, now=NOW) == (0, 0, 0, 0, 0, [])


def test_what_was_refused_is_rejected_with_its_sender_and_time(landing, lake):
    cut = received(on(0, 1))._replace(body=gzip.compress(b"x" * 100, mtime=0)[:-9])
    logs = Received(b'{"resourceLogs": []}', "json", False, NOON_NS + 7, "http peer")
    dead_journal(landing, refused(5), cut, logs, received(on(0, 2)))

    absorbed = absorb(landing, lake, now=NOW)

    assert (absorbed.n_payloads, absorbed.n_refused) == (1, 3)
    rows = {(source, location): (reason, content) for _, source, location, reason, content in rejections_of(lake)}
    assert rows["grpc peer", "received 2026-02-16T12:00:00.000000005Z"] == ("it is no JSON", "no request 5")
    reason, content = rows["http 127.0.0.1", "received 2026-02-16T12:00:00.000000000Z"]
    assert "cut off" in reason
    assert content.startswith("base64:")


def test_a_body_that_inflates_to_more_than_the_limit_is_refused(tmp_path, lake):
    landing = Landing(tmp_path / "landing", ObserveSettings(max_payload_bytes=1_000))
    bomb = Received(gzip.compress(b"\n" * 10**6), "protobuf", True, NOON_NS, "http peer")
    dead_journal(landing, bomb)
    assert absorb(landing, lake, now=NOW).n_refused == 1
    assert "1,000 bytes" in rejections_of(lake)[0][3]


def test_a_live_journal_is_landed_as_far_as_it_goes_and_stays(landing, lake):
    journal = journal_of(landing)
    journal.append([received(on(0, 1)), refused(1)])

    assert absorb(landing, lake, now=NOW)[:5] == (1, 1, 1, 0, 1)
    journal.append([received(on(0, 2))])
    assert absorb(landing, lake, now=NOW)[:5] == (1, 1, 1, 0, 0)  # only what is new was read
    assert backlog_bytes(landing) == journal.n_bytes

    another_process = Landing(landing.root, SETTINGS)
    assert absorb(another_process, lake, now=NOW).n_known == 2
    journal.close()
    assert absorb(landing, lake, now=NOW)[:5] == (1, 0, 0, 0, 0)

    assert backlog_bytes(landing) == 0
    assert payloads_of(landing) == bytes_of(on(0, 1), on(0, 2))
    assert len(rejections_of(lake)) == 1


def test_without_live_ones_only_closed_journals_are_taken(landing, lake):
    dead_journal(landing, received(on(0, 1)))
    journal = journal_of(landing)
    journal.append([received(on(0, 2))])

    assert absorb(landing, lake, now=NOW, with_live=False)[:3] == (1, 1, 1)

    assert backlog_bytes(landing) == journal.n_bytes
    assert payloads_of(landing) == bytes_of(on(0, 1))


def test_a_redelivered_request_lands_once_whatever_its_compression(landing, lake):
    dead_journal(landing, received(on(0, 1)), received(on(0, 1), is_gzip=False))
    dead_journal(landing, received(on(0, 1)))
    absorbed = absorb(landing, lake, now=NOW)
    assert (absorbed.n_payloads, absorbed.n_known) == (1, 2)


def test_many_small_journals_make_one_segment_and_large_ones_are_removed_as_they_land(tmp_path, lake, monkeypatch):
    landing = Landing(tmp_path / "landing", SETTINGS)
    for number in range(1, 6):
        dead_journal(landing, received(on(0, number)))
    assert len(absorb(landing, lake, now=NOW).segment_ids) == 1

    size = len(on(0, 1).SerializeToString())
    small = Landing(tmp_path / "small", ObserveSettings(segment_bytes=size + 10))
    for number in range(1, 6):
        dead_journal(small, received(on(0, number)))
    n_left: list[int] = []
    real = small.land_each
    monkeypatch.setattr(
        small,
        "land_each",
        lambda items, now: (n_left.append(len(list(small.journals.iterdir()))), real(items, now=now))[1],
    )
    assert len(absorb(small, lake, now=NOW).segment_ids) == 5
    assert n_left == [5, 4, 3, 2, 1]


def test_one_process_absorbs_and_those_that_look_every_second_return_with_nothing(landing, lake):
    dead_journal(landing, received(on(0, 1)))
    with on_lake._alone(landing.root / ".absorb.lock", waits=False) as is_alone:
        assert is_alone
        assert absorb(landing, lake, now=NOW, with_live=False) == (0, 0, 0, 0, 0, [])
    assert absorb(landing, lake, now=NOW).n_payloads == 1


def test_who_asks_for_everything_waits_for_the_one_that_absorbs(landing, lake):
    dead_journal(landing, received(on(0, 1)))
    with ThreadPoolExecutor(1) as pool:
        with on_lake._alone(landing.root / ".absorb.lock", waits=False):
            everything = pool.submit(absorb, landing, lake, now=NOW)
            with pytest.raises(TimeoutError):
                everything.result(0.2)
        assert everything.result(20).n_payloads == 1


def test_damage_in_a_journal_costs_what_is_damaged(landing, lake):
    dead_journal(landing, received(on(0, 1)), received(on(0, 2)))
    (path,) = landing.journals.iterdir()
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)

    assert absorb(landing, lake, now=NOW)[1:5] == (1, 1, 0, 1)

    ((_, source, location, reason, _),) = rejections_of(lake)
    assert (source, location) == (f"journal {path.name}", "byte 31")
    assert "checksum" in reason


def test_a_segment_with_a_damaged_index_lands_again(landing, lake):
    (segment_id,) = land(landing, on(0, 1), on(0, 2)).segment_ids
    place = place_of(landing, segment_id)
    data = bytearray(place.read_bytes())
    data[20] ^= 1  # the index is compressed alone, as the first
    place.write_bytes(data)
    shutil.rmtree(landing.root / "ledger")

    opened = Landing(landing.root, SETTINGS)
    assert absorb(opened, lake, now=NOW)[:5] == (0, 2, 2, 0, 2)

    assert payloads_of(opened) == bytes_of(on(0, 1), on(0, 2))
    assert any("landed again" in reason for _, _, _, reason, _ in rejections_of(lake))
    assert absorb(opened, lake, now=NOW) == (0, 0, 0, 0, 0, [])


def test_a_death_before_any_durable_step_leaves_what_an_undisturbed_run_would(tmp_path, monkeypatch):
    sent = [on(0, 1), over_days(0, 1, number=2), on(2, 3), on(0, 4)]
    template = Landing(tmp_path / "template", SETTINGS)
    dead_journal(template, received(sent[0]), refused(1), received(sent[1]))
    dead_journal(template, received(sent[2]), received(sent[0], is_gzip=False))
    dead_journal(template, refused(2), received(sent[3]))

    def lake_of(at_step: int) -> Lake:
        return Lake(tmp_path / f"lake-{at_step}")

    def absorb_in_new_folder(at_step: int) -> None:
        absorb(Landing(tmp_path / str(at_step), SETTINGS), lake_of(at_step), now=NOW)

    for at_step in range(60):
        shutil.copytree(template.root, tmp_path / str(at_step))
    n_deaths = each_death(monkeypatch, absorb_in_new_folder)

    assert 15 < n_deaths < 60
    of_its_time = ["landed_at", "n_bytes"]  # the time is in the file, and compresses as it likes
    undisturbed = Landing(tmp_path / str(n_deaths), SETTINGS).ledger()
    rejected = rejections_of(lake_of(n_deaths))
    assert len(rejected) == 2
    for at_step in range(n_deaths):
        landing, lake = Landing(tmp_path / str(at_step), SETTINGS), lake_of(at_step)
        absorb(landing, lake, now=NOW + timedelta(minutes=1))
        assert payloads_of(landing) == bytes_of(*sent)
        assert landing.ledger().drop(of_its_time).equals(undisturbed.drop(of_its_time))
        assert rejections_of(lake) == rejected
        assert not leftovers(landing)
        assert not list(landing.journals.iterdir())


def test_a_journal_stays_until_its_rejections_are_in_the_lake(landing, lake, monkeypatch):
    def dying(*_):
        raise PowerCutError

    dead_journal(landing, received(on(0, 1)), refused(1))
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "append_new", dying)
        with pytest.raises(PowerCutError):
            absorb(landing, lake, now=NOW)

    assert absorb(landing, lake, now=NOW)[:5] == (1, 0, 0, 1, 1)
    assert len(rejections_of(lake)) == 1


def test_a_writer_and_two_absorbers_at_once_land_everything_once(landing, lake):
    """Real processes: one appends and rotates, two absorb, and one of these is killed on the way."""
    absorber = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from evalpipe.lake.store import Lake
from evalpipe.otlp.landing import Landing
from evalpipe.otlp.on_lake import absorb
from evalpipe.settings import ObserveSettings
landing, lake = Landing(Path(sys.argv[1]), ObserveSettings()), Lake(sys.argv[2])
print("ready", flush=True)
while True:
    absorb(landing, lake, now=datetime(2026, 3, 1, tzinfo=UTC))
"""
    command = [sys.executable, "-c", absorber, str(landing.root), lake.uri]
    absorbers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    sent = [on(0, number) for number in range(1, 121)]
    try:
        for process in absorbers:
            assert process.stdout is not None
            process.stdout.readline()
        journal = journal_of(landing)
        for number, request in enumerate(sent, 1):
            journal.append([received(request)])
            if number % 7 == 0:
                journal.rotate()
            if number == 60:
                absorbers[0].kill()
        journal.close()
    finally:
        for process in absorbers:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]

    absorb(Landing(landing.root, SETTINGS), lake, now=NOW)

    assert payloads_of(Landing(landing.root, SETTINGS)) == bytes_of(*sent)
    assert backlog_bytes(landing) == 0


def test_files_are_ingested_with_their_rejections(landing, lake, tmp_path):
    sound, unsound = tmp_path / "sound.jsonl", tmp_path / "unsound.md"
    sound.write_bytes(json_bytes(on(0, 1)) + b"\n{ \n")
    unsound.write_text("# Traces")
    told: list[int] = []

    landed = ingest(landing, lake, [sound, unsound], now=NOW, progress=told.append)

    assert (landed.n_files, landed.n_payloads) == (1, 1)
    assert told == [1, 2]
    assert lake.read(REJECTIONS).sort("kind")["source"].to_list() == [str(unsound), str(sound)]
    with pytest.raises(InputError, match="no OTLP"):
        ingest(landing, lake, [unsound], now=NOW)
