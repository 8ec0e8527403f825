"""What a developer does next about a decision, and how an evaluator changed since the last release, in plain words."""

from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.failing import reasons_without_evaluator

_NO_CHANGE = 0.0005  # what one decimal of a percentage does not show


def next_steps(outcome: GateOutcome) -> list[str]:
    """What to do, the most useful first; commands stand in backquotes."""
    decision = outcome.decision
    blocking = [result for result in decision.results if result.is_blocking]
    if decision.decision == "pass":
        watched = "Deploy. Its traffic is watched for every issue that has an evaluator."
        return [
            watched,
            *(["What is said under Also does not block, and is worth a look."] if decision.warnings else []),
        ]
    if decision.decision == "abstain":
        lacks = "Nothing was judged, so nothing is vouched for: see what each evaluator lacks with `evalpipe coverage`."
        return [lacks, *_about_refused(outcome)]
    steps: list[str] = []
    if any(result.outcome in ("failed", "passed") for result in blocking):
        again = (
            "answer the same cases with the fixed version and run the same gate again"
            if outcome.run["source"][0] == "cases"
            else "deploy the fixed version to where these traces came from and gate it by its version"
        )
        steps.append(f"Read the failing cases of what blocks, fix what they show, {again}.")
        steps.append(
            "If they are not failures, the evaluator is wrong: say so in the review of such traces "
            "(`evalpipe queue build`), and its next version is measured on that."
        )
    if issues := [result.run.issue_id for result in blocking if result.run.issue_id and result.outcome == "failed"]:
        steps.append(
            f"If a failure is accepted for this release: `evalpipe issues ignore {issues[0]}`; its evaluator blocks "
            "nothing then."
        )
    if any(result.outcome == "abstained" for result in blocking):
        steps.append(
            "Where an evaluator could not tell, its reason says why: a judge needs its model to be reached, and every "
            "evaluator enough cases. Run the gate again then, or let such an answer warn: `--on-abstain warn`."
        )
    return [*steps, *_about_refused(outcome)]


def _about_refused(outcome: GateOutcome) -> list[str]:
    if not outcome.refused:
        return []
    first = outcome.refused[0]
    where = "" if first.line is None else f"line {first.line}, "
    is_why = " That is why it is blocked." if reasons_without_evaluator(outcome) else ""
    cases = f"Correct the {len(outcome.refused)} cases that could not be read"
    return [f"{cases}, the first of them {where}{first.reason}.{is_why}"]


def change_in_words(result: EvaluatorResult) -> str:
    """How its pass rate changed since the last release; '' where there was none."""
    compared = result.run.comparison
    if compared is None:
        return f"not compared: {result.run.not_compared}" if result.run.not_compared else ""
    how = "same inputs" if compared.way == "paired" else "other inputs"
    if abs(compared.change) < _NO_CHANGE:
        return f"no change, {how}"
    points = f"{compared.change * 100:+.1f} points".replace("-", "\u2212")
    verdict = "worse beyond chance" if compared.is_regression else "not beyond chance" if compared.change < 0 else ""
    return ", ".join(filter(None, [points, verdict, how]))
