import pytest
from scipy.stats import binomtest

from evalpipe.quality.exposure import rate_upper, units_needed


def test_nothing_found_among_n_bounds_the_rate_by_the_rule_that_the_issue_names():
    # 1 - 0.05 ** (1 / 298) = 0.0100022 is above one in a hundred, 1 - 0.05 ** (1 / 299) = 0.0099689 below.
    assert units_needed(0.01, 0.95) == 299
    assert rate_upper(0, 299, 0.95) == pytest.approx(1 - 0.05 ** (1 / 299))
    assert rate_upper(0, 298, 0.95) > 0.01 > rate_upper(0, 299, 0.95)


@pytest.mark.parametrize(("n_failures", "n"), [(1, 50), (3, 400), (10, 11)])
def test_the_bound_is_that_of_clopper_and_pearson(n_failures: int, n: int):
    expected = binomtest(n_failures, n, alternative="less").proportion_ci(0.95, method="exact").high
    assert rate_upper(n_failures, n, 0.95) == pytest.approx(expected)


@pytest.mark.parametrize("n_failures", [0, 1, 4])
def test_what_is_needed_is_the_least_that_suffices(n_failures: int):
    n = units_needed(0.03, 0.95, n_failures)
    assert rate_upper(n_failures, n, 0.95) < 0.03 <= rate_upper(n_failures, n - 1, 0.95)


def test_where_nothing_was_looked_at_any_rate_is_possible():
    assert rate_upper(0, 0, 0.95) == 1.0
    assert rate_upper(3, 3, 0.95) == 1.0
