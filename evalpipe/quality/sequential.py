"""Tests that may be looked at after every observation: likelihood ratios that add up until one hypothesis is out.

What is observed, and which two hypotheses are compared, is decided by the caller (issues/recurrence.py).
"""

import math


def crossing(n_tests: int, error: float) -> float:
    """The log likelihood ratio at which the `n_tests`-th test of a series (from 1) rejects its null hypothesis.

    A likelihood ratio exceeds 1 / a with a chance of at most a, however often it is looked at (Ville 1939; Wald 1945).
    The k-th test may err with error / (k (k + 1)): all of them together, however many follow, with `error`.
    """
    return math.log(n_tests * (n_tests + 1) / error)


def log_ratio(n_hits: float, n: float, rate: float, null_rate: float) -> float:
    """What `n_hits` among `n` units add to the log likelihood ratio of `rate` against `null_rate`, both in (0, 1)."""
    return n_hits * math.log(rate / null_rate) + (n - n_hits) * (math.log1p(-rate) - math.log1p(-null_rate))
