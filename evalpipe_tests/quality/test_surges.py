"""Is a rate rising: steady traffic stays calm, a surge is caught and ends, and a replay gives the same turns."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.quality.surges import Turn, turns
from evalpipe.settings import VerificationSettings

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
SETTINGS = VerificationSettings()
WEEK = 168
HOUR = timedelta(hours=1)


def busy_hours() -> np.ndarray:
    """Traffic of each hour of a week over its mean: four times as much by day as by night, half as much at weekends."""
    hour = np.arange(WEEK)
    by_day = 1 + 1.5 * (1 + np.sin((hour % 24 - 8) / 24 * 2 * np.pi))
    by_week = by_day * np.where(hour // 24 >= 5, 0.5, 1)
    return by_week / by_week.mean()


def frame(n_judged: np.ndarray, n_flagged: np.ndarray) -> pl.DataFrame:
    hours = [MONDAY + i * HOUR for i in range(len(n_judged))]
    return pl.DataFrame({"hour": hours, "n_judged": n_judged, "n_flagged": n_flagged})


def traffic(seed: int, *, n_weeks: int, per_hour: float, rate: float, season: float = 0, **surge: float):
    """Poisson traffic with a weekly season, of which a share fails; `times` as many between `first` and `last`."""
    generator = np.random.default_rng(seed)
    busy = np.tile(busy_hours(), n_weeks)
    n_judged = generator.poisson(busy * per_hour)
    rates = rate * (1 + season * (busy - 1))
    if surge:
        rates[int(surge["first"]) : int(surge["last"])] *= surge["times"]
    return frame(n_judged, generator.binomial(n_judged, rates))


def test_what_is_usual_is_expected_and_four_times_that_escalates():
    """100 traces an hour, 2 of them flagged; from Wednesday of the fifth week, 8. Two windows of six hours must surge.

    A window of which h hours are at 8 has 12 + 6 h flagged of 12 expected: 2.5 times as many from h = 3, whose tail,
    P(Poisson(12) >= 30) = 8e-6, is below 0.001; with h = 2 it is twice, P(Poisson(12) >= 24) = 0.0015, above it. So
    the windows with h = 3 and h = 4 escalate, four hours after the start.
    """
    start = 4 * WEEK + 48
    flagged = np.full(5 * WEEK, 2)
    flagged[start:] = 8
    found = turns(frame(np.full(5 * WEEK, 100), flagged), SETTINGS)
    assert len(found) == 1
    turn = found[0]
    assert (turn.at, turn.is_escalating, turn.observed) == (MONDAY + (start + 4) * HOUR, True, 12 + 6 * 4)
    assert turn.expected == pytest.approx(12, rel=0.01)
    assert turn.ratio == pytest.approx(3, rel=0.01)
    assert turn.error < 1e-6


def test_it_ends_when_it_was_calm_for_the_whole_dwell():
    """It falls back to 2 at hour `stop`. A window with h hours of 8 left is below 1.3 times usual only with h = 0
    (h = 1: 18/12 = 1.5): first calm is the window that ends with hour stop + 5, and 12 such end with stop + 16."""
    start, stop = 4 * WEEK, 4 * WEEK + 24
    flagged = np.full(5 * WEEK, 2)
    flagged[start:stop] = 8
    found = turns(frame(np.full(5 * WEEK, 100), flagged), SETTINGS)
    assert [turn.reason for turn in found] == ["surge", "calm"]
    assert found[1].at == MONDAY + (stop + 17) * HOUR
    assert found[1].expected == pytest.approx(12, rel=0.01)  # the surge taught nothing


def test_one_odd_hour_does_not_escalate():
    flagged = np.full(5 * WEEK, 0)
    flagged[::12] = 1
    flagged[4 * WEEK + 30] = 40
    assert turns(frame(np.full(5 * WEEK, 100), flagged), SETTINGS) == []


def test_more_traffic_with_the_same_share_of_failures_does_not_escalate():
    judged, flagged = np.full(5 * WEEK, 100), np.full(5 * WEEK, 2)
    judged[4 * WEEK :], flagged[4 * WEEK :] = 1_000, 20
    assert turns(frame(judged, flagged), SETTINGS) == []


def test_nothing_escalates_before_a_week_has_taught_what_is_usual():
    flagged = np.full(WEEK + 5, 1)
    flagged[6 * 24 :] = 50
    assert turns(frame(np.full(WEEK + 5, 100), flagged), SETTINGS) == []
    assert turns(frame(np.empty(0), np.empty(0)), SETTINGS) == []


def test_a_failure_that_was_never_seen_can_escalate():
    flagged = np.zeros(3 * WEEK, dtype=int)
    flagged[2 * WEEK :] = 3
    found = turns(frame(np.full(3 * WEEK, 100), flagged), SETTINGS)
    assert found[0].is_escalating
    assert found[0].at - (MONDAY + 2 * WEEK * HOUR) <= 4 * HOUR


def test_a_rate_that_stays_becomes_what_is_usual():
    """It never falls. 28 days before the window teach, of which at least five, touched by 97 hours, must be calm."""
    flagged = np.full(10 * WEEK, 2)
    flagged[4 * WEEK :] = 8
    found = turns(frame(np.full(10 * WEEK, 100), flagged), SETTINGS)
    assert [turn.reason for turn in found] == ["surge", "new_usual"]
    assert timedelta(days=23) <= found[1].at - found[0].at <= timedelta(days=25)
    assert found[1].ratio is None


def test_hours_without_traffic_change_nothing():
    """A week's silence in an escalation: it goes on, and only later hours can end it."""
    judged, flagged = np.full(6 * WEEK, 100), np.full(6 * WEEK, 2)
    flagged[4 * WEEK : 4 * WEEK + 24] = 8
    silence = slice(4 * WEEK + 24, 5 * WEEK)
    judged[silence] = flagged[silence] = 0
    found = turns(frame(judged, flagged), SETTINGS)
    assert [turn.reason for turn in found] == ["surge", "calm"]
    assert found[1].at >= MONDAY + (5 * WEEK + 12) * HOUR
    with_rows = frame(judged, flagged)
    assert turns(with_rows.filter(pl.col("n_judged") > 0), SETTINGS) == found


@pytest.mark.parametrize("season", [0, 0.8], ids=["an even share", "a share that is high when traffic is"])
@pytest.mark.parametrize(("per_hour", "rate"), [(20, 0.02), (100, 0.003), (100, 0.05)])
def test_steady_traffic_seldom_escalates(season: float, per_hour: float, rate: float):
    """Each of four histories of 8 weeks has some 1,150 comparisons with an error of 0.001 at most."""
    histories = [traffic(seed, n_weeks=8, per_hour=per_hour, rate=rate, season=season) for seed in range(4)]
    n_escalations = sum(turn.is_escalating for history in histories for turn in turns(history, SETTINGS))
    assert n_escalations <= 4 * 1_150 * SETTINGS.escalation_error


@pytest.mark.parametrize("season", [0, 0.8])
@pytest.mark.parametrize("first", [4 * WEEK + 10, 4 * WEEK + 26, 4 * WEEK + 5 * 24], ids=["noon", "night", "weekend"])
def test_three_times_the_usual_rate_is_caught_within_a_day(first: int, season: float):
    history = traffic(1, n_weeks=5, per_hour=100, rate=0.03, season=season, first=first, last=first + 48, times=3)
    found = [turn.at - MONDAY for turn in turns(history, SETTINGS) if turn.is_escalating]
    assert any(timedelta(0) < at - first * HOUR <= timedelta(days=1) for at in found)


bursts = st.lists(st.tuples(st.integers(0, 4 * WEEK - 1), st.integers(1, 200), st.integers(1, 12)), max_size=6)


def _with_bursts(seed: int, found: list[tuple[int, int, int]]) -> pl.DataFrame:
    """Four weeks of thin traffic, gaps at night, with bursts of failures: (first hour, hours, times as many)."""
    history = traffic(seed, n_weeks=4, per_hour=12, rate=0.05)
    rates = np.ones(history.height)
    for first, length, times in found:
        rates[first : first + length] *= times
    n_flagged = np.minimum(history["n_judged"].to_numpy(), (history["n_flagged"].to_numpy() * rates).astype(int))
    return history.with_columns(n_flagged=n_flagged).filter(pl.col("n_judged") > 4)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), bursts, st.integers(1, 4 * WEEK))
def test_turns_alternate_and_later_hours_change_no_earlier_one(seed: int, found, n_hours: int):
    history = _with_bursts(seed, found)
    all_turns = turns(history, SETTINGS)
    assert [turn.is_escalating for turn in all_turns] == [i % 2 == 0 for i in range(len(all_turns))]
    assert sorted(all_turns, key=lambda turn: turn.at) == all_turns
    until = MONDAY + n_hours * HOUR
    known = turns(history.filter(pl.col("hour") < until), SETTINGS)
    assert known == [turn for turn in all_turns if turn.at <= until]


def test_a_turn_says_how_many_times_the_usual_rate_it_saw():
    turn = Turn(MONDAY, is_escalating=True, observed=30, expected=12.0, error=1e-5, reason="surge")
    assert turn.ratio == 2.5
