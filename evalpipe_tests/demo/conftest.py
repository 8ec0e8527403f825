"""Five weeks of demo traffic, made once for all tests of this room."""

from datetime import date
from typing import NamedTuple

import pytest

from evalpipe.demo.traffic import DemoPlan, WeekTraffic, week_of_traffic
from evalpipe_tests.demo.wire import WireTrace, traces_in

PLAN = DemoPlan(start_day=date(2026, 10, 19), n_weeks=8)
SMALL_PLAN = DemoPlan(start_day=date(2026, 10, 19), n_weeks=2, sessions_per_day=5)


class Demo(NamedTuple):
    weeks: list[WeekTraffic]
    traces: dict[str, WireTrace]
    truth: dict[str, str | None]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    weeks = [week_of_traffic(PLAN, week, folder / str(week)) for week in range(PLAN.n_weeks)]
    return Demo(
        weeks,
        traces_in([path for week in weeks for path in week.paths]),
        {trace_id: mode for week in weeks for trace_id, mode in week.truth.items()},
    )
