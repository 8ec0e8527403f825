import math
from collections.abc import Sequence

import polars as pl
import pytest

from evalpipe.signals.usual import END, START, expected_log2, sigmas_above, surprise, tail_share, usual_value
from evalpipe.tables import TRACE_FEATURES


def values(numbers: Sequence[float | None], service: str = "shop") -> pl.DataFrame:
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


def test_the_tail_is_the_share_of_the_service_that_is_as_high_or_higher():
    # as high as 3: two of four; ten imagined traces beside them, half of one of them as high
    reference = pl.concat([values([1, 2, 3, 4]), values([9] * 50, "bank")])
    assert tail_share(values([3, 99, None]), reference, "x").to_list() == pytest.approx([2.5 / 14, 0.5 / 14, 0.5 / 14])


def test_reference_traces_without_a_value_are_lower_than_any():
    assert tail_share(values([0]), values([None, None, 0]), "x").to_list() == pytest.approx([1.5 / 13])


def test_a_service_without_a_reference_shows_every_sign_in_one_of_twenty():
    assert tail_share(values([3], "new"), values([1, 2, 3]), "x").to_list() == [0.05]


def tasks(
    n_words: list[int], n_tokens: Sequence[int | None], versions: Sequence[str | None] | None = None
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "service_name": "shop",
            "service_version": versions or ["1"] * len(n_words),
            "n_user_words": n_words,
            "n_tokens": n_tokens,
            "n_user_messages": 1,
            "n_tool_calls": 0,
        }
    )


def test_longer_requests_are_expected_to_take_more_tokens():
    """Tokens are 10 (1 + words) here, an exact line in log2; a doubled one is off by one bit."""
    n_words = [2**k - 1 for k in range(1, 9)] * 25
    rows = tasks([*n_words, 63], [10 * (1 + n) for n in n_words] + [1280])
    is_reference = pl.Series([True] * len(n_words) + [False])
    expected = expected_log2(rows, is_reference, "n_tokens", 50)
    assert expected[-1] == pytest.approx(math.log2(640), abs=0.05)
    assert math.log2(1280) - expected[-1] == pytest.approx(1, abs=0.05)


def test_a_tenth_of_runaway_traces_does_not_make_running_away_expected():
    rows = tasks([10] * 100, [400] * 90 + [8000] * 10)
    expected = expected_log2(rows, pl.Series([True] * 100), "n_tokens", 50)
    assert expected[0] == pytest.approx(math.log2(400), abs=0.05)


def test_a_version_with_enough_traces_has_a_line_of_its_own_and_others_that_of_the_service():
    versions = ["1"] * 60 + ["2"] * 50 + ["3"] * 5 + [None] * 5
    rows = tasks([10] * 120, [400] * 60 + [800] * 50 + [400] * 10, versions)
    expected = expected_log2(rows, pl.Series([True] * 120), "n_tokens", 50)
    assert expected[0] == pytest.approx(math.log2(400))
    assert expected[60] == pytest.approx(math.log2(800))
    assert expected[110] == expected[119]
    assert math.log2(400) < expected[110] < math.log2(800)


def test_a_service_that_reports_no_tokens_has_no_expectation():
    found = expected_log2(tasks([1, 2], [None, None]), pl.Series([True, True]), "n_tokens", 50)
    assert found.to_list() == [None, None]


def called(*sequences: str, references: list[bool]) -> pl.DataFrame:
    """Traces t0, t1, ...; each letter of a sequence is a call, at the step after its place."""
    return pl.DataFrame(
        {
            "trace_id": [f"t{i}" for i in range(len(sequences))],
            "service_name": "shop",
            "calls": [[{"tool": tool, "step": n + 1} for n, tool in enumerate(sequence)] for sequence in sequences],
            "is_reference": references,
        },
        schema_overrides={"calls": TRACE_FEATURES.schema["calls"]},
    )


def bits_of(features: pl.DataFrame) -> dict[str, float]:
    return dict(surprise(features).select("trace_id", "bits").rows())


def test_the_surprise_of_a_step_is_its_smoothed_chance_in_bits():
    """Reference: a, a. Judged: a. After START came 'a' twice of twice, after 'a' END twice of twice.

    Tools seen: a, END, and one imagined: backoff of a = (2 + 1) / (4 + 3) = 3/7; so of END.
    Chance of each step: (2 + 3/7) / (2 + 1) = 17/21.
    """
    found = bits_of(called("a", "a", "a", references=[True, True, False]))
    assert found["t2"] == pytest.approx(-math.log2(17 / 21))


def test_a_reference_trace_is_judged_by_the_others():
    """b is alone with its tool: seen from the others it is as new as to a stranger."""
    sequences = ["a"] * 8 + ["b"]
    inside = bits_of(called(*sequences, references=[True] * 9))
    outside = bits_of(called(*sequences, references=[True] * 8 + [False]))
    assert inside["t8"] == pytest.approx(outside["t8"])
    assert inside["t8"] > 2 > inside["t0"]


def test_the_oddest_step_is_named_with_its_place():
    found = surprise(called(*["ab"] * 20, "ax", "", references=[True] * 20 + [False] * 2))
    odd = {row["trace_id"]: (row["before"], row["after"], row["odd_step"]) for row in found.iter_rows(named=True)}
    assert odd["t20"] == ("a", "x", 2)
    assert odd["t21"] == (START, END, None)


def test_a_trace_alone_has_a_finite_surprise():
    assert math.isfinite(bits_of(called("abc", references=[True]))["t0"])
