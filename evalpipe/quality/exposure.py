"""How rare a failure is where it was looked for and hardly found: the bound of its rate, and how much looking it takes.

The intervals of shares in general are in intervals.py; what is looked at, and who says that it is a failure, is not
decided here.
"""

import math

_MAX_ROUNDS = 60  # of halving: as exact as an integer needs


def rate_upper(n_failures: float, n: float, confidence: float) -> float:
    """The one-sided upper bound of a rate in [0, 1] of which `n_failures` were found among `n`; 1 where n is 0.

    Counts may be fractions: of units that count in part. For 0 of n it is 1 - (1 - confidence)^(1/n). Source: Clopper
    and Pearson (1934); equals scipy.stats.binomtest(k, n, alternative="less").proportion_ci(confidence).high.
    """
    if n <= n_failures:
        return 1.0
    if n_failures <= 0:
        return 1.0 - (1.0 - confidence) ** (1.0 / n)
    # Slow to import, and seldom needed: most searches find nothing.
    from scipy.special import betaincinv  # pyright: ignore[reportMissingTypeStubs]

    return float(betaincinv(n_failures + 1, n - n_failures, confidence))


def units_needed(rate: float, confidence: float, n_failures: int = 0) -> int:
    """The least n for which `n_failures` of n say at this confidence that the true rate is below `rate`, in (0, 1)."""
    if n_failures <= 0:
        # The float of a bound that is met exactly may lie a rounding above the integer.
        return max(1, math.ceil(math.log(1.0 - confidence) / math.log1p(-rate) - 1e-9))
    low, high = n_failures, units_needed(rate, confidence)
    while rate_upper(n_failures, high, confidence) >= rate:
        low, high = high, 2 * high
    for _ in range(_MAX_ROUNDS):
        if high - low <= 1:
            break
        middle = (low + high) // 2
        low, high = (middle, high) if rate_upper(n_failures, middle, confidence) >= rate else (low, middle)
    return high
