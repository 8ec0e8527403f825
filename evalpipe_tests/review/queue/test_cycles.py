from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.review.queue.cycles import cycle_days, cycle_of, cycles_before


def test_a_cycle_is_an_iso_week_that_may_begin_in_the_year_before():
    assert cycle_of(date(2026, 11, 23)) == "2026-W48"
    assert cycle_of(date(2025, 12, 29)) == "2026-W01"
    assert cycle_days("2026-W01") == (date(2025, 12, 29), date(2026, 1, 4))


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_every_day_lies_in_its_cycle(day: date):
    first, last = cycle_days(cycle_of(day))
    assert first <= day <= last


@pytest.mark.parametrize("cycle", ["2026-47", "2026-W54", "2025-W53", "2026-W00", "last week", ""])
def test_what_is_no_week_is_refused(cycle: str):
    with pytest.raises(InputError, match="ISO week"):
        cycle_days(cycle)


def test_the_cycles_before_go_back_over_a_new_year():
    assert cycles_before("2026-W02", 3) == ["2026-W01", "2025-W52", "2025-W51"]
