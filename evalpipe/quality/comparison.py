"""Did a share of passing cases fall, or is it chance? Two releases on the same inputs (paired), or on different ones.

Cases of one session are alike, so sessions are the independent units in both ways. What follows from a fall is decided
in gate/decide.py.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

_NEGLIGIBLE = 1e-18  # a term of a sum of probabilities that no longer changes it


@dataclass(frozen=True)
class Comparison:
    """One evaluator on two releases. `p_worse` is the chance of so large a fall or a larger one if nothing changed."""

    way: Literal["paired", "unpaired"]
    release: str | None  # the release compared with
    pass_rate: float  # of that release, on the cases compared, in [0, 1]
    n: int  # its cases compared
    change: float  # pass rate now less that of then, on the cases compared
    p_worse: float
    level: float  # the chance below which the fall is taken for real
    is_regression: bool  # beyond chance, and by more than the margin


def sign_test(n_worse: int, n_better: int) -> float:
    """One-sided chance of at least `n_worse` of the units that changed being worse, if worse and better are as likely.

    1 when nothing changed. Equals scipy.stats.binomtest(n_worse, n_worse + n_better, alternative="greater"), without
    the second that importing scipy costs a gate; with ties left out it is the exact test of McNemar (1947).
    """
    n = n_worse + n_better
    return _upper_tail(n_worse, n, lambda k: _log_choose(n, k) - n * math.log(2))


def fisher_test(n_fail: int, n: int, n_fail_before: int, n_before: int) -> float:
    """One-sided chance of at least `n_fail` of all failures lying in the first sample, if both are alike.

    1 where a sample is empty. Equals scipy.stats.fisher_exact(..., alternative="greater"). Source: Fisher (1934).
    """
    if n == 0 or n_before == 0:
        return 1.0
    failures, all_cases = n_fail + n_fail_before, n + n_before
    whole = _log_choose(all_cases, failures)
    return _upper_tail(
        n_fail, min(n, failures), lambda k: _log_choose(n, k) + _log_choose(n_before, failures - k) - whole
    )


def effective_n(fails_of_session: Mapping[str, tuple[int, int]]) -> float:
    """How many independent cases the judged ones are worth, at most as many as there are and at least one a session.

    For each session its failing and its judged cases. Cases of a session that always go the same way count once.
    Source: the design effect of a ratio, Kish (1965), Survey Sampling, sections 2.8 and 6.3.
    """
    counts = list(fails_of_session.values())
    n = sum(judged for _, judged in counts)
    n_sessions = len(counts)
    if n_sessions < 2 or n == n_sessions:
        return float(n_sessions)
    share = sum(fails for fails, _ in counts) / n
    if share in (0.0, 1.0):
        # Without variation the design effect is unknown, and the cautious answer is that sessions are the units.
        return float(n_sessions)
    residues = sum((fails - share * judged) ** 2 for fails, judged in counts)
    clustered = n_sessions / (n_sessions - 1) * residues / n**2
    return max(float(n_sessions), min(float(n), share * (1 - share) / clustered)) if clustered else float(n)


def _upper_tail(first: int, last: int, log_chance: Callable[[int], float]) -> float:
    total = 0.0
    for k in range(first, last + 1):
        term = math.exp(log_chance(k))
        total += term
        if total > 0 and term < total * _NEGLIGIBLE:
            break
    return min(1.0, total)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
