"""Intervals: Wilson's against scipy; the Matthews correlation's by its properties and against a known truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from evalpipe.quality.confusion import Confusion, confusion, mcc
from evalpipe.quality.intervals import difference_interval, mcc_interval, wilson


@given(
    st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.9, 0.95])
)
def test_wilson_equals_scipys(counts, confidence):
    k, n = counts
    bounds = binomtest(k, n).proportion_ci(confidence_level=confidence, method="wilson")
    assert wilson(k, n, confidence) == pytest.approx((bounds.low, bounds.high), abs=1e-9)


def test_wilson_of_a_worked_example():
    # 8 of 10 at 95 %, z = 1.959964, z^2 = 3.841459: centre (0.8 + 0.192073) / 1.3841459 = 0.716740,
    # half width 1.959964 * sqrt(0.16/10 + 3.841459/400) / 1.3841459 = 0.226577
    assert wilson(8, 10, 0.95) == pytest.approx((0.716740 - 0.226577, 0.716740 + 0.226577), abs=1e-5)


def test_wilson_of_nothing_is_undefined():
    assert wilson(0, 0, 0.95) is None


def test_a_perfect_share_ends_exactly_at_one():
    assert wilson(7, 7, 0.95).upper == 1.0
    assert wilson(0, 7, 0.95).lower == 0.0


def test_the_difference_of_two_shares_is_newcombes_worked_example():
    # Newcombe (1998), table II, method 10, example (a): 56 of 70 against 48 of 80.
    assert difference_interval(56 / 70, 70, 48 / 80, 80, 0.95) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(st.integers(1, 50), st.integers(1, 50), st.data())
def test_the_difference_the_other_way_round_is_its_mirror(n, n_other, data):
    share, other = (data.draw(st.integers(0, each)) / each for each in (n, n_other))
    there, back = difference_interval(share, n, other, n_other, 0.9), difference_interval(other, n_other, share, n, 0.9)
    assert there == pytest.approx((-back.upper, -back.lower))
    assert there.lower <= share - other <= there.upper


def examples(tp: int, fp: int, tn: int, fn: int) -> tuple[np.ndarray, np.ndarray]:
    is_failure = np.array([True] * tp + [False] * (fp + tn) + [True] * fn)
    is_flagged = np.array([True] * (tp + fp) + [False] * (tn + fn))
    return is_failure, is_flagged


def interval(counts: Confusion, groups=None, seed=1):
    is_failure, is_flagged = examples(*counts)
    groups = groups or [f"s{i}" for i in range(counts.n)]
    return mcc_interval(is_failure, is_flagged, groups, confidence=0.9, seed=seed)


def test_a_perfect_figure_on_few_examples_is_not_a_perfect_evaluator():
    few, many = interval(Confusion(5, 0, 5, 0)), interval(Confusion(100, 0, 100, 0))
    assert few.upper > 0.99
    assert few.lower < 0.75 < many.lower


def test_the_interval_holds_the_figure():
    counts = Confusion(tp=20, fp=3, tn=50, fn=5)
    bounds = interval(counts)
    assert bounds.lower < mcc(counts) < bounds.upper


def test_examples_of_few_sessions_say_less_than_examples_of_many():
    counts = Confusion(tp=30, fp=10, tn=50, fn=10)
    in_ten_sessions = interval(counts, groups=[f"s{i // 10}" for i in range(100)])
    assert in_ten_sessions.lower < interval(counts).lower


def test_the_same_seed_gives_the_same_interval():
    counts = Confusion(tp=12, fp=2, tn=20, fn=4)
    assert interval(counts, seed=3) == interval(counts, seed=3)


@pytest.mark.parametrize("counts", [Confusion(0, 2, 8, 0), Confusion(5, 0, 0, 5), Confusion(0, 0, 20, 10)])
def test_an_undefined_mcc_has_no_interval(counts):
    assert mcc(counts) is None
    assert interval(counts) is None


def test_half_the_evidence_is_the_interval_of_half_as_many_examples():
    counts = Confusion(40, 6, 100, 10)
    is_failure, is_flagged = examples(*counts)
    groups = [str(i) for i in range(counts.n)]
    half = mcc_interval(is_failure, is_flagged, groups, confidence=0.9, seed=1, evidence=0.5)
    assert half == pytest.approx(interval(Confusion(20, 3, 50, 5)), abs=0.04)
    assert half.lower < interval(counts).lower


def test_at_the_prevalence_of_the_examples_the_interval_is_nearly_the_same():
    is_failure, is_flagged = examples(20, 3, 50, 5)
    groups = [str(i) for i in range(78)]
    own, other = (
        mcc_interval(is_failure, is_flagged, groups, confidence=0.9, seed=1, prevalence=prevalence)
        for prevalence in (25 / 78, 0.01)
    )
    assert own.lower == pytest.approx(interval(Confusion(20, 3, 50, 5)).lower, abs=0.05)
    assert other.upper < own.upper


def test_the_lower_bound_lies_under_the_truth_as_often_as_it_says():
    # An evaluator with rates 0.85 and 0.95 at a prevalence of one half: MCC = (0.85 + 0.95 - 1) / sqrt(1 - 0.1^2).
    truth = 0.8 / np.sqrt(1 - 0.1**2)
    generator = np.random.default_rng(11)
    is_failure = np.repeat([True, False], 30)
    n_under = 0
    for seed in range(150):
        is_flagged = generator.random(60) < np.where(is_failure, 0.85, 0.05)
        if mcc(confusion(is_failure, is_flagged)) is not None:
            bounds = mcc_interval(is_failure, is_flagged, [str(i) for i in range(60)], confidence=0.9, seed=seed)
            n_under += bounds.lower <= truth
    # Nominal is 95 % (the lower tail of a 90 % interval); three standard errors of 150 draws are 5 %.
    assert n_under / 150 >= 0.90
