"""The decision itself: from what each evaluator counted to pass, block or abstain, with every reason in words. Pure.

Judging cases is in judge.py and suite.py; showing the decision is in render.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evalpipe.errors import InputError
from evalpipe.quality.intervals import Interval, wilson
from evalpipe.quality.trust import may_be_chance, shortfall, status_of
from evalpipe.settings import GateSettings, QualitySettings

Role = Literal["blocking", "monitoring", "skipped"]
Outcome = Literal["passed", "failed", "abstained", "skipped"]
Link = Literal["new regression", "known open", "returned after resolution"]
Answer = Literal["pass", "block", "abstain"]

EXIT_CODES: Mapping[Answer, int] = {"pass": 0, "block": 1, "abstain": 2}
"""What the command line returns, which is what CI reads."""

_ROLE_OF_STATUS: Mapping[str, Role] = {"active": "blocking", "monitoring": "monitoring", "candidate": "skipped"}
_SILENT_STATES: Mapping[str, str] = {
    "ignored": "its issue is ignored",
    "merged": "its issue was merged into another",
    "candidate": "its issue is not promoted yet",
}


@dataclass(frozen=True)
class GatePolicy:
    """The thresholds: `gate` says when an evaluator passes, `quality` what role it has."""

    gate: GateSettings = field(default_factory=GateSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)


@dataclass(frozen=True, kw_only=True)
class EvaluatorRun:
    """One evaluator: how far it is trusted, and what it counted over the cases (all zero when it was not asked)."""

    evaluator_id: str
    failure_mode: str
    version: int = 1
    issue_id: str | None = None
    kind: str = "rule"
    issue_state: str = "active"
    mcc: float | None  # None is undefined, which is not zero
    mcc_lower: float | None = None
    n_positives: int = 0  # failures that the MCC was measured on
    demotion: str | None = None  # why it does not block whatever its MCC: its agreement with people fell
    n_pass: int = 0
    n_fail: int = 0
    n_fault: int = 0  # cases it could not judge; in neither of the two
    failing_case_ids: tuple[str, ...] = ()
    fault_reason: str | None = None  # of one of the faults
    previous_outcome: str | None = None  # passed or failed in the last gate of another release; None without one

    @property
    def name(self) -> str:
        """The failure mode with the id that a reader can look up."""
        return f"{self.failure_mode} ({self.issue_id or self.evaluator_id})"


@dataclass(frozen=True)
class EvaluatorResult:
    """What one evaluator says of the release. `reason` is the outcome in words."""

    run: EvaluatorRun
    role: Role
    outcome: Outcome
    pass_rate: float | None  # of the cases it could judge; None when it judged none
    interval: Interval | None  # Wilson interval of the pass rate
    link: Link | None  # of a failed one: what is known of its issue
    reason: str


@dataclass(frozen=True)
class Decision:
    """May the release ship? `blocking_reasons` is empty unless it may not; `warnings` never block."""

    decision: Answer
    headline: str
    results: tuple[EvaluatorResult, ...]
    suite_pass_rate: float | None  # share of the evaluators that ran which passed; None when none ran
    blocking_reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.decision]

    @property
    def n_ran(self) -> int:
        """Evaluators that passed or failed; those that were skipped or abstained did not run."""
        return sum(result.outcome in ("passed", "failed") for result in self.results)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The headline and all there is to say, what blocks first."""
        return (self.headline, *self.blocking_reasons, *self.warnings)


def decide(measured: Sequence[EvaluatorRun], policy: GatePolicy) -> Decision:
    """Block when an evaluator of blocking quality failed, or (by policy) could not tell; abstain when none ran at all.

    An evaluator passes at a pass rate of at least `policy.gate.pass_rate` over the cases it could judge. Raises
    InputError for an MCC that is NaN.
    """
    results = tuple(_result(run, policy) for run in measured)
    ran = [result for result in results if result.outcome in ("passed", "failed")]
    n_passed = sum(result.outcome == "passed" for result in ran)
    blocking = [result for result in results if result.role == "blocking"]
    failed = [result.reason for result in blocking if result.outcome == "failed"]
    undecided = [result.reason for result in blocking if result.outcome == "abstained"]
    is_blocked_undecided = policy.gate.on_abstain == "block"
    blocking_reasons = failed + (undecided if is_blocked_undecided else [])
    warnings = [] if is_blocked_undecided else undecided
    warnings += [result.reason for result in results if result.role != "blocking" and _is_worth_saying(result)]
    warnings += [result.reason for result in blocking if result.outcome == "skipped"]
    warnings += [_faults_in_words(result.run) for result in ran if result.run.n_fault]
    if ran and not any(result.outcome in ("passed", "failed") for result in blocking):
        warnings.append("No evaluator of blocking quality ran, so nothing could have blocked this release.")
    answer: Answer = "block" if blocking_reasons else "pass" if ran else "abstain"
    return Decision(
        decision=answer,
        headline=_headline(answer, results, n_passed, len(ran)),
        results=results,
        suite_pass_rate=n_passed / len(ran) if ran else None,
        blocking_reasons=tuple(blocking_reasons),
        warnings=tuple(warnings),
    )


def role_of(run: EvaluatorRun, policy: GatePolicy) -> Role:
    """The role before any case is judged: blocking, monitoring, or skipped, which saves running it.

    The evaluator of a resolved issue runs on, so that a return is noticed, but blocks nothing.
    """
    if run.mcc is not None and math.isnan(run.mcc):
        raise InputError(f"the MCC of {run.name} is NaN. Give None where it is undefined, else a number in [-1, 1].")
    if run.issue_state in _SILENT_STATES:
        return "skipped"
    role = _ROLE_OF_STATUS[status_of(run.mcc, run.mcc_lower, run.n_positives, policy.quality, run.demotion)]
    return "monitoring" if role == "blocking" and run.issue_state == "resolved" else role


def _result(run: EvaluatorRun, policy: GatePolicy) -> EvaluatorResult:
    role = role_of(run, policy)
    if role == "skipped":
        outcome, reason = _skipped(run, policy)
        return EvaluatorResult(run, role, outcome, None, None, None, reason)
    gate = policy.gate
    n_judged, n_cases = run.n_pass + run.n_fail, run.n_pass + run.n_fail + run.n_fault
    pass_rate = run.n_pass / n_judged if n_judged else None
    interval = wilson(run.n_pass, n_judged, gate.confidence)

    def result(outcome: Outcome, reason: str, link: Link | None = None) -> EvaluatorResult:
        return EvaluatorResult(run, role, outcome, pass_rate, interval, link, reason)

    if n_cases == 0:
        return result("skipped", f"{run.name}: none of the cases is of a service that this evaluator judges.")
    if run.n_fault / n_cases > gate.max_fault_share:
        allowed = f"more than {gate.max_fault_share:.0%} is too many to tell"
        return result("abstained", f"{_faults_in_words(run)} Of {n_cases} cases, {allowed}.")
    if pass_rate is None or n_judged < gate.min_cases:
        return result("abstained", f"{run.name}: {n_judged} cases judged, {max(1, gate.min_cases)} needed to tell.")
    counted = f"{run.n_fail} of {n_judged} cases show it; pass rate {pass_rate:.1%}"
    if pass_rate >= gate.pass_rate:
        return result("passed", f"{run.name}: {counted}, at least {gate.pass_rate:.0%} is asked.")
    link = _link(run)
    said = [
        f"{run.name}: {counted}, {gate.pass_rate:.0%} is asked.",
        _link_in_words(link, run.previous_outcome),
        "" if role == "blocking" else _why_not_blocking(run, policy),
    ]
    return result("failed", " ".join(filter(None, said)), link)


def _skipped(run: EvaluatorRun, policy: GatePolicy) -> tuple[Outcome, str]:
    if run.issue_state in _SILENT_STATES:
        return "skipped", f"{run.name}: not judged, {_SILENT_STATES[run.issue_state]}."
    if run.mcc is None:
        lacks = shortfall(None, None, run.n_positives, policy.quality)
        return (
            "abstained",
            f"{run.name}: cannot be trusted with a verdict, {lacks}. Annotate more traces of both kinds.",
        )
    if may_be_chance(run.mcc_lower):
        return "skipped", f"{run.name}: not in the suite, its MCC of {run.mcc:.2f} may be chance."
    limit = policy.quality.monitor_mcc
    return "skipped", f"{run.name}: not in the suite, its MCC of {run.mcc:.2f} is below {limit:.2f}."


def _link(run: EvaluatorRun) -> Link | None:
    if run.issue_id is None:
        return None
    if run.issue_state == "resolved":
        return "returned after resolution"
    return "new regression" if run.previous_outcome == "passed" else "known open"


def _link_in_words(link: Link | None, previous_outcome: str | None) -> str:
    if link == "known open":
        return f"Known open: {'the last gate failed too' if previous_outcome else 'its issue is active'}."
    return {
        None: "",
        "returned after resolution": "Its issue was resolved: the failure has returned.",
        "new regression": "New regression: the last gate passed.",
    }[link]


def _why_not_blocking(run: EvaluatorRun, policy: GatePolicy) -> str:
    lacks = shortfall(run.mcc, run.mcc_lower, run.n_positives, policy.quality, run.demotion)
    return f"It only monitors: {lacks or 'a resolved issue blocks nothing until it is reopened'}."


def _faults_in_words(run: EvaluatorRun) -> str:
    why = f" ({run.fault_reason})" if run.fault_reason else ""
    return f"{run.name}: {run.n_fault} cases could not be judged{why}."


def _is_worth_saying(result: EvaluatorResult) -> bool:
    # A skipped evaluator is the normal state of a young issue; a failure or an abstention never goes unsaid.
    return result.outcome in ("failed", "abstained")


def _headline(answer: Answer, results: Sequence[EvaluatorResult], n_passed: int, n_ran: int) -> str:
    if not results:
        return "Could not decide: there is no evaluator yet. Annotate traces, then run: evalpipe generate"
    if answer == "abstain":
        return (
            f"Could not decide: none of {len(results)} evaluators could run. Each says why below; "
            "an evaluator needs enough annotated failures and good traces, and cases of its service."
        )
    passed = f"{n_passed} of {n_ran} evaluators that ran passed"
    if answer == "pass":
        return f"May ship: {passed}."
    blocking = [r for r in results if r.role == "blocking"]
    n_failed = sum(r.outcome == "failed" for r in blocking)
    n_undecided = sum(r.outcome == "abstained" for r in blocking)
    parts = [f"{n_failed} of {len(blocking)} blocking evaluators failed"] if n_failed else []
    parts += [f"{n_undecided} could not tell"] if n_undecided else []
    return f"Must not ship: {', '.join(parts)}; {passed}."
