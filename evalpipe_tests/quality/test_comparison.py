"""Falls of a share of passing cases, beside scipy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact

from evalpipe.quality.comparison import effective_n, fisher_test, sign_test


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_sign_test_is_the_binomial_test(n_worse, n_better):
    n = n_worse + n_better
    expected = binomtest(n_worse, n, alternative="greater").pvalue if n else 1.0
    assert sign_test(n_worse, n_better) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_a_sign_test_by_hand():
    # Of 5 that changed 4 or more are worse in 5 + 1 of 2^5 ways.
    assert sign_test(4, 1) == pytest.approx(6 / 32)
    assert sign_test(0, 0) == 1.0


@given(st.integers(0, 120), st.integers(0, 120), st.integers(0, 120), st.integers(0, 120))
def test_fishers_test_is_that_of_scipy(n_fail, n_pass, n_fail_before, n_pass_before):
    table = [[n_fail, n_pass], [n_fail_before, n_pass_before]]
    expected = fisher_exact(table, alternative="greater").pvalue
    found = fisher_test(n_fail, n_fail + n_pass, n_fail_before, n_fail_before + n_pass_before)
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-300)


def test_fishers_test_by_hand():
    # Both of 2 failures among 4 cases lie in the first 2: one of the 6 pairs.
    assert fisher_test(2, 2, 0, 2) == pytest.approx(1 / 6)
    assert fisher_test(0, 0, 3, 9) == 1.0


@given(st.integers(0, 50), st.integers(1, 50), st.integers(0, 50), st.integers(1, 50))
def test_one_more_failure_is_never_better(n_fail, n_pass, n_fail_before, n_pass_before):
    before = (n_fail_before, n_fail_before + n_pass_before)
    n = n_fail + n_pass
    assert fisher_test(n_fail + 1, n, *before) <= fisher_test(n_fail, n, *before) * (1 + 1e-9)


def test_cases_of_sessions_that_go_one_way_count_once_a_session():
    # Share 1/2; residues (2 - 1)^2 + (0 - 1)^2 = 2; variance of the share 2/1 * 2/4^2 = 1/4, that of one case.
    # Two sessions cannot be worth less than two cases.
    assert effective_n({"a": (2, 2), "b": (0, 2)}) == 2.0


def test_the_worth_of_sessions_by_hand():
    # 8 cases, share 4/8; residues 0 + 0 + 1 + 1 = 2; variance 4/3 * 2/8^2 = 1/24; (1/4) / (1/24) = 6 cases.
    assert effective_n({"a": (1, 2), "b": (1, 2), "c": (0, 2), "d": (2, 2)}) == pytest.approx(6.0)


def test_without_variation_a_session_is_one_case():
    assert effective_n({"a": (0, 5), "b": (0, 5), "c": (0, 2)}) == 3.0


def test_sessions_of_one_case_are_cases():
    assert effective_n({"a": (1, 1), "b": (0, 1)}) == 2.0
    assert effective_n({}) == 0.0


@given(st.lists(st.integers(1, 20).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1))
def test_cases_are_worth_no_more_than_they_are_and_no_less_than_their_sessions(counts):
    worth = effective_n({str(number): count for number, count in enumerate(counts)})
    assert len(counts) <= worth <= sum(judged for _, judged in counts)
