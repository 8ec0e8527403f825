"""What separates failures, with its evidence."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import mutual_info_score

from evalpipe.generation.bank import Bank, predicate_bank
from evalpipe.generation.examples import Examples
from evalpipe.generation.patterns import count, information, log_odds, pattern_table, strongest


def bank_of(*rows: list[int]) -> Bank:
    presence = np.array(rows, dtype=np.float32)
    rules = [{"op": "tool", "name": f"t{i}", "status": "any", "min": 1, "max": None} for i in range(len(rows))]
    return Bank(rules, np.zeros(len(rows), np.int64), np.ones(len(rows)), csr_matrix(presence))


FAILED = np.array([True, True, True, False, False, False, False, False])
EVERY = np.arange(8)
ONE = np.ones(8)


def test_log_odds_have_half_an_example_of_prior_each_way():
    counts = count(bank_of([1, 1, 0, 1, 0, 0, 0, 0]), EVERY, FAILED, ONE)
    # 2 of 3 failures and 1 of 5 others: log(2.5/1.5) - log(1.5/4.5).
    assert log_odds(counts)[0] == pytest.approx(math.log(2.5 / 1.5) - math.log(1.5 / 4.5))


def test_information_is_mutual_information_in_bits():
    row = [1, 1, 0, 1, 0, 0, 0, 0]
    counts = count(bank_of(row), EVERY, FAILED, ONE)
    assert information(counts)[0] == pytest.approx(mutual_info_score(FAILED, row) / math.log(2))


def test_examples_outside_the_rows_are_not_looked_at():
    bank = bank_of([1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 1, 1])
    rows = np.array([0, 1, 3, 4, 5])
    flipped = FAILED.copy()
    flipped[[2, 6, 7]] = ~flipped[[2, 6, 7]]
    assert strongest(bank, rows, FAILED, ONE).tolist() == strongest(bank, rows, flipped, ONE).tolist()


def test_the_table_names_the_planted_pattern_first_with_failures_to_read(ordering_examples: Examples):
    bank = predicate_bank(ordering_examples.view, ordering_examples.groups)
    first = pattern_table(bank, ordering_examples.view, ordering_examples.is_failure)[0]
    assert first["predicate"] == 'tool "issue_refund" is called before tool "check_policy"'
    assert (first["support"], first["tpr"], first["fpr"]) == (12, 1.0, 0.0)
    assert first["q"] < 1e-6
    failures = {t for t, f in zip(ordering_examples.trace_ids, ordering_examples.is_failure, strict=True) if f}
    assert set(first["example_ids"]) <= failures


def test_labels_drawn_at_random_have_hardly_a_pattern(ordering_examples: Examples):
    bank = predicate_bank(ordering_examples.view, ordering_examples.groups)
    drawn = np.random.default_rng(5).permutation(ordering_examples.is_failure)
    assert len(pattern_table(bank, ordering_examples.view, drawn)) <= 2
