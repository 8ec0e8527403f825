"""The price of a rule, and the changes that are proposed."""

import math

import numpy as np
import pytest

from evalpipe.generation.bank import Bank
from evalpipe.generation.propose import Literals, description_bits, propose, pruned
from evalpipe_tests.generation.test_patterns import bank_of

FAILED = np.array([True] * 4 + [False] * 12)
ALL = np.ones(16)


def literals(*rows: list[int]) -> Literals:
    bank: Bank = bank_of(*rows)
    return Literals.of(bank, np.arange(len(rows)), np.arange(16), FAILED, ALL)


PERFECT = [1] * 4 + [0] * 12
HALF = [1, 1, 0, 0] + [0] * 12
OTHER_HALF = [0, 0, 1, 1] + [0] * 12
BROAD = [1] * 4 + [1] * 6 + [0] * 6
EXCUSE = [0] * 4 + [1] * 6 + [0] * 6


def test_exceptions_cost_the_choice_of_which_examples_they_are():
    # 3 true and 1 false alarm among 4 fired; 1 missed among 12 quiet: log2 C(4,1) + log2 C(12,1), and 2 bits of 4.
    bits = description_bits(np.array([3.0]), np.array([1.0]), 4, 12, 4.0)
    assert bits[0] == pytest.approx(math.log2(4) + math.log2(12) + 2)


def test_a_rule_that_is_always_wrong_is_worth_no_more_than_none():
    bits = description_bits(np.array([0.0]), np.array([12.0]), 4, 12, 0.0)
    assert bits[0] == pytest.approx(math.log2(math.comb(16, 4)))


def test_the_first_proposal_explains_the_failures_alone():
    found = propose(literals(PERFECT, HALF), (), ALL, set(), np.random.default_rng(0))
    assert found is not None
    assert (found.rule, found.change) == (((0,),), "add clause")


def test_false_alarms_are_met_with_a_conjunct():
    rules = literals(BROAD, EXCUSE)
    found = propose(rules, ((0,),), ALL, set(), np.random.default_rng(0))
    assert found is not None
    assert found.change == "add conjunct"
    assert rules.fires(found.rule).tolist() == [1.0] * 4 + [0.0] * 12


def test_missed_failures_are_met_with_a_clause():
    rules = literals(HALF, OTHER_HALF)
    found = propose(rules, ((0,),), ALL, {((1,),)}, np.random.default_rng(0))
    assert found is not None
    assert found.rule == ((0,), (1,))


def test_two_rules_that_find_other_failures_are_merged():
    # The other half is found only by three predicates together, which no single change adds.
    three = [[0, 0, 1, 1] + [int(i // 4 != n) for i in range(12)] for n in range(3)]
    rules = literals(HALF, *three)
    partner = ((1, 2, 3),)
    assert [rules.fires(part).tolist() for part in (((0,),), partner)] == [HALF, OTHER_HALF]
    found = propose(rules, ((0,),), ALL, set(), np.random.default_rng(0), [partner])
    assert found is not None
    assert (found.change, rules.fires(found.rule).tolist()) == ("merge two rules", PERFECT)


def test_nothing_is_proposed_twice():
    rules = literals(PERFECT)
    tried = {((0,),)}
    found = propose(rules, (), ALL, tried, np.random.default_rng(0))
    assert found is None or found.rule not in tried


def test_examples_outside_the_minibatch_do_not_count():
    among = np.array([1.0] * 2 + [0.0] * 2 + [1.0] * 12)
    found = propose(literals(HALF, OTHER_HALF), (), among, set(), np.random.default_rng(0))
    assert found is not None
    assert found.rule == ((0,),)


def test_what_does_not_earn_its_bits_is_dropped():
    rules = literals(PERFECT, BROAD, EXCUSE)
    assert pruned(rules, ((0, 1),)) == ((0,),)


def test_the_empty_rule_never_fires_and_is_a_constant():
    rules = literals(PERFECT)
    assert rules.fires(()).sum() == 0
    assert rules.to_rule(()) == {"op": "constant", "value": False}
