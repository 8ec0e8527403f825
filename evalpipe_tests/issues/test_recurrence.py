import polars as pl
import pytest

from evalpipe.issues.recurrence import recurrence
from evalpipe.settings import VerificationSettings
from evalpipe_tests.issues.histories import day, exposure, hours, readings

SETTINGS = VerificationSettings()
RESOLVED = day(14)
ABSENT = exposure(hours(*((n, "1.1", 50, n % 7 == 0) for n in range(14))), rate_before=0.04)  # 2 flags of 700 traces


def since(*rows: tuple[float, str, int, int], read: pl.DataFrame | None = None):
    return recurrence(RESOLVED, exposure(hours(*rows), read), ABSENT, SETTINGS)


def test_traffic_as_quiet_as_before_says_nothing():
    said = since(*((14 + n, "1.1", 50, n % 9 == 0) for n in range(28)))
    assert said.at is None
    assert "4 of 1400 traces flagged" in said.reason


def test_one_flag_is_no_return_however_soon_it_comes():
    assert since((14, "1.2", 10, 1)).at is None


def test_one_false_alarm_that_people_refute_leaves_no_trace():
    flagged = [(14.0, "1.2", 20, 1), (15.0, "1.2", 20, 0)]
    refuted = since(*flagged, read=readings((14, "1.2", 1, True, False)))
    assert refuted.at is None


def test_a_return_is_found_and_linked_to_its_release():
    quiet = [(14.0 + n, "1.1", 50, 0) for n in range(7)]
    back = [(21.0 + n, "1.2", 50, 2) for n in range(14)]  # 4 %
    said = since(*quiet, *back)
    assert said.release == "1.2"
    assert said.at is not None
    assert day(21) < said.at <= day(26)  # at most 300 traces of it
    assert said.n_exposed == 50 * ((said.at - day(21)).days + 1)
    assert said.n_flagged == 2 * said.n_exposed // 50


def test_the_quiet_of_an_older_release_does_not_hide_a_return_in_a_newer_one():
    back = [(200.0 + n, "1.2", 50, 2) for n in range(10)]
    alone, after_long = since(*back), since(*((14.0 + n, "1.1", 200, 0) for n in range(180)), *back)
    assert alone.at is not None
    assert after_long.at is not None
    assert (after_long.at - alone.at).days <= 7  # later tests of the series ask for a little more


def test_a_failure_that_comes_back_without_a_new_release_is_found_too():
    quiet = [(14.0 + n, "1.1", 50, 0) for n in range(56)]
    assert since(*quiet, *((70.0 + n, "1.1", 50, 2) for n in range(14))).release == "1.1"


def test_what_people_confirm_counts_for_more_than_flags():
    flagged = [(14.0, "1.2", 20, 1), (15.0, "1.2", 20, 1)]
    assert since(*flagged).at is None
    confirmed = since(*flagged, read=readings((14, "1.2", 1, True, True), (15, "1.2", 1, True, True)))
    assert confirmed.at == day(16)  # when the second was read
    assert confirmed.n_confirmed == 2


def test_a_failure_that_people_find_among_the_passes_counts_as_much():
    read = readings((14, "1.2", 1, False, True), (15, "1.2", 1, False, True))
    assert since((14, "1.2", 20, 0), (15, "1.2", 20, 0), read=read).at is not None


@pytest.mark.parametrize("release", ["", "1.1"])
def test_later_traffic_never_changes_when_a_return_was_known(release: str):
    rows = [(14.0 + n / 4, release, 12, int(n % 2 == 0)) for n in range(80)]
    found = since(*rows).at
    assert found is not None
    n_until = sum(day(at) <= found for at, *_ in rows)
    for n in (n_until, n_until + 5, len(rows)):
        assert since(*rows[:n]).at == found
    assert since(*rows[: n_until - 1]).at is None


def test_an_issue_that_was_resolved_by_hand_has_no_absence_to_learn_from_and_is_still_watched():
    nothing = exposure(hours(), rate_before=None)
    back = exposure(hours(*((14.0 + n, "1.2", 50, 5) for n in range(14))), rate_before=None)
    assert recurrence(RESOLVED, back, nothing, SETTINGS).release == "1.2"
