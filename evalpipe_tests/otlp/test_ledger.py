from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from evalpipe.otlp.ledger import Entry, Ledger, entries_of
from evalpipe_tests.otlp.landings import DAY, NOW

NEXT_DAY = DAY + timedelta(days=1)


def entry(name: str, *days, landed_at: datetime = NOW, **changes) -> Entry:
    return Entry(name, "client", 1, 2, 3, list(days), landed_at, **changes)


def ids(ledger: Ledger, day=DAY) -> list[str]:
    return ledger.frame(day)["segment_id"].to_list()


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path)


def test_a_segment_has_a_line_on_every_day_that_it_touches(ledger):
    ledger.enter([entry("seg_a", DAY, NEXT_DAY), entry("seg_b", NEXT_DAY)])

    assert ledger.days() == [DAY, NEXT_DAY]
    assert ids(ledger) == ["seg_a"]
    assert ids(ledger, NEXT_DAY) == ["seg_a", "seg_b"]


def test_the_last_line_of_a_segment_counts_in_the_place_of_its_first(ledger):
    ledger.enter([entry("seg_a", DAY), entry("seg_b", DAY)])
    ledger.enter([entry("seg_a", DAY, is_expired=True)])
    assert ledger.frame(DAY).select("segment_id", "is_expired").rows() == [("seg_a", True), ("seg_b", False)]


def test_a_line_that_is_written_just_now_is_not_read_yet(ledger, tmp_path):
    ledger.enter([entry("seg_a", DAY)])
    with (tmp_path / f"{DAY}.jsonl").open("ab") as file:
        file.write(b'{"segment_id": "seg_half')

    assert ids(ledger) == ["seg_a"]
    assert not ledger.is_damaged(DAY)

    ledger.enter([entry("seg_b", DAY)])  # its writer died, or the disk was full for a moment
    assert ids(ledger) == ["seg_a", "seg_b"]


@pytest.mark.parametrize(
    "line", [b"\x00" * 9, b"\xff", b"{}", b"[]", b"5", b'{"segment_id": 1}', b'{"days": ["no"]}', b'{"a": 1} {']
)
def test_a_whole_line_that_says_nothing_is_damage(ledger, tmp_path, line):
    ledger.enter([entry("seg_a", DAY)])
    with (tmp_path / f"{DAY}.jsonl").open("ab") as file:
        file.write(line + b"\n")
    assert ledger.is_damaged(DAY)
    assert ids(ledger) == ["seg_a"]


def test_what_another_process_adds_is_seen(ledger, tmp_path):
    other = Ledger(tmp_path)
    ledger.enter([entry("seg_a", DAY)])
    assert ids(other) == ["seg_a"]
    ledger.enter([entry("seg_b", DAY)])
    assert ids(other) == ["seg_a", "seg_b"]


def test_only_files_that_are_called_by_a_day_are_read(ledger, tmp_path):
    for name in ("notes.jsonl", ".2026-02-16.jsonl.12.part", "2026-02-30.jsonl"):
        (tmp_path / name).write_text("{}\n")
    assert ledger.days() == []
    assert ids(ledger) == []
    assert not ledger.is_damaged(DAY)


def test_days_landed_since_a_moment_are_those_of_the_landing_s_clock(ledger, monkeypatch):
    long_ago, to_come = datetime(2001, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    ledger.enter([entry("seg_a", DAY, landed_at=long_ago)])
    ledger.enter([entry("seg_b", NEXT_DAY, landed_at=to_come)])

    assert ledger.landed_since(long_ago) == {DAY, NEXT_DAY}
    assert ledger.landed_since(long_ago + timedelta(microseconds=1)) == {NEXT_DAY}
    assert ledger.landed_since(to_come) == {NEXT_DAY}
    assert ledger.landed_since(to_come + timedelta(microseconds=1)) == set()


def test_a_day_that_has_rested_is_not_opened_to_ask_what_landed_since(tmp_path, monkeypatch):
    Ledger(tmp_path).enter([entry("seg_a", DAY)])
    monkeypatch.setattr("evalpipe.otlp.ledger._Page.parse", lambda *_: pytest.fail("it was opened"))
    assert Ledger(tmp_path).landed_since(NOW + timedelta(seconds=1)) == set()


def test_entries_come_back_and_a_field_that_a_newer_version_added_does_no_harm(ledger, tmp_path):
    entry_a = entry("seg_a", DAY, NEXT_DAY, landed_at=NOW + timedelta(microseconds=1))
    ledger.enter([entry_a])
    path = tmp_path / f"{DAY}.jsonl"
    path.write_text(path.read_text().replace('"is_expired":false', '"colour":[{"red": 1}]'))
    assert entries_of(ledger.frame(DAY)) == [entry_a]


def test_rows_bear_the_day_they_were_asked_for(ledger):
    ledger.enter([entry("seg_a", DAY, NEXT_DAY)])
    frame = ledger.frame(NEXT_DAY)
    assert frame["day"].to_list() == [NEXT_DAY]
    assert frame["days"].to_list() == [[DAY, NEXT_DAY]]
    assert ledger.frame(NEXT_DAY + timedelta(days=9)).schema["days"] == pl.List(pl.Date)
