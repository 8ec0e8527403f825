import math

from evalpipe.quality.intervals import Interval
from evalpipe_tests.bench_triage.report import found_table
from evalpipe_tests.bench_triage.yields import Found


def test_an_order_is_a_line_with_its_intervals():
    unbounded, undefined = Interval(1.5, math.inf), Interval(math.nan, math.nan)
    queue = Found("the queue", 1_000, 120, Interval(0.1, 0.14), 4.0, Interval(3.2, 4.8), 1.0, Interval(1, 1))
    longest = Found("most tokens", 1_000, 0, None, 0.0, Interval(0, 0), math.inf, unbounded)

    lines = found_table([queue, longest], has_rate_interval=True).splitlines()

    assert lines[2] == "| the queue | 1,000 | 120 | 12.0 [10, 14] | 4.00 [3.20, 4.80] |  |"
    assert lines[3] == "| most tokens | 1,000 | 0 | 0.0 | 0.00 [0.00, 0.00] | ∞ [1.50, ∞] |"
    assert found_table([longest._replace(lift=math.nan, lift_interval=undefined)], has_rate_interval=False).endswith(
        "| 0.0 | - |  |"
    )
