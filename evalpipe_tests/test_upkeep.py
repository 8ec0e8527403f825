"""Upkeep of a real home: what is kept, what goes, and that nothing is lost by it."""

from datetime import timedelta

from evalpipe.home import Home
from evalpipe.settings import ObserveSettings
from evalpipe.tables import SPANS
from evalpipe.upkeep import upkeep
from evalpipe_tests.test_plan import NOON, land, take_in

LATER = NOON + timedelta(days=31)


def keeping(home: Home, days: int | None) -> Home:
    return Home(home.settings.model_copy(update={"observe": ObserveSettings(retention_days=days)}))


def test_raw_segments_are_kept_unless_a_retention_is_set(empty_home: Home):
    land(empty_home, 1, at=NOON)
    take_in(empty_home, NOON)
    assert upkeep(empty_home, LATER).expired == []


def test_segments_past_their_retention_go_when_their_spans_are_in_the_table(empty_home: Home):
    home = keeping(empty_home, 30)
    land(home, 1, at=NOON)
    assert upkeep(home, LATER).expired == []  # no span of it is in a table yet
    take_in(home, NOON)
    assert upkeep(home, NOON + timedelta(days=29)).expired == []
    (gone,) = upkeep(home, LATER).expired
    assert gone == home.landing.ledger()["segment_id"].item()
    assert home.landing.segments_on(NOON.date()) == []


def test_a_day_with_expired_segments_still_takes_late_spans_and_keeps_what_it_has(empty_home: Home):
    home = keeping(empty_home, 30)
    land(home, 1, at=NOON)
    take_in(home, NOON)
    upkeep(home, LATER)
    land(home, 2, at=NOON + timedelta(seconds=1))
    take_in(home, LATER)
    assert home.lake.read(SPANS)["name"].sort().to_list() == ["span 1", "span 2"]


def test_many_small_commits_become_one_file(empty_home: Home):
    for number in range(1, 6):
        land(empty_home, number, at=NOON + timedelta(seconds=number))
        take_in(empty_home, NOON)
    before = empty_home.lake.read(SPANS).sort("span_id")
    done = upkeep(empty_home, LATER).tables.filter(table="spans").row(0, named=True)
    assert (done["n_files_before"], done["n_files_after"]) == (5, 1)
    assert empty_home.lake.read(SPANS).sort("span_id").equals(before)
