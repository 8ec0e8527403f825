"""The simplest things to try, on the same folds as what is generated."""

import numpy as np

from evalpipe.generation.agreement import agreement_of
from evalpipe.generation.baselines import best_predicate, best_single_predicate
from evalpipe.generation.competitors import Material
from evalpipe.generation.examples import Examples
from evalpipe_tests.generation.made import QUICK, planted_examples, with_labels


def test_one_predicate_says_a_structural_mode_on_unseen_folds(ordering_examples: Examples):
    agreement = agreement_of(ordering_examples, best_single_predicate(Material.of(ordering_examples, QUICK)))
    assert agreement.mcc is not None
    assert agreement.mcc > 0.9


def test_one_predicate_says_little_of_two_causes():
    examples = planted_examples("two_arms", 20, 80, seed=1)
    agreement = agreement_of(examples, best_single_predicate(Material.of(examples, QUICK)))
    assert agreement.mcc is not None
    assert agreement.mcc < 0.9


def test_what_failures_lack_counts_as_much_as_what_they_have(ordering_examples: Examples):
    inverted = with_labels(ordering_examples, ~ordering_examples.is_failure)
    bank, rows = Material.of(inverted, QUICK).bank, np.arange(len(inverted.groups))
    found = [
        best_predicate(bank, rows, labels, inverted.weight) for labels in (inverted.is_failure, ~inverted.is_failure)
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].place == found[1].place
    assert found[0].is_negated != found[1].is_negated


def test_without_two_kinds_of_examples_there_is_none(ordering_examples: Examples):
    bank = Material.of(ordering_examples, QUICK).bank
    rows = np.arange(len(ordering_examples.groups))
    assert best_predicate(bank, rows, np.ones(len(rows), dtype=bool), ordering_examples.weight) is None
