import numpy as np
import pytest

from evalpipe.errors import NotEnoughEvidenceError
from evalpipe.generation.judge_split import split_for_judge
from evalpipe.settings import JudgeSettings

JUDGES = JudgeSettings()


def labels(n_failures: int, n_others: int) -> np.ndarray:
    return np.random.default_rng(1).permutation(np.arange(n_failures + n_others) < n_failures)


def alone(n: int) -> list[str]:
    return [f"g{i}" for i in range(n)]


def counts(is_failure: np.ndarray, part: list[int]) -> tuple[int, int]:
    return int(is_failure[part].sum()), int((~is_failure[part]).sum())


def test_few_examples_are_shared_forty_thirty_thirty():
    is_failure = labels(10, 40)
    split = split_for_judge(is_failure, alone(50), JUDGES, seed=1)
    assert [counts(is_failure, part) for part in split] == [(4, 16), (3, 12), (3, 12)]


def test_of_many_a_third_of_a_full_part_are_failures_and_the_rest_is_held_out():
    is_failure = labels(60, 400)
    split = split_for_judge(is_failure, alone(460), JUDGES, seed=1)
    assert [counts(is_failure, part) for part in split] == [(13, 27), (13, 27), (34, 346)]
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(460))


def test_a_group_lies_in_one_part_whatever_its_size():
    rng = np.random.default_rng(2)
    is_failure = rng.random(300) < 0.2
    groups = [f"g{g}" for g in np.concatenate([np.zeros(60, int), rng.integers(1, 60, 240)])]
    split = split_for_judge(is_failure, groups, JUDGES, seed=1)
    sides = [{groups[i] for i in part} for part in split]
    assert sum(map(len, sides)) == len(set().union(*sides))
    assert len(split.train) <= 40
    assert len(split.validation) <= 40


def test_the_same_seed_splits_alike_and_another_does_not():
    is_failure = labels(20, 60)
    first, same, other = (split_for_judge(is_failure, alone(80), JUDGES, seed=seed) for seed in (1, 1, 2))
    assert first == same
    assert first != other
    ids = [f"{i:032x}" for i in range(80)]
    assert first.as_dict(ids) == same.as_dict(ids)
    assert first.as_dict(ids)["test"]["n"] == len(first.test)
    assert first.as_dict(ids)["test"]["sha256"] != other.as_dict(ids)["test"]["sha256"]


@pytest.mark.parametrize(
    ("is_failure", "groups"),
    [
        (labels(2, 40), alone(42)),
        (labels(40, 2), alone(42)),
        (labels(0, 40), alone(40)),
        (labels(10, 40), ["one session"] * 50),
    ],
)
def test_a_part_that_would_lack_a_class_is_too_little_evidence(is_failure: np.ndarray, groups: list[str]):
    with pytest.raises(NotEnoughEvidenceError, match="a judge cannot be evolved"):
        split_for_judge(is_failure, groups, JUDGES, seed=1)
