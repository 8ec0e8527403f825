"""The row of one evaluator in a table that people read."""

from evalpipe.gate.decide import EvaluatorResult

WORDS = {"pass": "May ship", "block": "Must not ship", "abstain": "Could not decide"}
TITLES = ("Failure mode", "Role", "Outcome", "Pass rate", "Last release", "Cases: pass / fail / fault", "MCC", "Issue")


def cells(result: EvaluatorResult) -> list[str]:
    run = result.run
    mcc = "undefined" if run.mcc is None else f"{run.mcc:.2f}"
    if run.mcc is not None and run.mcc_lower is not None:
        mcc += f" (from {run.mcc_lower:.2f})"
    rate = "" if result.pass_rate is None else f"{result.pass_rate:.1%}"
    if result.interval is not None:
        rate += f" ({result.interval.lower:.0%} to {result.interval.upper:.0%})"
    counts = f"{run.n_pass} / {run.n_fail} / {run.n_fault}" if run.n_pass + run.n_fail + run.n_fault else ""
    issue = f"{run.issue_id or ''}{f': {result.link}' if result.link else ''}"
    compared = run.comparison
    before = "" if compared is None else f"{compared.pass_rate:.1%}{', worse' if compared.is_regression else ''}"
    return [run.failure_mode, result.role, result.outcome, rate, before, counts, mcc, issue]
