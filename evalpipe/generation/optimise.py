"""Evolve one rule on given examples with gepa: its loop, frontier and lineage; our changes, acceptance and choice.

What a change is, and what it is worth, is in propose.py. gepa scores example by example and takes the mean, which is
not an agreement figure; so a child is accepted by description length over its minibatch, the class-weighted scores
only spread the parents over the frontier, and the final rule is chosen here, never by gepa. No model is asked, no
file is written, nothing is logged.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalpipe.evaluators.rules import Rule, validate_rule
from evalpipe.evaluators.words import Ints
from evalpipe.generation.bank import Bank
from evalpipe.generation.engine import TRAIN, VALIDATION, Batch, Loader, evolve, parents_of
from evalpipe.generation.patterns import strongest
from evalpipe.generation.propose import Candidate, Disjunction, Literals, description_bits, propose, pruned
from evalpipe.ids import canonical_json
from evalpipe.settings import GenerationSettings

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_MAX_CELLS = 96  # gepa's bookkeeping grows with the examples it sees: 8 ms an iteration at 50, 65 ms at 800
_MINIBATCH_SHARE = 0.7  # of each class; the whole set each time found rules 0.04 MCC worse
_MAX_EMPTY = 3  # minibatches in a row that suggest nothing
_COMPONENT = "rule"


class Evolved(NamedTuple):
    """The rule, how it came to be (each accepted candidate), why the search ended and what it cost."""

    rule: Rule
    lineage: list[dict[str, Any]]
    stop_reason: str
    n_metric_calls: int


def evolve_rule(
    bank: Bank, rows: Ints, is_failure: Bools, weight: Floats, settings: GenerationSettings, seed: int
) -> Evolved:
    """The rule that says the labels of `rows` in the fewest bits among those that the search met.

    The empty rule (it never fires) when nothing earns its price. `is_failure` and `weight` are those of all the
    bank's examples; only those of `rows` are looked at.
    """
    chosen = strongest(bank, rows, is_failure, weight)
    if not len(chosen) or is_failure[rows].all() or not is_failure[rows].any():
        return Evolved({"op": "constant", "value": False}, [], "no predicate tells the examples apart", 0)
    literals = Literals.of(bank, chosen, rows, is_failure, weight)
    search = _Search(literals, _cells(is_failure[rows], seed), settings, np.random.default_rng(seed))
    result = _run(search, seed)
    found = [search.rules[candidate[_COMPONENT]] for candidate in result.candidates]
    best = min(found, key=lambda r: (round(literals.bits(r), 9), *literals.simplicity(r)))
    rule = validate_rule(literals.to_rule(pruned(literals, best)))
    return Evolved(rule, _lineage(search, result), search.stop_reason, int(result.total_metric_calls or 0))


def _run(search: "_Search", seed: int) -> Any:
    cells = {cell.number: cell for cell in search.cells}
    return evolve(
        {_COMPONENT: search.text(Candidate((), search.literals.bits(()), "start"))},
        trainset=Loader(cells, TRAIN),
        valset=Loader(cells, VALIDATION),
        adapter=search,
        custom_candidate_proposer=search.propose_texts,
        acceptance_criterion=search,
        batch_sampler=_Minibatches(search.cells, seed),
        stop_callbacks=search.should_stop,
        seed=seed,
    )


class Cell(NamedTuple):
    """Examples of one class that are scored together; single examples while there are few."""

    number: int
    examples: Ints
    is_failure: bool


def _cells(is_failure: Bools, seed: int) -> list[Cell]:
    """At most about _MAX_CELLS cells, shared between the classes by their size, each class at least a quarter."""
    generator = np.random.default_rng(seed)
    cells: list[Cell] = []
    share = float(np.clip(is_failure.mean(), 0.25, 0.75))
    for is_positive, n_wanted in ((True, share * _MAX_CELLS), (False, (1 - share) * _MAX_CELLS)):
        members = np.flatnonzero(is_failure == is_positive)
        if len(is_failure) > _MAX_CELLS:
            members = generator.permutation(members)
            parts = np.array_split(members, min(len(members), round(n_wanted)))
        else:
            parts = np.array_split(members, len(members)) if len(members) else []
        cells += [Cell(len(cells) + i, np.sort(part), is_positive) for i, part in enumerate(parts)]
    return cells


class _Minibatches:
    """Each time another 70 % of the failures and of the others: it keeps the search off accidents of the whole."""

    def __init__(self, cells: Sequence[Cell], seed: int) -> None:
        self._classes = [np.array([c.number for c in cells if c.is_failure == wanted]) for wanted in (True, False)]
        self._generator = np.random.default_rng([seed, 1])

    def next_minibatch_ids(self, loader: Any, state: Any) -> list[str]:
        del loader, state
        drawn = [
            self._generator.choice(numbers, size=max(1, round(_MINIBATCH_SHARE * len(numbers))), replace=False)
            for numbers in self._classes
            if len(numbers)
        ]
        return [Loader.id_of(number, TRAIN) for number in np.sort(np.concatenate(drawn)).tolist()]


@dataclass
class _Search:
    """gepa's adapter, acceptance criterion and stopper in one: they share the candidates met so far."""

    literals: Literals
    cells: list[Cell]
    settings: GenerationSettings
    generator: np.random.Generator
    rules: dict[str, Disjunction] = field(default_factory=dict)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    accepted: list[Disjunction] = field(default_factory=list)  # the pool, in the order in which it grew
    stop_reason: str = ""
    propose_new_texts: None = None  # gepa asks for the attribute; the proposer is passed by itself

    def __post_init__(self) -> None:
        self._n_accepted = 1
        self._accepted_at = 0
        self._n_empty = 0
        # A perfect cell scores 1; a wrong one costs what its class weighs, so that the mean is balanced accuracy.
        n_cells = np.array([sum(c.is_failure == wanted for c in self.cells) for wanted in (False, True)])
        worth = 1 / np.maximum(n_cells, 1)
        self._worth = worth / worth.max()

    def text(self, candidate: Candidate) -> str:
        """The candidate as gepa knows it: the rule as JSON."""
        text = canonical_json(self.literals.to_rule(candidate.rule))
        self.rules[text] = candidate.rule
        self.candidates.setdefault(text, candidate)
        return text

    def evaluate(self, batch: list[Cell], candidate: dict[str, str], capture_traces: bool = False) -> Batch:
        fires = self.literals.fires(self.rules[candidate[_COMPONENT]])
        outputs, scores, trajectories = [], [], []
        for cell in batch:
            fired = fires[cell.examples]
            positive, negative = self.literals.positive[cell.examples], self.literals.negative[cell.examples]
            counts = (
                float(fired @ positive),
                float(fired @ negative),
                float((1 - fired) @ negative),
                float((1 - fired) @ positive),
            )
            outputs.append(counts)
            n_wrong = counts[3] if cell.is_failure else counts[1]
            scores.append(1 - float(self._worth[int(cell.is_failure)]) * n_wrong / sum(counts))
            if capture_traces:
                trajectories.append({"cell": cell.number, "missed": counts[3], "false_alarms": counts[1]})
        return Batch(outputs, scores, trajectories if capture_traces else None)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Batch, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What the parent gets right and wrong in this minibatch."""
        del candidate
        return {component: eval_batch.trajectories or [] for component in components_to_update}

    def propose_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """The reflection: another rule for the minibatch that the parent erred on; {} when none is better."""
        del components_to_update
        among = np.zeros(self.literals.holds.shape[1])
        for record in reflective_dataset[_COMPONENT]:
            among[self.cells[record["cell"]].examples] = 1
        parent = self.rules[candidate[_COMPONENT]]
        tried = set(self.rules.values())
        proposal = propose(self.literals, parent, among, tried, self.generator, self.accepted)
        self._n_empty = 0 if proposal else self._n_empty + 1
        return {_COMPONENT: self.text(proposal)} if proposal else {}

    def should_accept(self, proposal: Any, state: Any) -> bool:
        """Whether the child says the labels of the minibatch in fewer bits than its parent."""
        parent = state.program_candidates[proposal.parent_program_ids[0]]
        before = self._bits(proposal.eval_before.outputs, parent[_COMPONENT])
        return self._bits(proposal.eval_after.outputs, proposal.candidate[_COMPONENT]) < before - 1e-9

    def should_stop(self, gepa_state: Any) -> bool:
        """Whether the search has ended; `stop_reason` then says why."""
        n_accepted = len(gepa_state.program_candidates)
        pool = gepa_state.program_candidates[len(self.accepted) :]
        self.accepted += [self.rules[candidate[_COMPONENT]] for candidate in pool]
        if n_accepted > self._n_accepted:
            self._n_accepted, self._accepted_at = n_accepted, gepa_state.i
        newest = self.rules[gepa_state.program_candidates[-1][_COMPONENT]]
        errors = (self.literals.fires(newest) - (self.literals.positive > 0)) != 0
        if not errors.any():
            self.stop_reason = "a rule without errors was found"
        elif self._n_empty >= _MAX_EMPTY:
            self.stop_reason = "no change was left to propose"
        elif gepa_state.i + 1 >= self.settings.iterations:
            self.stop_reason = f"all {self.settings.iterations} iterations were used"
        elif gepa_state.i - self._accepted_at >= self.settings.patience:
            self.stop_reason = f"{self.settings.patience} iterations without a better rule"
        return bool(self.stop_reason)

    def _bits(self, outputs: Sequence[tuple[float, float, float, float]], text: str) -> float:
        tp, fp, tn, fn = np.sum(np.array(outputs), axis=0)
        theory = self.literals.theory_bits(self.rules[text])
        return float(description_bits(np.array([tp]), np.array([fp]), tp + fn, fp + tn, theory)[0])


def _lineage(search: _Search, result: Any) -> list[dict[str, Any]]:
    """Each accepted candidate: its parents, the change that made it, its rule and its bits over all examples."""
    return [
        {
            "index": index,
            "parents": parents,
            "change": search.candidates[candidate[_COMPONENT]].change,
            "bits": round(search.literals.bits(search.rules[candidate[_COMPONENT]]), 3),
            "rule": json.loads(candidate[_COMPONENT]),
        }
        for index, (candidate, parents) in enumerate(zip(result.candidates, parents_of(result), strict=True))
    ]
