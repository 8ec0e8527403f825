"""Which examples are held out together: folds that keep each group whole and share the failures out evenly.

Our own forty lines rather than sklearn's StratifiedGroupKFold: scikit-learn lives in evaluators/learned.py, and its
order of ties follows the order of the rows, where this one follows a hash, so that an added example moves few others.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evalpipe.ids import content_hash

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def grouped_folds(is_failure: Bools, groups: Sequence[str], *, n_folds: int, seed: int) -> Ints:
    """The fold of each example, from 0; no group lies in two folds.

    Fewer folds than asked when there are fewer groups with a failure (a fold without one measures nothing), but at
    least two. Groups are dealt in order of size to the fold that has the least of what they bring.
    """
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    n_positives = np.bincount(member, weights=is_failure, minlength=len(names)).astype(np.int64)
    n_examples = np.bincount(member, minlength=len(names))
    n_folds = max(2, min(n_folds, int(np.sum(n_positives > 0))))
    shuffled = [content_hash([seed, name]) for name in names.tolist()]
    order = sorted(range(len(names)), key=lambda g: (-n_positives[g], -n_examples[g], shuffled[g]))
    load = np.zeros((n_folds, 2), dtype=np.int64)
    fold_of_group = np.zeros(len(names), dtype=np.int64)
    for group in order:
        positives, size = int(n_positives[group]), int(n_examples[group])
        # A group with failures goes where failures are fewest; one without, where examples are.
        key = (load[:, 0], load[:, 1]) if positives else (load[:, 1], load[:, 0])
        fold = int(np.lexsort((key[1], key[0]))[0])
        fold_of_group[group] = fold
        load[fold] += (positives, size)
    return fold_of_group[member]


def n_groups_with_failures(is_failure: Bools, groups: Sequence[str]) -> int:
    """How many groups hold at least one failure: the independent sightings there are."""
    return len({group for group, failed in zip(groups, is_failure.tolist(), strict=True) if failed})
