"""Evolve the instruction of a judge with dspy.GEPA, the alternative to judge_search.py: dspy runs and scores a module,
and keeps its own trace. What is tried, accepted and stopped at is the same.

dspy scores an example whose judging raised as a failed one and goes on, so that an outage would end as a result; here
the error is kept, ends the search, and is raised after it. The instruction that dspy returns is by mean score and not
used.
"""

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalpipe.errors import EvaluatorFaultError
from evalpipe.evaluators.judge_program import JudgeProgram
from evalpipe.evaluators.llm import signature
from evalpipe.generation.engine import TRAIN, VALIDATION, Loader, parents_of
from evalpipe.generation.judge_search import (
    Found,
    Minibatches,
    Parents,
    Seen,
    Stopper,
    reviewed,
    scores_of,
    with_instruction,
)
from evalpipe.generation.judge_split import JudgeSplit
from evalpipe.generation.judge_trials import Trials
from evalpipe.generation.reflection import Reflector, feedback_on

_PREDICTOR = "judge"
_ENDLESS = 10**9  # metric calls: the stopper counts what matters


def search_with_dspy(start: JudgeProgram, trials: Trials, reflector: Reflector, split: JudgeSplit, seed: int) -> Found:
    """As judge_search.search. Raises EvaluatorFaultError when the model is down or gives too few verdicts."""
    import dspy

    stopper = Stopper(start, trials, reflector, split, _PREDICTOR)
    parents = Parents(start, trials, reflector, split, seed, _PREDICTOR)
    train, validation = (
        Loader({row: dspy.Example(row=row).with_inputs("row") for row in rows}, prefix)
        for rows, prefix in ((split.train, TRAIN), (split.validation, VALIDATION))
    )
    optimiser = dspy.GEPA(
        metric=_metric(trials),
        max_metric_calls=_ENDLESS,
        reflection_minibatch_size=None,  # type: ignore[arg-type]
        candidate_selection_strategy=parents,  # type: ignore[arg-type]
        instruction_proposer=_proposer(start, trials, reflector, split),
        skip_perfect_score=True,
        use_merge=False,
        num_threads=trials.model.max_concurrency,
        failure_score=0.5,
        warn_on_score_mismatch=False,
        track_stats=True,
        seed=seed,
        gepa_kwargs={
            "batch_sampler": Minibatches(split.train, trials, trials.judges, seed),
            "acceptance_criterion": parents,
            "stop_callbacks": stopper,
            # Its cache mixes up training and validation examples (gepa 0.1.4); ours are the trials.
            "cache_evaluation": False,
        },
    )
    with _quietly():
        program = optimiser.compile(
            _module(start, trials, stopper),
            trainset=train,  # type: ignore[arg-type]
            valset=validation,  # type: ignore[arg-type]
        )
    for error in (stopper.error, reflector.error):
        if error is not None:
            raise error
    result: Any = program.detailed_results
    instructions = [getattr(candidate, _PREDICTOR).signature.instructions for candidate in result.candidates]
    return Found(instructions, parents_of(result), stopper.reason)


def _module(start: JudgeProgram, trials: Trials, stopper: Stopper) -> Any:
    """The judge as a dspy module: its one predictor holds the instruction that is evolved."""
    import dspy

    class JudgeModule(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.judge: Any = dspy.Predict(signature("trace: str -> critique: str, failed: bool", start.instruction))

        def forward(self, row: int) -> Any:
            program = with_instruction(start, self.judge.signature.instructions)
            try:
                verdict = trials.evaluated(program, [row])[0]
            except EvaluatorFaultError as error:
                stopper.error = stopper.error or error
                raise
            prediction = dspy.Prediction(
                critique=verdict.explanation, failed=verdict.has_failed, seen=Seen(row, verdict)
            )
            if dspy.settings.trace is not None:
                # As dspy.Predict does for itself; asked through our own client it does not know of the call.
                dspy.settings.trace.append((self.judge, {"row": row}, prediction))
            return prediction

    return JudgeModule()


def _metric(trials: Trials) -> Any:
    from dspy.teleprompt.gepa.gepa_utils import ScoreWithFeedback

    def metric(gold: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        del trace, pred_name, pred_trace
        seen: Seen = prediction.seen
        note = trials.note(gold.row)
        feedback = feedback_on(trials.is_failure(gold.row), seen.verdict)
        return ScoreWithFeedback(
            score=scores_of([seen], trials)[0],
            feedback=f"{feedback}\nThe reviewer's note: {note}" if note else feedback,
        )

    return metric


def _proposer(start: JudgeProgram, trials: Trials, reflector: Reflector, split: JudgeSplit) -> Any:
    """Our reflection in the place of dspy's, whose errors are swallowed and burn the whole budget."""

    def propose(
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        del components_to_update
        instruction = candidate[_PREDICTOR]
        rows = [int(record["Inputs"]["row"]) for record in reflective_dataset[_PREDICTOR]]
        verdicts = trials.verdicts(with_instruction(start, instruction), rows)
        records = [reviewed(Seen(row, verdict), trials) for row, verdict in zip(rows, verdicts, strict=True)]
        proposed = reflector.propose(instruction, records)
        if proposed is None or trials.known(with_instruction(start, proposed), split.validation[0]):
            return {}
        return {_PREDICTOR: proposed}

    return propose


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """dspy.GEPA draws progress bars whatever it is told, and logs each step."""
    logger = logging.getLogger("dspy")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
