"""What an evaluator said of each case, in the order in which every form tells it. Escaping is each form's own."""

import polars as pl

from evalpipe.gate.baseline import is_own
from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome

NO_EXPLANATION = "no explanation was given"


def said_of(outcome: GateOutcome, result: EvaluatorResult) -> pl.DataFrame:
    """Each case that the evaluator was asked about: case_id, line, outcome, score, explanation, is_counted.

    is_counted is false of a case of other issues, where the evaluator's own cases alone make its pass rate. Those come
    last; else cases are in the order of their file, traffic by its id.
    """
    return _told(outcome, result, outcome.said_by(result.run.evaluator_id))


def failing(outcome: GateOutcome, result: EvaluatorResult) -> pl.DataFrame:
    """Of `said_of` the cases that show the failure."""
    return _told(outcome, result, outcome.said_by(result.run.evaluator_id).filter(pl.col("outcome") == "fail"))


def _told(outcome: GateOutcome, result: EvaluatorResult, said: pl.DataFrame) -> pl.DataFrame:
    return (
        said.select("outcome", "score", "explanation", case_id="trace_id")
        .join(outcome.cases.select("case_id", "line"), on="case_id", how="left")
        .join(outcome.about.select("issue_ids", case_id="trace_id"), on="case_id", how="left")
        .with_columns(is_counted=is_own(result.run).fill_null(False))
        .sort(~pl.col("is_counted"), "line", "case_id", nulls_last=True)
        .select("case_id", "line", "outcome", "score", "explanation", "is_counted")
    )


def blocking_first(outcome: GateOutcome) -> list[EvaluatorResult]:
    """The results, what keeps the release from shipping first, then what else went wrong."""
    places = {"failed": 1, "abstained": 2, "passed": 3, "skipped": 4}

    def place(result: EvaluatorResult) -> tuple[int, int, str]:
        return (0 if result.is_blocking else 1 if result.is_regression else 2), places[result.outcome], result.run.name

    return sorted(outcome.decision.results, key=place)


def reasons_without_evaluator(outcome: GateOutcome) -> list[str]:
    """What blocks and is not said of one evaluator."""
    said = {result.reason for result in outcome.decision.results}
    return [reason for reason in outcome.decision.blocking_reasons if reason not in said]
