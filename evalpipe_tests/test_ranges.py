import itertools
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from evalpipe.ranges import day_ranges


def test_neighbouring_days_are_one_range_across_the_end_of_a_month():
    assert day_ranges(["2026-02-01", "2026-01-31", "2026-01-30", "2026-02-03"]) == [
        ("2026-01-30", "2026-02-01"),
        ("2026-02-03", "2026-02-03"),
    ]


@given(st.sets(st.dates(date(2024, 1, 1), date(2024, 3, 31))))
def test_ranges_hold_exactly_the_days_given_and_never_touch(days: set[date]):
    ranges = [(date.fromisoformat(first), date.fromisoformat(last)) for first, last in day_ranges(map(str, days))]
    held = [first + timedelta(n) for first, last in ranges for n in range((last - first).days + 1)]
    assert held == sorted(days)
    assert all(last + timedelta(1) < first for (_, last), (first, _) in itertools.pairwise(ranges))
