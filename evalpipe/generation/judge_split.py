"""Which examples a judge is evolved on, chosen by, and measured on: three parts, each group whole in one of them.

A judge is dear, so that it is not evolved once a fold as rules are: the last part is held out and read once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalpipe.errors import NotEnoughEvidenceError
from evalpipe.ids import content_hash
from evalpipe.settings import JudgeSettings

Bools = NDArray[np.bool_]

_SHARES = (0.4, 0.3, 0.3)  # of train, validation and test while examples are few
_NAMES = ("train", "validation", "test")


class JudgeSplit(NamedTuple):
    """Places of examples, ascending. What is in none of them belongs to a group of a part that was full."""

    train: list[int]
    validation: list[int]
    test: list[int]

    def as_dict(self, trace_ids: Sequence[str]) -> dict[str, Any]:
        """Sizes, and hashes of the ids, for provenance."""
        return {
            name: {"n": len(part), "sha256": content_hash(sorted(trace_ids[i] for i in part), 64)}
            for name, part in zip(_NAMES, self, strict=True)
        }


def split_for_judge(is_failure: Bools, groups: Sequence[str], judges: JudgeSettings, seed: int) -> JudgeSplit:
    """Train and validation of at most their sizes, half failures where there are so many; the rest is test.

    While examples of a class are few they are shared 40 / 30 / 30. Raises NotEnoughEvidenceError when a part would lack
    failures or others.
    """
    n_failures = int(is_failure.sum())
    n_others = len(is_failure) - n_failures
    limits = (judges.max_train, judges.max_validation)
    failures = _sizes(n_failures, [limit // 2 for limit in limits])
    others = _sizes(n_others, [limit - n for limit, n in zip(limits, failures, strict=False)])
    part_of = _dealt(is_failure, groups, failures, others, seed)
    parts = [np.flatnonzero(part_of == part).tolist() for part in range(3)]
    for part, limit in enumerate(limits):
        parts[part] = _thinned(parts[part], is_failure, limit, seed)
    for name, part in zip(_NAMES, parts, strict=True):
        n_positive = int(is_failure[part].sum())
        if n_positive == 0 or n_positive == len(part):
            lacks = "failures" if n_positive == 0 else "traces without the failure"
            raise NotEnoughEvidenceError(
                f"a judge cannot be evolved: no {lacks} are left for the {name} part, since traces of one case stay "
                "together. Annotate more of the queue."
            )
    return JudgeSplit(*parts)


def _sizes(n: int, limits: Sequence[int]) -> tuple[int, int, int]:
    train, validation = (min(max(1, round(share * n)), limit) for share, limit in zip(_SHARES, limits, strict=False))
    return train, validation, max(0, n - train - validation)


def _dealt(
    is_failure: Bools, groups: Sequence[str], failures: Sequence[int], others: Sequence[int], seed: int
) -> NDArray[np.int64]:
    """The part of each example. A group goes where most is missing of what it brings."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    wanted = np.array([failures, others], dtype=float)
    had = np.zeros((2, 3))
    part_of = np.zeros(len(groups), dtype=np.int64)
    # Failures first, the largest groups before the others: what is left then evens out the rest.
    order = sorted(
        members, key=lambda g: (-int(is_failure[members[g]].sum()), -len(members[g]), content_hash([seed, g]))
    )
    for group in order:
        rows = members[group]
        n_failures = int(is_failure[rows].sum())
        kind = 0 if n_failures else 1
        missing = (wanted[kind] - had[kind]) / np.maximum(wanted[kind], 1)
        part = int(np.argmax(np.round(missing, 9)))
        part_of[rows] = part
        had[:, part] += (n_failures, len(rows) - n_failures)
    return part_of


def _thinned(rows: list[int], is_failure: Bools, limit: int, seed: int) -> list[int]:
    """At most `limit` of the rows, failures and others in turn while there are both."""
    if len(rows) <= limit:
        return rows
    by_chance = sorted(rows, key=lambda i: content_hash([seed, "thin", i]))
    rank = {True: 0, False: 0}
    order: list[tuple[int, int]] = []
    for i in by_chance:
        kind = bool(is_failure[i])
        order.append((rank[kind], i))
        rank[kind] += 1
    return sorted(i for _, i in sorted(order)[:limit])
