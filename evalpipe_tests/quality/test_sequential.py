import math

import numpy as np
import pytest

from evalpipe.quality.sequential import crossing, log_ratio


def test_all_tests_of_a_series_together_err_as_often_as_stated():
    # 1 / (1 * 2) + 1 / (2 * 3) + ... = 1, so the errors e / (k (k + 1)) add up to e.
    assert sum(math.exp(-crossing(k, 0.05)) for k in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)


def test_a_ratio_is_that_of_the_two_binomial_likelihoods():
    # One hit of four: 0.2 * 0.8 ** 3 over 0.1 * 0.9 ** 3.
    assert log_ratio(1, 4, 0.2, 0.1) == pytest.approx(math.log(0.2 * 0.8**3 / (0.1 * 0.9**3)))


def test_looking_after_every_unit_rejects_a_true_null_no_oftener_than_stated():
    generator = np.random.default_rng(3)
    hits = generator.random((2_000, 1_500)) < 0.02
    sums = np.cumsum(np.where(hits, log_ratio(1, 1, 0.05, 0.02), log_ratio(0, 1, 0.05, 0.02)), axis=1)
    share = float((sums.max(axis=1) >= crossing(1, 0.1)).mean())
    assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2_000)  # the first test may err with 0.1 / 2
