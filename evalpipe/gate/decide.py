"""The decision itself: from what each evaluator counted to pass, block or abstain, with every reason in words. Pure.

Judging cases is in judge.py and suite.py, comparing with the last release in baseline.py, showing the decision in
render/.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evalpipe.errors import InputError
from evalpipe.pages import counted
from evalpipe.quality.comparison import Comparison
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
    """The thresholds: `gate` says when an evaluator passes, `quality` what role it has.

    By the policy of the article the point figures alone decide: no bound of the MCC, no number of failures it was
    measured on, no comparison with the last release.
    """

    gate: GateSettings = field(default_factory=GateSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)

    def __post_init__(self) -> None:
        if self.gate.policy == "article":
            points = {"block_lower": -1.0, "block_min_positives": 0}
            object.__setattr__(self, "quality", self.quality.model_copy(update=points))

    @property
    def regressions(self) -> Literal["block", "warn", "ignore"]:
        """What becomes of an evaluator that passes and yet got worse."""
        return "ignore" if self.gate.policy == "article" else self.gate.on_regression

    def pass_rate_of(self, issue_id: str | None) -> float:
        """The pass rate that the evaluator of this issue has to reach, in [0, 1]."""
        return self.gate.pass_rates.get(issue_id or "", self.gate.pass_rate)


@dataclass(frozen=True, kw_only=True)
class EvaluatorRun:
    """One evaluator: how far it is trusted, and what it counted over the cases (all zero when it was not asked)."""

    evaluator_id: str
    failure_mode: str
    version: int = 1
    issue_id: str | None = None
    kind: str = "rule"
    issue_state: str = "active"
    has_returned: bool = False  # its issue was solved and is open again
    mcc: float | None  # None is undefined, which is not zero
    mcc_lower: float | None = None
    n_positives: int = 0  # failures that the MCC was measured on
    demotion: str | None = None  # why it does not block whatever its MCC: its agreement with people fell
    n_pass: int = 0
    n_fail: int = 0
    n_fault: int = 0  # cases it could not judge; in neither of the two
    failing_case_ids: tuple[str, ...] = ()
    fault_reason: str | None = None  # of one of the faults
    n_own: int | None = None  # cases that name its issue, where these alone are counted; None: all cases are
    n_fail_elsewhere: int = 0  # cases that show the failure and name other issues
    previous_outcome: str | None = None  # passed or failed in the last gate of another release; None without one
    comparison: Comparison | None = None  # with the last release; None where the two cannot be compared,
    not_compared: str | None = None  # and why they cannot, where there was one

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
    link: Link | None  # of one that failed or got worse: what is known of its issue
    reason: str
    pass_rate_asked: float
    is_blocking: bool = False  # this keeps the release from shipping

    @property
    def is_regression(self) -> bool:
        """Whether it got worse than in the last release, beyond chance and by more than the margin."""
        return self.run.comparison is not None and self.run.comparison.is_regression


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


def decide(measured: Sequence[EvaluatorRun], policy: GatePolicy, *, n_cases: int = 0, n_refused: int = 0) -> Decision:
    """Block when an evaluator of blocking quality failed, got worse than in the last release, or could not tell.

    An evaluator passes at the policy's pass rate over the cases it could judge. One that passes but got worse beyond
    chance and by more than the margin blocks unless `on_regression` says warn; one that could not tell, and more than
    `max_fault_share` of the cases refused, block unless `on_abstain` says warn. When no evaluator ran at all the answer
    is abstain. Raises InputError for an MCC that is NaN.
    """
    results = tuple(_result(run, policy) for run in measured)
    ran = [result for result in results if result.outcome in ("passed", "failed")]
    n_passed = sum(result.outcome == "passed" for result in ran)
    refused = _refused_in_words(n_cases, n_refused, policy)
    is_refusal_blocking = refused is not None and policy.gate.on_abstain == "block"
    blocking_reasons = [result.reason for result in results if result.is_blocking]
    blocking_reasons += [refused] if refused is not None and is_refusal_blocking else []
    warnings = [result.reason for result in results if not result.is_blocking and _is_worth_saying(result)]
    warnings += [_faults_in_words(result.run) for result in ran if result.run.n_fault]
    warnings += [said for result in ran if (said := _elsewhere_in_words(result)) is not None]
    if refused is not None and not is_refusal_blocking:
        warnings.append(refused)
    elif refused is None and n_refused:
        warnings.append(f"{n_refused} of {n_cases + n_refused} cases could not be read and were not judged.")
    if ran and not any(result.role == "blocking" for result in ran):
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
    role, asked = role_of(run, policy), policy.pass_rate_of(run.issue_id)
    if role == "skipped":
        outcome, reason = _skipped(run, policy)
        return EvaluatorResult(run, role, outcome, None, None, None, reason, asked)
    gate = policy.gate
    n_judged, n_cases = run.n_pass + run.n_fail, run.n_pass + run.n_fail + run.n_fault
    pass_rate = run.n_pass / n_judged if n_judged else None
    interval = wilson(run.n_pass, n_judged, gate.confidence)

    def result(outcome: Outcome, reason: str, link: Link | None = None, *, may_block: bool) -> EvaluatorResult:
        is_blocking = may_block and role == "blocking"
        return EvaluatorResult(run, role, outcome, pass_rate, interval, link, reason, asked, is_blocking)

    if n_cases == 0:
        none = f"{run.name}: none of the cases is of a service that this evaluator judges."
        return result("skipped", none, may_block=False)
    if cannot_tell := _why_it_cannot_tell(run, n_judged, n_cases, policy):
        return result("abstained", cannot_tell, may_block=gate.on_abstain == "block")
    assert pass_rate is not None
    own = "" if run.n_own is None else "its own "
    shown = "case shows" if n_judged == 1 else "cases show"
    found = f"{run.name}: {run.n_fail} of {own}{n_judged} {shown} it; pass rate {pass_rate:.1%}"
    compared = _comparison_in_words(run)
    has_got_worse = policy.regressions != "ignore" and run.comparison is not None and run.comparison.is_regression
    if pass_rate >= asked and not has_got_worse:
        return result("passed", f"{found}, at least {asked:.0%} is asked.", may_block=False)
    link = _link(run)
    why_not = "" if role == "blocking" else _why_not_blocking(run, policy)
    if pass_rate >= asked:
        said = [f"{found}, enough by itself ({asked:.0%} is asked).", compared, _link_in_words(link, run), why_not]
        return result("passed", " ".join(filter(None, said)), link, may_block=policy.regressions == "block")
    said = [f"{found}, {asked:.0%} is asked.", _link_in_words(link, run), compared, why_not]
    return result("failed", " ".join(filter(None, said)), link, may_block=True)


def _why_it_cannot_tell(run: EvaluatorRun, n_judged: int, n_cases: int, policy: GatePolicy) -> str | None:
    """All of the reasons, None without one."""
    gate = policy.gate
    reasons: list[str] = []
    if run.n_fault / n_cases > gate.max_fault_share:
        allowed = f"more than {gate.max_fault_share:.0%} is too many to tell"
        reasons.append(f"{_faults_in_words(run)} Of {n_cases} cases, {allowed}.")
    if n_judged < max(1, gate.min_cases):
        reasons.append(f"{run.name}: {counted(n_judged, 'case')} judged, {max(1, gate.min_cases)} needed to tell.")
    return " ".join(reasons) or None


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
    if run.issue_state == "resolved" or run.has_returned:
        return "returned after resolution"
    return "new regression" if run.previous_outcome == "passed" else "known open"


def _link_in_words(link: Link | None, run: EvaluatorRun) -> str:
    if link == "known open":
        return f"Known open: {'the last release failed too' if run.previous_outcome else 'its issue is active'}."
    return {
        None: "",
        "returned after resolution": "Its issue was resolved: the failure has returned.",
        "new regression": "New regression: the last release passed.",
    }[link]


def _comparison_in_words(run: EvaluatorRun) -> str:
    compared = run.comparison
    if compared is None:
        return f"Not compared with the last release: {run.not_compared}." if run.not_compared else ""
    of = f"release {compared.release}" if compared.release else "the last release"
    where = "on the same inputs" if compared.way == "paired" else "on other inputs"
    rate = f"{of} passed {compared.pass_rate:.1%} of {compared.n} {where}"
    if compared.is_regression:
        return f"Worse than before beyond chance (p = {_chance(compared.p_worse)}): {rate}."
    if compared.change < 0 and compared.p_worse > compared.level:
        asked = f"below {_chance(compared.level)} is asked"
        return f"The fall since then may be chance (p = {_chance(compared.p_worse)}, {asked}): {rate}."
    if compared.change < 0:
        return f"The fall since then is small: {rate}."
    return f"No worse than before: {rate}."


def _chance(p: float) -> str:
    return "under 0.0001" if p < 1e-4 else f"{p:.2g}"


def _elsewhere_in_words(result: EvaluatorResult) -> str | None:
    run = result.run
    if not run.n_fail_elsewhere:
        return None
    cases = counted(run.n_fail_elsewhere, "case")
    return f"{run.name}: {cases} of other issues show it too, and do not count in its pass rate."


def _refused_in_words(n_cases: int, n_refused: int, policy: GatePolicy) -> str | None:
    """Why so many refused cases leave the decision open; None where they are few."""
    n, allowed = n_cases + n_refused, policy.gate.max_fault_share
    if not n_refused or n_refused / n <= allowed:
        return None
    return (
        f"{n_refused} of {n} cases could not be read and were not judged; more than {allowed:.0%} is too many to tell."
    )


def _why_not_blocking(run: EvaluatorRun, policy: GatePolicy) -> str:
    lacks = shortfall(run.mcc, run.mcc_lower, run.n_positives, policy.quality, run.demotion)
    return f"It only monitors: {lacks or 'a resolved issue blocks nothing until it is reopened'}."


def _faults_in_words(run: EvaluatorRun) -> str:
    why = f" ({run.fault_reason})" if run.fault_reason else ""
    return f"{run.name}: {counted(run.n_fault, 'case')} could not be judged{why}."


def _is_worth_saying(result: EvaluatorResult) -> bool:
    # A skipped evaluator is the normal state of a young issue, unless it could have blocked; a failure, a fall or an
    # abstention never goes unsaid.
    is_missing = result.role == "blocking" and result.outcome == "skipped"
    return result.outcome in ("failed", "abstained") or result.link is not None or is_missing


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
    stopping = [r for r in blocking if r.is_blocking]
    counts = {
        "failed": sum(r.outcome == "failed" for r in stopping),
        "got worse": sum(r.outcome == "passed" for r in stopping),
        "could not tell": sum(r.outcome == "abstained" for r in stopping),
    }
    parts = [f"{n} {what}" for what, n in counts.items() if n]
    if not parts:
        return f"Must not ship: too many cases could not be read; {passed}."
    return f"Must not ship: of {len(blocking)} blocking evaluators {', '.join(parts)}; {passed}."
