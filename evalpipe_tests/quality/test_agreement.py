"""Agreement of readers with one another. Oracles: scikit-learn and the krippendorff package."""

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

from evalpipe.quality.agreement import Agreement, agreement

OPINIONS = st.dictionaries(
    st.tuples(st.integers(0, 12), st.sampled_from("abcd")), st.booleans(), min_size=1, max_size=40
)


def agree(opinions: dict[tuple[int, str], bool], **more) -> Agreement:
    units = [f"trace-{unit}" for unit, _ in opinions]
    readers = [reader for _, reader in opinions]
    answers = np.array(list(opinions.values()), dtype=bool)
    return agreement(units, readers, answers, units, **({"confidence": 0.9, "seed": 1} | more))


def noisy_readers(n: int, error: float, seed: int, n_readers: int = 2) -> tuple[np.ndarray, list[np.ndarray]]:
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.2
    return truth, [truth ^ (generator.random(n) < error) for _ in range(n_readers)]


def opinions_of(readers: list[np.ndarray]) -> dict[tuple[int, str], bool]:
    return {(unit, "abcd"[place]): bool(yes) for place, said in enumerate(readers) for unit, yes in enumerate(said)}


def test_kappa_and_alpha_of_two_readers_by_hand():
    # yes-yes 4, yes-no 1, no-yes 1, no-no 4: observed .8, by chance .5, so kappa .6.
    a = [True] * 5 + [False] * 5
    b = [True] * 4 + [False] + [True] + [False] * 4
    found = agree(opinions_of([np.array(a), np.array(b)]))
    assert found.kappa.value == pytest.approx(0.6)
    # Of 20 opinions 10 are yes: expected disagreement 2 * 10 * 10 / 19 of 20; observed 4 of 20. 1 - 4 / (200 / 19).
    assert found.alpha.value == pytest.approx(1 - 4 * 19 / 200)
    assert found.ceiling.value == pytest.approx(0.6**0.5)
    assert (found.n_units, found.n_readers) == (10, 2)


@given(OPINIONS)
@settings(max_examples=60, deadline=None)
def test_alpha_is_that_of_the_krippendorff_package(opinions: dict[tuple[int, str], bool]):
    matrix = np.full((4, 13), np.nan)
    for (unit, reader), yes in opinions.items():
        matrix["abcd".index(reader), unit] = yes
    is_read = (~np.isnan(matrix)).sum(axis=0) > 1
    found = agree(opinions)
    assert found.n_units == is_read.sum()
    if len(np.unique(matrix[:, is_read][~np.isnan(matrix[:, is_read])])) < 2:
        assert found.alpha.value is None
    else:
        assert found.alpha.value == pytest.approx(krippendorff.alpha(matrix, level_of_measurement="nominal"))


def test_kappa_is_the_mean_over_pairs_weighted_by_what_both_read():
    _, (a, b, c) = noisy_readers(60, 0.15, seed=4, n_readers=3)
    opinions = opinions_of([a, b]) | {(unit, "c"): bool(c[unit]) for unit in range(20)}
    by_hand = [
        (cohen_kappa_score(a, b), 60),
        (cohen_kappa_score(a[:20], c[:20]), 20),
        (cohen_kappa_score(b[:20], c[:20]), 20),
    ]
    assert agree(opinions).kappa.value == pytest.approx(sum(kappa * n for kappa, n in by_hand) / 100)


def test_of_one_reader_only_the_pairs_with_them_count():
    _, (a, b, c) = noisy_readers(60, 0.15, seed=5, n_readers=3)
    found = agree(opinions_of([a, b, c]), of_reader="a")
    assert found.kappa.value == pytest.approx((cohen_kappa_score(a, b) + cohen_kappa_score(a, c)) / 2)


def test_the_ceiling_is_what_the_truth_itself_reaches_against_one_reader():
    truth, readers = noisy_readers(10_000, 0.08, seed=6)
    reached = matthews_corrcoef(truth, readers[0])
    assert agree(opinions_of(readers)).ceiling.value == pytest.approx(reached, abs=0.02)


def test_perfect_agreement_on_few_traces_is_not_certain():
    found = agree(opinions_of([np.array([True, False, False, True])] * 2))
    assert found.kappa.value == found.ceiling.value == 1
    assert found.kappa.interval is not None
    assert found.kappa.interval.lower < 0.7
    assert found.kappa.interval.upper == 1


def test_nine_of_ten_intervals_hold_the_truth():
    # P(yes) .2, errors .1: both yes .2 * .81 + .8 * .01, both no .2 * .01 + .8 * .81, so observed .82; yes .26 each.
    kappa = (0.82 - (0.26**2 + 0.74**2)) / (1 - (0.26**2 + 0.74**2))
    intervals = [agree(opinions_of(noisy_readers(80, 0.1, seed)[1])).kappa.interval for seed in range(100)]
    n_held = sum(interval is not None and interval.lower <= kappa <= interval.upper for interval in intervals)
    assert n_held >= 85


def test_a_session_of_many_traces_is_one_piece_of_evidence():
    _, readers = noisy_readers(120, 0.1, seed=8)
    opinions = opinions_of(readers)
    apart = agree(opinions)
    together = agreement(
        [f"trace-{unit}" for unit, _ in opinions],
        [reader for _, reader in opinions],
        np.array(list(opinions.values())),
        [f"session-{unit // 30}" for unit, _ in opinions],
        confidence=0.9,
        seed=1,
    )
    assert together.kappa.value == apart.kappa.value
    assert together.kappa.interval != apart.kappa.interval


@pytest.mark.parametrize(
    "opinions",
    [{(0, "a"): True}, {(0, "a"): True, (1, "b"): False}],
    ids=["one reader", "two who read different traces"],
)
def test_without_a_second_reading_nothing_is_known(opinions: dict[tuple[int, str], bool]):
    found = agree(opinions)
    assert found.n_units == 0
    assert found.kappa.value is found.alpha.value is found.ceiling.value is None


def test_where_all_answers_are_alike_agreement_is_undefined_not_perfect():
    found = agree({(unit, reader): False for unit in range(9) for reader in "ab"})
    assert found.n_units == 9
    assert found.kappa.value is found.alpha.value is found.ceiling.value is None


def test_readers_who_contradict_each_other_leave_a_ceiling_of_nothing():
    said = np.array([True, False] * 10)
    found = agree(opinions_of([said, ~said]))
    assert (found.kappa.value, found.ceiling.value) == (-1, 0)
