"""Unequal chances: the draw meets them, the estimate has no bias, the intervals hold what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.quality.intervals import wilson
from evalpipe.quality.sampling import inclusion_probabilities, lift, pareto_sample, weighted_share


def test_chances_are_in_proportion_to_size_and_the_largest_are_certain():
    # 3 of sizes 8, 1, 1, 1, 1: the first would have 3 * 8/12 = 2, so it is certain; the others share 2: 1/2 each.
    assert inclusion_probabilities(np.array([8.0, 1, 1, 1, 1]), 3) == pytest.approx([1, 0.5, 0.5, 0.5, 0.5])


def test_what_is_certain_can_make_others_certain():
    # 2 of 100, 10, 1, 1: the first is certain; one place for 10, 1, 1 gives 10/12, 1/12, 1/12.
    assert inclusion_probabilities(np.array([100.0, 10, 1, 1]), 2) == pytest.approx([1, 10 / 12, 1 / 12, 1 / 12])


@given(st.lists(st.floats(0, 1), max_size=30), st.integers(0, 40))
def test_chances_add_up_to_the_sample(sizes: list[float], n: int):
    found = inclusion_probabilities(np.array(sizes, dtype=float), n)
    n_possible = sum(size > 0 for size in sizes)
    assert found.sum() == pytest.approx(min(n, n_possible))
    assert ((found >= 0) & (found <= 1)).all()
    assert all(chance == 0 for chance, size in zip(found, sizes, strict=True) if size == 0)


def test_a_pareto_sample_meets_its_chances():
    """4,000 samples of 5 out of 20 of sizes 1 to 20: within four sigmas of each chance, sqrt(p (1 - p) / 4,000)."""
    chances = inclusion_probabilities(np.arange(1.0, 21.0), 5)
    generator = np.random.default_rng(1)
    drawn = np.zeros(20)
    for _ in range(4_000):
        sample = pareto_sample(chances, generator.random(20))
        assert len(sample) == 5
        drawn[sample] += 1
    assert np.abs(drawn / 4_000 - chances) == pytest.approx(0, abs=4 * np.sqrt(0.25 / 4_000))


def test_a_sample_hardly_changes_when_one_unit_joins():
    uniforms = np.random.default_rng(2).random(1_001)
    chances = [np.full(n, 50 / n) for n in (1_000, 1_001)]
    before, after = (set(pareto_sample(c, uniforms[: len(c)])) for c in chances)
    assert len(before & after) >= 49


def test_equal_weights_give_wilsons_interval():
    """The variance of the linearised ratio has n - 1 where Wilson has n: with 1,000 units they agree to 1e-4."""
    hits = np.arange(1_000) < 200
    found = weighted_share(hits, np.ones(1_000), 0.9)
    assert found.value == 0.2
    assert found[1:] == pytest.approx(wilson(200, 1_000, 0.9), abs=1e-4)


def test_weights_count_a_unit_for_those_it_stands_for():
    # One hit of weight 3 among weights 3, 1, 1, 1: 3/6.
    assert weighted_share(np.array([True, False, False, False]), np.array([3.0, 1, 1, 1]), 0.9).value == 0.5


@pytest.mark.parametrize("hit", [True, False])
def test_a_share_of_all_or_nothing_has_the_interval_of_kishs_number(hit: bool):
    # Weights 1, 1, 2: (1 + 1 + 2)^2 / (1 + 1 + 4) = 16/6 units.
    found = weighted_share(np.array([hit] * 3), np.array([1.0, 1.0, 2.0]), 0.9)
    z2 = 1.6448536**2
    # Wilson's open end at 0 of n is z^2 / (n + z^2).
    open_end = z2 / (16 / 6 + z2)
    assert found[1:] == pytest.approx((1 - open_end, 1.0) if hit else (0.0, open_end), abs=1e-6)


def test_a_share_of_nothing_is_undefined():
    assert weighted_share(np.array([], dtype=bool), np.array([]), 0.9) is None


def two_arms(generator: np.random.Generator, uncertain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One draw of 40 at random and 60 by unsureness from all: positions, and the chance of either."""
    n = len(uncertain)
    chances = inclusion_probabilities(uncertain, 60)
    both = set(generator.choice(n, 40, replace=False)) | set(pareto_sample(chances, generator.random(n)))
    positions = np.array(sorted(both))
    return positions, (40 / n + (1 - 40 / n) * chances)[positions]


def test_two_arms_together_estimate_without_bias_and_cover_the_truth():
    """500 draws from 3,000 traces, 3 % failures, on which the evaluator is less sure: the mean estimate is the truth.

    Within four standard errors; plain counting is far off. The interval of 90 % holds the truth in 85 to 97 %.
    """
    generator = np.random.default_rng(3)
    is_failure = generator.random(3_000) < 0.03
    score = np.clip(generator.beta(1, 8, 3_000) + 0.4 * is_failure, 0.001, 0.999)
    truth = is_failure.mean()
    draws = [two_arms(generator, 1 - np.abs(2 * score - 1)) for _ in range(500)]
    found = [weighted_share(is_failure[drawn], 1 / chances, 0.9) for drawn, chances in draws]
    values = np.array([estimate.value for estimate in found])
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(500))
    assert np.mean([is_failure[drawn].mean() for drawn, _ in draws]) > 2 * truth
    covered = np.mean([estimate.lower <= truth <= estimate.upper for estimate in found])
    assert 0.85 <= covered <= 0.97


@pytest.mark.parametrize(
    ("counts", "lower", "upper"),
    [
        # From statsmodels 0.14: confint_proportions_2indep(..., compare="ratio", method="score", correction=False).
        ((8, 20, 2, 20), 1.3516231, 12.7277605),
        ((20, 90, 1, 10), 0.6042769, 10.0608547),
        ((10, 10, 5, 10), 1.3684979, 3.7137195),
        ((0, 90, 1, 10), 0.0, 0.2981476),
        ((5, 90, 0, 10), 0.2418570, None),
    ],
)
def test_lift_has_the_score_interval(counts: tuple[int, int, int, int], lower: float, upper: float | None):
    found = lift(*counts, 0.9)
    assert found.lower == pytest.approx(lower, rel=1e-5)
    assert found.upper == (None if upper is None else pytest.approx(upper, rel=1e-5))


def test_lift_of_koopmans_example():
    """36 of 40 over 16 of 80: 4.5, and at 95 % from 2.94 to 7.15. Koopman (1984)."""
    found = lift(36, 40, 16, 80, 0.95)
    assert found == pytest.approx((4.5, 2.94, 7.15), abs=0.005)


def test_a_lift_over_nothing_found_has_no_value_and_no_upper_bound():
    assert lift(0, 5, 0, 5, 0.9) == (None, 0.0, None)


def test_a_lift_over_nothing_read_is_undefined():
    assert lift(3, 5, 0, 0, 0.9) is None
    assert lift(0, 0, 3, 5, 0.9) is None


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_a_lift_lies_within_its_interval(n: int, n_base: int, data: st.DataObject):
    x, base = data.draw(st.integers(0, n)), data.draw(st.integers(1, n_base))
    found = lift(x, n, base, n_base, 0.9)
    assert found.lower <= found.value * (1 + 1e-9)
    assert found.value <= found.upper * (1 + 1e-9)
