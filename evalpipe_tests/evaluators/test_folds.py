"""Folds keep groups whole and share failures out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.evaluators.folds import grouped_folds, n_groups_with_failures


def test_failures_are_shared_out_evenly():
    is_failure = np.arange(100) < 20
    folds = grouped_folds(is_failure, [f"g{i}" for i in range(100)], n_folds=10, seed=1)
    assert np.bincount(folds[is_failure]).tolist() == [2] * 10
    assert np.bincount(folds).tolist() == [10] * 10


def test_there_are_no_more_folds_than_groups_with_a_failure():
    is_failure = np.array([True, True, True, True, *[False] * 16])
    groups = ["a", "a", "b", "c", *[f"g{i}" for i in range(16)]]
    assert grouped_folds(is_failure, groups, n_folds=10, seed=1).max() == 2
    assert n_groups_with_failures(is_failure, groups) == 3


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), min_size=2, max_size=60), st.integers(0, 5))
def test_no_group_lies_in_two_folds_whatever_the_order_of_rows(rows: list[tuple[bool, str]], seed: int):
    def fold_of_groups(ordered: list[tuple[bool, str]]) -> dict[str, int]:
        is_failure = np.array([failed for failed, _ in ordered])
        groups = [group for _, group in ordered]
        folds = grouped_folds(is_failure, groups, n_folds=4, seed=seed)
        assert len(set(zip(groups, folds.tolist(), strict=True))) == len(set(groups))
        return dict(zip(groups, folds.tolist(), strict=True))

    assert fold_of_groups(rows) == fold_of_groups(rows[::-1])
