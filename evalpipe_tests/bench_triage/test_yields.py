import math

import polars as pl
import pytest

from evalpipe.quality.intervals import wilson
from evalpipe.tables import SIGNALS
from evalpipe_tests.bench_triage.yields import chance_of_sighting, first_sightings, found, ranking


def test_lift_is_the_share_read_over_the_share_of_all():
    # 100 traces, 10 of them failures; queue reads 10 and meets 5, longest reads 10 and meets 1.
    rows = pl.DataFrame({"n": range(100)}).with_columns(
        group=pl.format("s{}", "n"),
        is_failure=pl.col("n") < 10,
        queue=pl.col("n").is_between(5, 14),
        longest=pl.col("n").is_between(9, 18),
    )

    queue, longest = found(rows, ["queue", "longest"], pl.col("is_failure"))

    assert (queue.n_read, queue.n_failures, queue.lift) == (10, 5, pytest.approx(5.0))
    assert (longest.n_failures, longest.lift) == (1, pytest.approx(1.0))
    assert longest.behind_first == pytest.approx(5.0)
    assert queue.rate == wilson(5, 10, 0.9)
    assert queue.lift_interval.lower < 5 < queue.lift_interval.upper
    assert queue.behind_first_interval == (1, 1)  # the same draws on both sides


def test_what_is_drawn_together_counts_as_one():
    each = pl.DataFrame({"n": range(40)}).with_columns(is_failure=pl.col("n") % 4 == 0, queue=pl.col("n") % 8 < 4)
    rows = pl.concat([each] * 5)

    (alone,) = found(rows.with_row_index("group"), ["queue"], pl.col("is_failure"))
    (together,) = found(rows.with_columns(group="n"), ["queue"], pl.col("is_failure"))

    # Five thinnings of the same 40 traces know no more than one: the interval is wider than that of 200 traces.
    assert together.lift == alone.lift
    widths = [each.lift_interval.upper - each.lift_interval.lower for each in (together, alone)]
    assert widths[0] > 1.5 * widths[1]


def test_nothing_found_is_no_lift_and_no_comparison():
    rows = pl.DataFrame({"group": ["a", "b"], "is_failure": [True, False], "queue": [False, True]})

    (queue,) = found(rows, ["queue"], pl.col("is_failure"))

    assert queue.lift == 0
    assert math.isnan(queue.behind_first)


def test_a_mode_is_first_seen_after_all_that_was_read_before():
    read = pl.DataFrame(
        [("queue", "W1", 1, "a"), ("queue", "W1", 2, "b"), ("queue", "W2", 1, "c"), ("queue", "W2", 2, "d")],
        ["order", "cycle", "rank", "trace_id"],
        orient="row",
    )
    truth = pl.DataFrame({"trace_id": ["a", "b", "c", "d"], "modes": [[], ["loop"], ["loop"], ["lie", "loop"]]})

    assert first_sightings(read, truth).rows() == [("queue", "lie", 4), ("queue", "loop", 2)]


def test_random_reading_misses_as_the_hypergeometric_says():
    # 2 of 10 drawn, 1 shows the mode: 1/5. Twice: 1 - (4/5)^2. All drawn: certain.
    assert chance_of_sighting([10], [1], 2) == pytest.approx(0.2)
    assert chance_of_sighting([10, 10], [1, 1], 2) == pytest.approx(0.36)
    assert chance_of_sighting([3], [1], 5) == pytest.approx(1.0)


def test_a_signal_that_puts_failures_first_is_the_best():
    signals = pl.DataFrame({"anomaly_score": [0.1, 0.9, 0.8, 0.2]}).with_columns(
        pl.lit(0.0).alias(f"{name}_score") for name in SIGNALS
    )
    signals = signals.with_columns(hedging_score=pl.Series([0.9, 0.1, 0.0, 0.8]))

    precisions = ranking(signals, pl.Series([True, False, False, True]))

    assert next(iter(precisions)) == "hedging"
    assert precisions["hedging"] == 1.0
    # The score ranks the failures third and fourth: (1/3 + 2/4) / 2.
    assert precisions["anomaly"] == pytest.approx(5 / 12)
    assert precisions["cost"] == 0.5  # says nothing: the prevalence
