"""Where segments lie: crashes, lost and damaged files, retention."""

import errno
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard

from evalpipe.errors import ExpiredError, StateError
from evalpipe.otlp import segment, store
from evalpipe.otlp.landing import Landing
from evalpipe_tests.otlp.landings import (
    DAY,
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

NEXT_DAY = DAY + timedelta(days=1)
LATER = NOW + timedelta(days=30)


@pytest.fixture
def landing(tmp_path) -> Landing:
    return Landing(tmp_path / "landing", SETTINGS)


def reopened(landing: Landing) -> Landing:
    return Landing(landing.root, SETTINGS)


def ledger_file(landing: Landing, day=DAY) -> Path:
    return landing.root / "ledger" / f"{day}.jsonl"


def spoil_index(path: Path) -> None:
    """Flip a bit of the index, which is the first frame, and leave the rest."""
    frames = bytearray(zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()))
    frames[20] ^= 1
    path.write_bytes(zstandard.ZstdCompressor().compress(bytes(frames)))


# Crashes: whatever step dies, a later open and the same landing give what one undisturbed landing gives.


def test_a_crash_before_any_durable_step_loses_and_doubles_nothing(tmp_path, monkeypatch):
    requests = [over_days(0, 1), on(1, 2), on(2, 3)]

    n_deaths = each_death(monkeypatch, lambda n: land(Landing(tmp_path / str(n), SETTINGS), *requests) and None)

    assert n_deaths >= 3 * 6  # of each segment: write, folder, link, folder, ledger, removal
    undisturbed = Landing(tmp_path / str(n_deaths), SETTINGS)
    for at_step in range(n_deaths):
        landing = Landing(tmp_path / str(at_step), SETTINGS)
        assert not leftovers(landing)
        assert set(payloads_of(landing)) <= set(bytes_of(*requests))
        land(landing, *requests)
        assert payloads_of(landing) == bytes_of(*requests)
        assert landing.ledger().equals(undisturbed.ledger())
        assert landing.segments_on(NEXT_DAY) == undisturbed.segments_on(NEXT_DAY)


def test_a_process_that_lives_on_finishes_what_another_left(landing, monkeypatch):
    other = reopened(landing)
    monkeypatch.setattr(store, "_entry_of", lambda *_: (_ for _ in ()).throw(PowerCutError))
    with pytest.raises(PowerCutError):
        land(other, on(0, 1))  # it is in its place, and the ledger does not know it
    monkeypatch.undo()
    assert leftovers(landing)

    land(landing, on(1, 2))

    assert not leftovers(landing)
    assert landing.ledger()["days"].to_list() == [[DAY], [NEXT_DAY]]
    assert payloads_of(landing) == bytes_of(on(0, 1), on(1, 2))


def test_opening_reads_no_segment_and_no_ledger(landing, monkeypatch):
    land(landing, on(0, 1), on(1, 2))

    def forbidden(*_):
        raise AssertionError("opening must not depend on how much has landed")

    monkeypatch.setattr(segment, "read_index", forbidden)
    monkeypatch.setattr("evalpipe.otlp.ledger._Page.parse", forbidden)
    assert reopened(landing).days() == [DAY, NEXT_DAY]


def test_a_full_disk_is_a_state_error_and_lands_nothing(landing, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StateError, match=r"No space left.*Make room"):
            land(landing, on(0, 1))

    assert landing.days() == []
    assert land(landing, on(0, 1)).n_payloads == 1
    assert not leftovers(landing)


# The ledger.


def test_a_ledger_line_cut_anywhere_is_written_again(landing):
    land(landing, on(0, 1))
    before = ledger_file(landing).read_bytes()
    (segment_id,) = land(landing, on(0, 2), source="päyer").segment_ids
    whole, data = landing.ledger(), ledger_file(landing).read_bytes()
    place = place_of(landing, segment_id)
    for n_kept in range(len(before), len(data) + 1, 3):
        ledger_file(landing).write_bytes(data[:n_kept])
        (landing.root / "segments" / ".incoming" / place.name).hardlink_to(place)
        assert reopened(landing).ledger().equals(whole)
        assert ledger_file(landing).read_bytes() == data


@pytest.mark.parametrize("lost", [[DAY], [NEXT_DAY], [DAY, NEXT_DAY]])
def test_a_lost_ledger_is_rebuilt_from_segments_and_the_other_ledgers(landing, lost):
    land(landing, over_days(0, 1), on(1, 2), on(2, 3))
    before = {day: landing.ledger_of(day) for day in landing.days()}
    for day in lost:
        ledger_file(landing, day).unlink()

    after = reopened(landing)

    assert after.days() == list(before)
    assert all(after.ledger_of(day).equals(rows) for day, rows in before.items())


def test_a_home_with_the_one_ledger_of_an_older_version_opens_with_all_it_had(landing, monkeypatch):
    land(landing, over_days(0, 1), on(1, 2))
    before = landing.ledger()
    for path in landing.root.glob("segments/????-??-??/*"):
        path.rename(path.with_name("seg_" + path.name[13:]))  # ids without a day
    shutil.rmtree(landing.root / "ledger")
    (landing.root / "ledger.jsonl").write_text("{}\n")
    opened: list[Landing] = []
    n_deaths = each_death(monkeypatch, lambda _: opened.append(reopened(landing)))

    assert n_deaths > 0  # it died before every step of the rebuilding, and began again
    assert not (landing.root / "ledger.jsonl").exists()
    assert opened[0].ledger()["n_spans"].to_list() == before["n_spans"].to_list()
    assert opened[0].ledger_of(NEXT_DAY).height == 2


def test_an_unreadable_ledger_line_is_written_again_from_its_segment(landing):
    land(landing, on(0, 1))
    land(landing, on(0, 2), now=LATER)
    before = landing.ledger()
    first, second = ledger_file(landing).read_bytes().splitlines()
    ledger_file(landing).write_bytes(b"\x00" * len(first) + b"\n" + second + b"\n")
    assert reopened(landing).ledger().equals(before)


# Missing and damaged segments.


def test_an_unknown_or_missing_segment_is_a_state_error(landing):
    (segment_id,) = land(landing, on(0, 1)).segment_ids
    with pytest.raises(StateError, match="seg_none is not in"):
        landing.payloads("seg_none")
    place_of(landing, segment_id).unlink()
    with pytest.raises(StateError, match="is missing"):
        landing.payloads(segment_id)


def test_a_segment_whose_id_says_no_day_is_found(landing):
    (segment_id,) = land(landing, on(0, 1)).segment_ids
    place = place_of(landing, segment_id)
    place.rename(place.with_name("seg_0123456789abcdef01234567.otlp.zst"))
    assert len(list(landing.payloads("seg_0123456789abcdef01234567"))) == 1


def test_one_damaged_index_does_not_stop_the_landing_from_opening(landing):
    spoilt, sound = land(landing, on(0, 1), on(1, 2)).segment_ids
    spoil_index(place_of(landing, spoilt))
    shutil.rmtree(landing.root / "ledger")

    opened = reopened(landing)

    assert opened.ledger()["segment_id"].to_list() == [sound]
    (damaged,) = opened.damaged()
    assert damaged.name.startswith(spoilt)
    opened.settle(damaged)
    assert opened.damaged() == []


def test_a_payload_whose_segment_cannot_say_its_digests_lands_again(landing):
    (segment_id,) = land(landing, on(0, 1)).segment_ids
    spoil_index(place_of(landing, segment_id))

    opened = reopened(landing)
    landed = land(opened, on(0, 1))

    assert landed.segment_ids == [segment_id]  # equal payloads, equal name: it takes the damaged one's place
    assert payloads_of(opened) == bytes_of(on(0, 1))
    assert len(opened.damaged()) == 1


# Retention.


def test_expired_segments_lose_their_files_and_keep_their_place_in_the_ledger(landing):
    old, early = land(landing, on(0, 1), on(1, 2)).segment_ids
    (young,) = land(landing, on(0, 3), now=LATER).segment_ids

    assert landing.expire(LATER, [DAY]) == [old]

    assert landing.segments_on(DAY) == [young]
    assert landing.segments_on(NEXT_DAY) == [early]
    for opened in (landing, reopened(landing)):
        assert opened.ledger_of(DAY)["segment_id"].to_list() == [old, young]
        assert opened.ledger_of(DAY)["is_expired"].to_list() == [True, False]
        assert opened.ledger()["is_expired"].to_list() == [True, False, False]
    assert not list(landing.root.glob(f"segments/*/{old}*"))
    with pytest.raises(ExpiredError, match="retention"):
        landing.payloads(old)
    assert landing.pending_trace_ids([old, young]) == {"0" * 31 + "3"}
    assert landing.expire(LATER, [DAY]) == []


def test_a_segment_that_touches_a_day_not_yet_in_the_tables_does_not_expire(landing):
    (segment_id,) = land(landing, over_days(0, 1)).segment_ids
    assert landing.expire(LATER, [DAY]) == []
    assert landing.expire(LATER, [DAY, NEXT_DAY]) == [segment_id]
    assert landing.segments_on(NEXT_DAY) == []


def test_a_crash_while_segments_expire_is_completed_the_next_time(tmp_path, monkeypatch):
    def expire_in_new_folder(at_step: int) -> None:
        Landing(tmp_path / str(at_step), SETTINGS).expire(LATER, [DAY, NEXT_DAY])

    template = Landing(tmp_path / "template", SETTINGS)
    land(template, over_days(0, 1), on(1, 2))
    for at_step in range(40):
        shutil.copytree(template.root, tmp_path / str(at_step))
    n_deaths = each_death(monkeypatch, expire_in_new_folder)

    assert 4 < n_deaths < 40
    for at_step in range(n_deaths + 1):
        landing = Landing(tmp_path / str(at_step), SETTINGS)
        for day in landing.days():  # whatever is called readable can be read
            assert all(list(landing.payloads(segment_id)) for segment_id in landing.segments_on(day))
        landing.expire(LATER, [DAY, NEXT_DAY])
        assert landing.ledger()["is_expired"].all()
        assert not list(landing.root.glob("segments/????-??-??/*"))


def test_what_expired_may_land_again_and_expire_again(landing):
    (segment_id,) = land(landing, on(0, 1)).segment_ids
    landing.expire(LATER, [DAY])

    again = land(reopened(landing), on(0, 1), now=LATER)

    assert again.segment_ids == [segment_id]
    assert landing.segments_on(DAY) == [segment_id]
    assert landing.expire(LATER + timedelta(days=1), [DAY]) == [segment_id]
