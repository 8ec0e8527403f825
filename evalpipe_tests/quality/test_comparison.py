"""Whether a share fell: equal to scipy where scipy has it, by hand where sessions are the units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact

from evalpipe.quality.comparison import effective_n, fisher_test, sign_test


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sign_test_is_that_of_scipy(n_worse, n_better):
    n = n_worse + n_better
    expected = binomtest(n_worse, n, alternative="greater").pvalue if n else 1.0
    assert sign_test(n_worse, n_better) == pytest.approx(expected, rel=1e-9)


@given(st.data(), st.integers(1, 200), st.integers(1, 200))
def test_the_test_of_two_shares_is_that_of_scipy(data, n, n_before):
    n_fail, n_fail_before = data.draw(st.integers(0, n)), data.draw(st.integers(0, n_before))
    table = [[n_fail, n - n_fail], [n_fail_before, n_before - n_fail_before]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert fisher_test(n_fail, n, n_fail_before, n_before) == pytest.approx(expected, rel=1e-6, abs=1e-15)


def test_two_shares_of_many_cases_are_compared_in_no_time():
    assert fisher_test(20_000, 100_000, 1_000, 100_000) == pytest.approx(0.0, abs=1e-300)


def test_an_empty_sample_says_nothing():
    assert (fisher_test(0, 0, 3, 10), fisher_test(3, 10, 0, 0)) == (1.0, 1.0)


def test_cases_of_one_session_that_go_the_same_way_count_once():
    # Two sessions of ten, one wholly failing: a share of 1/2, residues 5^2 + 5^2, clustered 2/1 * 50 / 400 = 1/4,
    # and 1/2 * 1/2 / (1/4) = 1, which is less than the two sessions there are.
    assert effective_n({"a": (10, 10), "b": (0, 10)}) == 2.0


def test_sessions_of_one_case_are_as_many_cases():
    assert effective_n({str(i): (i % 2, 1) for i in range(10)}) == 10.0


def test_without_a_failure_sessions_are_the_units():
    assert effective_n({"a": (0, 10), "b": (0, 30)}) == 2.0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_worth_lies_between_the_sessions_and_the_cases(counts):
    sessions = {str(i): (fails, fails + passes + 1) for i, (fails, passes) in enumerate(counts)}
    n = sum(judged for _, judged in sessions.values())
    assert len(sessions) <= effective_n(sessions) <= n
