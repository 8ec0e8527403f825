"""Changes to a rule that would make it err less: what a reflecting model does for a prompt, done by counting.

A rule under search is a disjunction of clauses, each a conjunction of literals (a predicate or its negation). Given
which examples it gets wrong, every rule one change away is scored by its description length, and one of the best
that were never tried is proposed. The loop around it, gepa's, is in optimise.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalpipe.evaluators.rules import Rule
from evalpipe.evaluators.words import Ints
from evalpipe.generation.bank import KINDS, Bank

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]

Clause = tuple[int, ...]
Disjunction = tuple[Clause, ...]
"""Literals by number, sorted; () is the rule that never fires."""

_THEORY = 0.5  # of the bits that naming the rule takes: a whole bit asks for more evidence than ten failures give
_MAX_CLAUSES = 6
_MAX_LITERALS = 4  # of a clause; the two keep a rule within the language's 64 operations, and readable
_N_PAIRED = 40  # literals whose pairs are tried as a new clause
_N_CHOICES = 6
_TEMPERATURE = 0.003  # of the choice among the best, in shares of what the empty rule costs


class Candidate(NamedTuple):
    """A rule, its description length in bits, and the change that made it."""

    rule: Disjunction
    bits: float
    change: str


@dataclass(frozen=True)
class Literals:
    """The predicates of one search and their negations, over its examples.

    A number is not negated: the bank asks it both ways.
    """

    predicate: Ints  # which predicate a literal asks or negates
    rules: list[Rule]
    kind: Ints
    cost: Floats
    holds: Floats  # literals by examples
    pairs: Ints  # (n, 2): literals that are tried together
    pairs_hold: Floats
    positive: Floats  # weight of each example that is a failure, else 0
    negative: Floats

    @classmethod
    def of(cls, bank: Bank, chosen: Ints, rows: Ints, is_failure: Bools, weight: Floats) -> "Literals":
        """Of the chosen predicates of a bank, over some of its examples."""
        presence = bank.presence[chosen][:, rows].toarray().astype(np.float32)
        is_negatable = bank.kind[chosen] != KINDS.index("number")
        predicate = np.concatenate([np.arange(len(chosen)), np.flatnonzero(is_negatable)])
        is_negated = np.arange(len(predicate)) >= len(chosen)
        holds = np.where(is_negated[:, None], 1 - presence[predicate], presence[predicate])
        rules: list[Rule] = [bank.predicates[chosen[i]] for i in predicate]
        rules = [{"op": "not", "of": rule} if no else rule for rule, no in zip(rules, is_negated, strict=True)]
        positive, negative = weight[rows] * is_failure[rows], weight[rows] * ~is_failure[rows]
        cost = bank.cost[chosen][predicate] + 1  # one bit says whether it is negated
        alone = description_bits(holds @ positive, holds @ negative, positive.sum(), negative.sum(), cost)
        # A literal that is paired must hold of most failures it could explain: rank by what it is worth alone.
        top = np.sort(np.argsort(np.round(alone, 9), kind="stable")[:_N_PAIRED])
        first, second = np.triu_indices(len(top), k=1)
        pairs = np.stack([top[first], top[second]], axis=1)
        pairs = pairs[predicate[pairs[:, 0]] != predicate[pairs[:, 1]]]
        pairs_hold = holds[pairs[:, 0]] * holds[pairs[:, 1]]
        kind = bank.kind[chosen][predicate]
        return cls(predicate, rules, kind, cost, holds, pairs, pairs_hold, positive, negative)

    def covered(self, clause: Clause) -> Floats:
        """1 for each example that a clause holds of, else 0."""
        return self.holds[list(clause)].min(axis=0)

    def fires(self, rule: Disjunction) -> Floats:
        """1 for each example that the rule holds of, else 0."""
        if not rule:
            return np.zeros(self.holds.shape[1], dtype=np.float32)
        return np.maximum.reduce([self.covered(clause) for clause in rule])

    def theory_bits(self, rule: Disjunction) -> float:
        """What naming the rule's predicates takes."""
        return float(sum(self.cost[literal] for clause in rule for literal in clause))

    def bits(self, rule: Disjunction, among: Floats | None = None) -> float:
        """Description length of the labels by the rule, among all examples or those where `among` is 1."""
        mask = np.ones(self.holds.shape[1]) if among is None else among
        positive, negative = self.positive * mask, self.negative * mask
        fires = self.fires(rule)
        bits = description_bits(
            np.array([fires @ positive]), np.array([fires @ negative]), positive.sum(), negative.sum(), 0.0
        )
        return float(bits[0]) + _THEORY * self.theory_bits(rule)

    def simplicity(self, rule: Disjunction) -> tuple[int, int, Disjunction]:
        """Order among rules that explain the labels equally well: structure before text, short before long."""
        return int(sum(self.kind[literal] for clause in rule for literal in clause)), sum(map(len, rule)), rule

    def to_rule(self, rule: Disjunction) -> Rule:
        """The rule in the rule language."""
        clauses = [
            self.rules[clause[0]] if len(clause) == 1 else {"op": "all", "of": [self.rules[i] for i in clause]}
            for clause in rule
        ]
        if not clauses:
            return {"op": "constant", "value": False}
        return clauses[0] if len(clauses) == 1 else {"op": "any", "of": clauses}


def description_bits(tp: Floats, fp: Floats, n_positive: float, n_negative: float, theory: Floats | float) -> Floats:
    """Bits that say the labels by means of rules that cost `theory` to name; all counts may be weights.

    log2 C(fired, fp) + log2 C(not fired, fn) says which examples are exceptions. That sum is as small for a rule that
    is always wrong as for one that is always right, so one that fires no more often on failures than on the others
    is charged what the empty rule is. Source: Cohen (1995), after Rissanen's minimum description length.
    """
    quiet = n_positive + n_negative - tp - fp
    bits = _log2_choose(tp + fp, fp) + _log2_choose(quiet, n_positive - tp)
    nothing = _log2_choose(np.array(n_positive + n_negative), np.array(n_positive))
    return np.where(tp * n_negative > fp * n_positive, bits, nothing) + _THEORY * theory


def propose(
    literals: Literals,
    parent: Disjunction,
    among: Floats,
    tried: set[Disjunction],
    generator: np.random.Generator,
    partners: Sequence[Disjunction] = (),
) -> Candidate | None:
    """A rule one change from `parent` that says the labels of the examples `among` in fewer bits; None if none is left.

    A change is a predicate more, less or another, a clause more or less, or a merge with one of `partners`. One of the
    few best, drawn by how good they are, so that a search does not always climb the same hill.
    """
    scale = max(literals.bits((), among), 1e-9)
    bound = literals.bits(parent, among) - 1e-9
    found = [*_neighbours(literals, parent, among), *_merged(literals, parent, among, partners)]
    better = [c for c in found if c.bits < bound and c.rule not in tried]
    better.sort(key=lambda c: (round(c.bits / scale, 9), *literals.simplicity(c.rule)))
    best = better[:_N_CHOICES]
    if not best:
        return None
    gains = np.array([best[0].bits - c.bits for c in best]) / (scale * _TEMPERATURE)
    chances = np.exp(gains) / np.exp(gains).sum()
    return best[int(generator.choice(len(best), p=chances))]


def pruned(literals: Literals, rule: Disjunction) -> Disjunction:
    """`rule` without the literals and clauses that do not earn their bits over all examples."""
    while rule:
        shorter = [changed for changed, _ in _shorter(rule)]
        best = min(shorter, key=lambda r: (round(literals.bits(r), 9), *literals.simplicity(r)))
        if literals.bits(best) > literals.bits(rule) + 1e-9:
            return rule
        rule = best
    return rule


def _neighbours(literals: Literals, parent: Disjunction, among: Floats) -> list[Candidate]:
    positive, negative = literals.positive * among, literals.negative * among
    n_positive, n_negative = float(positive.sum()), float(negative.sum())
    covered = [literals.covered(clause) for clause in parent]
    theory = literals.theory_bits(parent)
    found: list[Candidate] = []

    def best_of(holds: Floats, within: Floats, others: Floats, cost: Floats) -> list[tuple[int, float]]:
        """The best few of the rules that fire where `others` does and, inside `within`, where a row of `holds` does."""
        free = within * (1 - others)
        tp = holds @ (free * positive).astype(np.float32) + others @ positive
        fp = holds @ (free * negative).astype(np.float32) + others @ negative
        bits = description_bits(tp, fp, n_positive, n_negative, cost)
        top = np.argsort(np.round(bits, 9), kind="stable")[: 2 * _N_CHOICES]
        return [(int(i), float(bits[i])) for i in top]

    everywhere = np.ones(literals.holds.shape[1])
    fires = literals.fires(parent)
    if len(parent) < _MAX_CLAUSES:
        for i, bits in best_of(literals.holds, everywhere, fires, theory + literals.cost):
            found.append(Candidate(_with(parent, (i,)), bits, "add clause"))
        pair_cost = literals.cost[literals.pairs].sum(axis=1)
        for i, bits in best_of(literals.pairs_hold, everywhere, fires, theory + pair_cost):
            found.append(Candidate(_with(parent, tuple(literals.pairs[i].tolist())), bits, "add clause of two"))
    for at, clause in enumerate(parent):
        rest = parent[:at] + parent[at + 1 :]
        others = np.maximum.reduce([everywhere * 0, *covered[:at], *covered[at + 1 :]])
        if len(clause) < _MAX_LITERALS:
            for i, bits in best_of(literals.holds, covered[at], others, theory + literals.cost):
                found.append(Candidate(_with(rest, (*clause, i)), bits, "add conjunct"))
        for literal in clause:
            left = tuple(other for other in clause if other != literal)
            within = literals.covered(left) if left else everywhere
            cost = theory - literals.cost[literal] + literals.cost
            for i, bits in best_of(literals.holds, within, others, cost):
                found.append(Candidate(_with(rest, (*left, i)), bits, _swap_name(literals, literal, i)))
    for rule, change in _shorter(parent):
        found.append(Candidate(rule, literals.bits(rule, among), change))
    # Literals that repeat or contradict one another make no rule worth reading.
    asked = literals.predicate
    return [c for c in found if all(len({int(asked[i]) for i in clause}) == len(clause) for clause in c.rule)]


def _merged(literals: Literals, parent: Disjunction, among: Floats, partners: Sequence[Disjunction]) -> list[Candidate]:
    """The clauses of the parent together with those of another rule: two that each find other failures."""
    unions = {tuple(sorted({*parent, *partner})) for partner in partners} - {parent, *partners}
    return [
        Candidate(rule, literals.bits(rule, among), "merge two rules")
        for rule in sorted(unions)
        if len(rule) <= _MAX_CLAUSES
    ]


def _shorter(rule: Disjunction) -> list[tuple[Disjunction, str]]:
    shorter: list[tuple[Disjunction, str]] = []
    for at, clause in enumerate(rule):
        rest = rule[:at] + rule[at + 1 :]
        shorter.append((rest, "drop clause"))
        if len(clause) > 1:
            for literal in clause:
                shorter.append((_with(rest, tuple(i for i in clause if i != literal)), "drop conjunct"))
    return shorter


def _swap_name(literals: Literals, old: int, new: int) -> str:
    a, b = literals.rules[old], literals.rules[new]
    if a["op"] == b["op"] == "number" and (a["field"], a["compare"]) == (b["field"], b["compare"]):
        return "move threshold"
    return "generalise predicate" if (literals.holds[old] <= literals.holds[new]).all() else "swap predicate"


def _with(rest: Disjunction, clause: Clause) -> Disjunction:
    return tuple(sorted({*rest, tuple(sorted(clause))}))


def _log2_choose(n: Floats, k: Floats) -> Floats:
    from scipy.special import gammaln

    n, k = np.maximum(n, 0), np.clip(k, 0, np.maximum(n, 0))
    return (gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)) / np.log(2)
