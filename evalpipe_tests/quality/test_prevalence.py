"""How common a failure is: the formula by hand, what cannot be told, and how often the interval holds the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.quality.confusion import Confusion
from evalpipe.quality.prevalence import Judged, corrected_prevalence


def of_counts(n_judged: int, n_flagged: int, weight: float = 1.0) -> Judged:
    sums = (n_judged * weight, n_flagged * weight, n_judged * weight**2, n_flagged * weight**2)
    return Judged(*sums)


def corrected(judged: Judged, errors: Confusion, seed: int = 0):
    return corrected_prevalence(judged, errors, confidence=0.95, seed=seed)


def test_the_share_that_is_flagged_is_corrected_by_both_errors():
    # 12 % flagged, tpr 18/20 = 0.9, fpr 4/80 = 0.05: (0.12 - 0.05) / (0.9 - 0.05) = 0.0824.
    found = corrected(of_counts(1_000, 120), Confusion(tp=18, fp=4, tn=76, fn=2))
    assert found.value == pytest.approx(0.07 / 0.85)
    assert 0 < found.lower < found.value < found.upper < 0.15


def test_fewer_flags_than_errors_would_give_are_none():
    # 2 % flagged is less than the fpr of 5 %.
    found = corrected(of_counts(1_000, 20), Confusion(tp=18, fp=4, tn=76, fn=2))
    assert (found.value, found.lower) == (0, 0)
    assert 0 < found.upper < 0.03


def test_no_flag_at_all_leaves_the_rule_of_three():
    """0 of 1,000 by a near perfect evaluator: 3 / 1,000 bounds 95 % one-sided, Jeffreys' two-sided are 2.5 / 1,000."""
    perfect = Confusion(tp=10_000, fp=0, tn=100_000, fn=0)
    found = corrected(of_counts(1_000, 0), perfect)
    assert (found.value, found.lower) == (0, 0)
    assert found.upper == pytest.approx(2.5 / 1_000, abs=4e-4)  # scipy.stats.beta.ppf(0.975, 0.5, 1000.5) = 0.00251


def test_a_perfect_evaluator_gives_jeffreys_interval():
    # scipy.stats.beta.ppf([0.025, 0.975], 50.5, 950.5) = 0.0378, 0.0648.
    perfect = Confusion(tp=10**6, fp=0, tn=10**7, fn=0)
    found = corrected(of_counts(1_000, 50), perfect)
    assert found.value == pytest.approx(0.05)
    assert found[1:] == pytest.approx([0.0378, 0.0648], abs=1.5e-3)


def test_a_sample_of_a_fifth_says_as_much_as_the_traces_it_holds():
    errors = Confusion(tp=18, fp=4, tn=76, fn=2)
    assert corrected(of_counts(200, 24, weight=5), errors) == pytest.approx(corrected(of_counts(200, 24), errors))


@pytest.mark.parametrize(
    ("judged", "errors"),
    [
        (of_counts(0, 0), Confusion(9, 1, 39, 1)),  # nothing judged
        (of_counts(100, 5), Confusion(0, 1, 39, 0)),  # no failure among the labels: tpr unknown
        (of_counts(100, 5), Confusion(9, 0, 0, 1)),  # no other trace: fpr unknown
        (of_counts(100, 5), Confusion(2, 10, 40, 8)),  # tpr 0.2 = fpr 0.2
        (of_counts(100, 5), Confusion(1, 20, 20, 9)),  # worse than chance
    ],
)
def test_an_evaluator_that_tells_nothing_gives_nothing(judged: Judged, errors: Confusion):
    assert corrected(judged, errors) is None


def test_an_evaluator_that_may_be_no_better_than_chance_allows_everything():
    # tpr 2/3, fpr 1/2 of 4: of many draws the tpr is below the fpr.
    found = corrected(of_counts(1_000, 550), Confusion(tp=2, fp=2, tn=2, fn=1))
    assert found[1:] == (0, 1)


def test_flags_that_a_thin_sample_may_have_missed_widen_the_interval():
    """1,000 traces judged for sure and 100 that stand for 100 each: no flag among 100 leaves about 2.4 % of these."""
    judged = Judged(1_000 + 10_000, 0, 1_000 + 100 * 100**2, 0)
    found = corrected(judged, Confusion(tp=10_000, fp=0, tn=100_000, fn=0))
    assert 0.018 < found.upper < 0.03


def test_the_same_seed_gives_the_same_interval():
    judged, errors = of_counts(1_000, 120), Confusion(18, 4, 76, 2)
    assert corrected(judged, errors, seed=3) == corrected(judged, errors, seed=3)


counts = st.integers(0, 200)


@given(counts, counts, counts, counts, st.integers(1, 5_000), st.floats(0, 1), st.floats(1, 50))
def test_the_interval_holds_the_value_and_lies_in_0_to_1(tp, fp, tn, fn, n, share, weight):
    found = corrected(of_counts(n, round(share * n), weight), Confusion(tp, fp, tn, fn))
    if found is not None:
        assert 0 <= found.lower <= found.value <= found.upper <= 1


@pytest.mark.parametrize("is_chosen", [False, True], ids=["a plain sample", "a sample that a rule chose"])
def test_intervals_hold_the_truth_as_often_as_they_say(is_chosen: bool):
    """Of 500 histories 95 % is 475, and sqrt(500 x 0.95 x 0.05) = 4.9: within four sigmas below, and not always."""
    generator = np.random.default_rng(5)
    n_held = sum(_holds(generator, is_chosen=is_chosen, seed=seed) for seed in range(500))
    assert 475 - 4 * 4.9 <= n_held < 500


def _holds(generator: np.random.Generator, *, is_chosen: bool, seed: int) -> bool:
    """Whether the interval of one made-up history holds its prevalence."""
    prevalence, fpr = np.exp(generator.uniform(np.log([0.005, 0.001]), np.log([0.3, 0.1])))
    tpr = generator.uniform(0.55, 0.98)
    n_positives, n_negatives = int(generator.integers(10, 60)), int(generator.integers(40, 300))
    tp, fp = generator.binomial(n_positives, tpr), generator.binomial(n_negatives, fpr)
    n_traces = int(np.exp(generator.uniform(np.log(500), np.log(20_000))))
    is_failure = generator.random(n_traces) < prevalence
    is_flagged = generator.random(n_traces) < np.where(is_failure, tpr, fpr)
    # The rule finds 85 % of the failures and 3 % of the rest; of what it leaves a tenth as much is judged.
    found_by_rule = generator.random(n_traces) < np.where(is_failure, 0.85, 0.03)
    chance = 0.2 * (np.where(found_by_rule, 1, 0.1) if is_chosen else np.ones(n_traces))
    is_judged = generator.random(n_traces) < chance
    weights = 1 / chance
    flagged = weights[is_judged & is_flagged]
    judged = Judged(weights[is_judged].sum(), flagged.sum(), (weights[is_judged] ** 2).sum(), (flagged**2).sum())
    errors = Confusion(int(tp), int(fp), int(n_negatives - fp), int(n_positives - tp))
    interval = corrected(judged, errors, seed=seed)
    return interval is not None and interval.lower <= prevalence <= interval.upper
