import math

import polars as pl
import pytest

from evalpipe.signals.features import END, START
from evalpipe.signals.usual import expected_log2_tokens, sigmas_above, step_in_words, surprise, usual_value


def values(numbers: list[float | None], service: str = "shop") -> pl.DataFrame:
    return pl.DataFrame({"service_name": [service] * len(numbers), "x": numbers}, schema_overrides={"x": pl.Float64})


def test_sigmas_are_median_absolute_deviations_shrunk_by_the_size_of_the_reference():
    # median 3, absolute deviations 2 1 0 1 2: median 1, so sigma 1.4826; 5 of 5 + 10 traces are trusted
    reference = values([1, 2, 3, 4, 5])
    (above,) = sigmas_above(values([9]), reference, "x", floor=0.1)
    assert above == pytest.approx((9 - 3) / 1.4826 * 5 / 15)


def test_what_lies_below_the_median_or_is_missing_deviates_by_nothing():
    assert sigmas_above(values([-50, None]), values([1, 2, 3]), "x", 0.1).to_list() == [0, 0]


def test_a_service_without_a_reference_deviates_by_nothing():
    assert sigmas_above(values([50], "new"), values([1, 2, 3]), "x", 0.1).to_list() == [0]


def test_equal_values_deviate_by_their_distance_over_the_floor():
    reference = values([4.0] * 90)
    assert sigmas_above(values([4, 5]), reference, "x", floor=0.5).to_list() == pytest.approx([0, 2 * 90 / 100])


def test_a_few_odd_traces_hardly_move_what_is_usual():
    clean, dirty = values([1, 2, 3, 4, 5] * 20), values([1, 2, 3, 4, 5] * 20 + [1000] * 5)
    (alone,), (among) = sigmas_above(values([12]), clean, "x", 0.1), sigmas_above(values([12]), dirty, "x", 0.1)
    assert among[0] == pytest.approx(alone, rel=0.1)


def test_the_usual_value_is_the_median_of_the_service():
    both = pl.concat([values([1, 2, 9]), values([70], "bank")])
    assert usual_value(pl.concat([values([0]), values([0], "bank"), values([0], "new")]), both, "x").to_list() == [
        2,
        70,
        None,
    ]


def tasks(n_words: list[int], n_tokens: list[int | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"service_name": "shop", "n_user_words": n_words, "n_tokens": n_tokens, "n_user_messages": 1, "n_tool_calls": 0}
    )


def test_longer_requests_are_expected_to_take_more_tokens():
    """Tokens are 10 (1 + words) here, an exact line in log2; a doubled one is off by one bit."""
    n_words = [2**k - 1 for k in range(1, 9)] * 25
    rows = tasks([*n_words, 63], [10 * (1 + n) for n in n_words] + [1280])
    is_reference = pl.Series([True] * len(n_words) + [False])
    expected = expected_log2_tokens(rows, is_reference)
    assert expected[-1] == pytest.approx(math.log2(640), abs=0.05)
    assert math.log2(1280) - expected[-1] == pytest.approx(1, abs=0.05)


def test_a_tenth_of_runaway_traces_does_not_make_running_away_expected():
    rows = tasks([10] * 100, [400] * 90 + [8000] * 10)
    expected = expected_log2_tokens(rows, pl.Series([True] * 100))
    assert expected[0] == pytest.approx(math.log2(400), abs=0.05)


def test_a_service_that_reports_no_tokens_has_no_expectation():
    assert expected_log2_tokens(tasks([1, 2], [None, None]), pl.Series([True, True])).to_list() == [None, None]


def steps_of(*sequences: str) -> pl.DataFrame:
    rows = [
        (f"t{i}", "shop", before, after)
        for i, sequence in enumerate(sequences)
        for before, after in zip([START, *sequence], [*sequence, END], strict=True)
    ]
    return pl.DataFrame(rows, schema=["trace_id", "service_name", "before", "after"], orient="row")


def references(*flags: bool) -> pl.DataFrame:
    return pl.DataFrame({"trace_id": [f"t{i}" for i in range(len(flags))], "is_reference": list(flags)})


def test_the_surprise_of_a_step_is_its_smoothed_chance_in_bits():
    """Reference: a, a. Judged: a. After START came 'a' twice of twice, after 'a' END twice of twice.

    Tools seen: a, END, and one imagined: backoff of a = (2 + 1) / (4 + 3) = 3/7; so of END.
    Chance of each step: (2 + 3/7) / (2 + 1) = 17/21.
    """
    found = surprise(steps_of("a", "a", "a"), references(True, True, False))
    assert found.filter(pl.col("trace_id") == "t2")["bits"].item() == pytest.approx(-math.log2(17 / 21))


def test_a_reference_trace_is_judged_by_the_others():
    """b is alone with its tool: seen from the others it is as new as to a stranger."""
    sequences = ["a"] * 8 + ["b"]
    inside = surprise(steps_of(*sequences), references(*[True] * 9))
    outside = surprise(steps_of(*sequences), references(*[True] * 8, False))
    b_inside, b_outside = (f.filter(pl.col("trace_id") == "t8")["bits"].item() for f in (inside, outside))
    assert b_inside == pytest.approx(b_outside)
    assert b_inside > 2 > inside.filter(pl.col("trace_id") == "t0")["bits"].item()


def test_a_trace_alone_has_a_finite_surprise():
    assert surprise(steps_of("abc"), references(True))["bits"].is_finite().all()


def test_a_step_is_told_in_words():
    rows = pl.DataFrame({"before": [START, START, "pay", "search"], "after": [END, "pay", END, "pay"]}).select(
        step_in_words(pl.col("before"), pl.col("after"))
    )
    assert rows.to_series().to_list() == ["no tool call at all", "pay first", "nothing after pay", "pay after search"]
