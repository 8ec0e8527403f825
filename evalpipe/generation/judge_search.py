"""Evolve the instruction of a judge with gepa: its loop, frontier and lineage; our verdicts, acceptance and stopping.

As for rules (optimise.py), gepa's mean of per-example scores is not an agreement figure: it only spreads the parents
over the frontier. A child is accepted by the agreement of its whole minibatch, and which instruction is best is decided
in judging.py. The other engine is in judge_dspy.py.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np

from evalpipe.errors import EvaluatorFaultError
from evalpipe.evaluators.judge import Verdict
from evalpipe.evaluators.judge_program import JudgeProgram
from evalpipe.generation.engine import TRAIN, VALIDATION, Batch, Loader, evolve, parents_of
from evalpipe.generation.judge_split import JudgeSplit
from evalpipe.generation.judge_trials import Trials
from evalpipe.generation.reflection import Reflector, Reviewed
from evalpipe.settings import JudgeSettings

COMPONENT = "instruction"
_MAX_EMPTY = 3  # reflections in a row that propose nothing


class Found(NamedTuple):
    """Instructions that were accepted, the first one being the start; how each came to be, and why it ended."""

    instructions: list[str]
    parents: list[list[int]]
    stop_reason: str


def search(start: JudgeProgram, trials: Trials, reflector: Reflector, split: JudgeSplit, seed: int) -> Found:
    """Instructions that were better than their parents on a minibatch, from the one of `start` on.

    Raises EvaluatorFaultError when the model is down or gives too few verdicts.
    """
    adapter = _Adapter(start, trials, reflector, split)
    parents = Parents(start, trials, reflector, split, seed)
    stopper = Stopper(start, trials, reflector, split)
    result = evolve(
        {COMPONENT: start.instruction},
        trainset=Loader({row: row for row in split.train}, TRAIN),
        valset=Loader({row: row for row in split.validation}, VALIDATION),
        adapter=adapter,
        custom_candidate_proposer=adapter.propose_texts,
        candidate_selection_strategy=parents,
        acceptance_criterion=parents,
        batch_sampler=Minibatches(split.train, trials, trials.judges, seed),
        stop_callbacks=stopper,
        seed=seed,
    )
    if reflector.error is not None:
        raise reflector.error
    return Found([candidate[COMPONENT] for candidate in result.candidates], parents_of(result), stopper.reason)


def with_instruction(program: JudgeProgram, instruction: str) -> JudgeProgram:
    """The same judge, told something else."""
    return program.model_copy(update={"instruction": instruction})


class Seen(NamedTuple):
    """What gepa carries around of one example: its place, and the verdict on it."""

    row: int
    verdict: Verdict


class Minibatches:
    """Half failures, half others, each class in its own random order until it is through."""

    def __init__(self, rows: Sequence[int], trials: Trials, judges: JudgeSettings, seed: int) -> None:
        self._generator = np.random.default_rng([seed, 2])
        self._classes = [[row for row in rows if trials.is_failure(row) == wanted] for wanted in (True, False)]
        self._sizes = [judges.minibatch // 2, judges.minibatch - judges.minibatch // 2]
        self._waiting: list[list[int]] = [[], []]

    def next_minibatch_ids(self, loader: Any, state: Any) -> list[str]:
        del loader, state
        drawn: list[int] = []
        for waiting, rows, size in zip(self._waiting, self._classes, self._sizes, strict=True):
            for _ in range(min(size, len(rows))):
                if not waiting:
                    waiting += [row for row in self._generator.permutation(rows).tolist() if row not in drawn]
                drawn.append(waiting.pop(0))
        return [Loader.id_of(row, TRAIN) for row in drawn]


class Parents:
    """Which instruction is rewritten next, and whether its child is accepted.

    The next parent is the one that agrees best on validation while its children are accepted, and one of gepa's Pareto
    frontier after a reflection in vain. A child is accepted when its verdicts on the minibatch are worth more than its
    parent's; judged on more than that, a lucky parent is never left.
    """

    def __init__(
        self,
        start: JudgeProgram,
        trials: Trials,
        reflector: Reflector,
        split: JudgeSplit,
        seed: int,
        component: str = COMPONENT,
    ) -> None:
        from gepa.strategies.candidate_selector import ParetoCandidateSelector

        self._frontier = ParetoCandidateSelector(Random(seed))
        self._start = start
        self._trials = trials
        self._reflector = reflector
        self._validation = split.validation
        self._component = component

    def select_candidate_idx(self, state: Any) -> int:
        texts = [candidate[self._component] for candidate in state.program_candidates]
        self._reflector.accepted(len(texts))
        if self._reflector.n_in_vain:
            return self._frontier.select_candidate_idx(state)
        agreement = [self._trials.mcc(with_instruction(self._start, text), self._validation) for text in texts]
        return max(range(len(texts)), key=lambda i: (round(agreement[i], 9), i))

    def should_accept(self, proposal: Any, state: Any) -> bool:
        texts = (state.program_candidates[proposal.parent_program_ids[0]], proposal.candidate)
        parent, child = (with_instruction(self._start, text[self._component]) for text in texts)
        rows = [Loader.number_of(example_id) for example_id in proposal.subsample_indices]
        return self._trials.worth(child, rows) > self._trials.worth(parent, rows) + 1e-9


class Stopper:
    """Ends the search, and says why. gepa asks it between iterations."""

    def __init__(
        self, start: JudgeProgram, trials: Trials, reflector: Reflector, split: JudgeSplit, component: str = COMPONENT
    ) -> None:
        self.reason = ""
        self.error: EvaluatorFaultError | None = None  # set by who cannot raise inside the engine
        self._start = start
        self._trials = trials
        self._reflector = reflector
        self._split = split
        self._component = component
        self._n_further = calls_of_iteration(trials.judges, split) + calls_of_end(trials.judges, split)

    def __call__(self, gepa_state: Any) -> bool:
        judges = self._trials.judges
        self._reflector.accepted(len(gepa_state.program_candidates))
        newest = with_instruction(self._start, gepa_state.program_candidates[-1][self._component])
        if self.error is not None or self._reflector.error is not None:
            self.reason = "the model could not be asked any more"
        elif self._trials.is_perfect(newest, self._split.validation):
            self.reason = "an instruction without errors on the validation examples was found"
        elif self._reflector.n_empty >= _MAX_EMPTY:
            self.reason = f"{_MAX_EMPTY} reflections in a row proposed nothing new"
        elif gepa_state.i + 1 >= judges.iterations:
            self.reason = f"all {judges.iterations} iterations were used"
        elif self._reflector.n_in_vain >= judges.patience:
            self.reason = f"{judges.patience} reflections without a better instruction"
        elif self._trials.is_known_right(newest, self._split.train):
            self.reason = "an instruction without errors on the training examples was found"
        elif not self._trials.model.ledger.affords(self._n_further):
            self.reason = "the budget leaves no further iteration (EVALPIPE_LLM__MAX_CALLS, MAX_TOKENS, MAX_COST_USD)"
        return bool(self.reason)


def calls_of_iteration(judges: JudgeSettings, split: JudgeSplit) -> int:
    """Questions of one more iteration, at most: parent and child on a minibatch, a reflection, then validation."""
    return judges.n_samples * (2 * judges.minibatch + len(split.validation)) + 1


def calls_of_end(judges: JudgeSettings, split: JudgeSplit) -> int:
    """Questions that are still asked when the search has ended, at most: cases tried on validation, train, test."""
    n_validation = len(split.validation) if judges.n_cases else 0
    return judges.n_samples * (n_validation + len(split.train) + len(split.test))


class _Adapter:
    """gepa's adapter, which judges, and its proposer, which reflects."""

    propose_new_texts = None  # gepa asks for the attribute; the proposer is passed by itself

    def __init__(self, start: JudgeProgram, trials: Trials, reflector: Reflector, split: JudgeSplit) -> None:
        self._start = start
        self._trials = trials
        self._reflector = reflector
        self._accepted_row = split.validation[0]

    def evaluate(self, batch: list[int], candidate: dict[str, str], capture_traces: bool = False) -> Batch:
        program = with_instruction(self._start, candidate[COMPONENT])
        seen = [Seen(row, v) for row, v in zip(batch, self._trials.evaluated(program, batch), strict=True)]
        return Batch(seen, scores_of(seen, self._trials), seen if capture_traces else None)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Batch, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The examples of the minibatch as the reflection reads them."""
        del candidate
        records = [{"reviewed": reviewed(one, self._trials)} for one in eval_batch.trajectories or []]
        return dict.fromkeys(components_to_update, records)

    def propose_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """The reflection's instruction; {} when it has none."""
        del components_to_update
        records = [record["reviewed"] for record in reflective_dataset[COMPONENT]]
        proposed = self._reflector.propose(candidate[COMPONENT], records)
        if proposed is None or self._trials.known(with_instruction(self._start, proposed), self._accepted_row):
            return {}  # nothing new: what was accepted before has been tried on validation
        return {COMPONENT: proposed}


def scores_of(seen: Sequence[Seen], trials: Trials) -> list[float]:
    """1 for a verdict that people gave too, 0 for another, half for none: what gepa spreads its frontier by."""
    return [
        0.5 if verdict.has_failed is None else float(verdict.has_failed == trials.is_failure(row))
        for row, verdict in seen
    ]


def reviewed(one: Seen, trials: Trials) -> Reviewed:
    """An example with all that a reflection may know of it."""
    return Reviewed(trials.transcripts[one.row], trials.is_failure(one.row), one.verdict, trials.note(one.row))
