"""The figures of one evaluator in words, as tables that people read hold them."""

from evalpipe.gate.decide import EvaluatorResult

WORDS = {"pass": "May ship", "block": "Must not ship", "abstain": "Could not decide"}
TITLES = ("Failure mode", "Role", "Outcome", "Pass rate", "Last release", "Cases: pass / fail / fault", "MCC", "Issue")


def after_the_word(headline: str) -> str:
    """A decision's headline without the decision, which stands above it."""
    said = headline.split(": ", 1)[-1]
    return said[:1].upper() + said[1:]


def cells(result: EvaluatorResult) -> list[str]:
    """As TITLES names them."""
    run = result.run
    issue = f"{run.issue_id or ''}{f': {result.link}' if result.link else ''}"
    compared = run.comparison
    before = "" if compared is None else f"{compared.pass_rate:.1%}{', worse' if compared.is_regression else ''}"
    return [run.failure_mode, result.role, result.outcome, rate(result), before, counts(result), mcc(result), issue]


def rate(result: EvaluatorResult) -> str:
    """The pass rate with its interval; '' where nothing was judged."""
    said = "" if result.pass_rate is None else f"{result.pass_rate:.1%}"
    if result.interval is not None:
        said += f" ({result.interval.lower:.0%} to {result.interval.upper:.0%})"
    return said


def counts(result: EvaluatorResult) -> str:
    """Cases that pass, fail and fault."""
    run = result.run
    return f"{run.n_pass} / {run.n_fail} / {run.n_fault}" if run.n_pass + run.n_fail + run.n_fault else ""


def mcc(result: EvaluatorResult) -> str:
    run = result.run
    if run.mcc is None:
        return "undefined"
    return f"{run.mcc:.2f}" if run.mcc_lower is None else f"{run.mcc:.2f} (from {run.mcc_lower:.2f})"
