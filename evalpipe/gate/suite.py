"""The gate as plain Python: a suite of callables over a list of cases, without tables or files.

The thresholds and the decision are those of decide.py; judging traces with generated evaluators is in judge.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Literal, NamedTuple

from evalpipe.errors import EvaluatorFaultError, InputError
from evalpipe.gate.decide import EvaluatorResult, EvaluatorRun, GatePolicy, decide, role_of
from evalpipe.settings import GateSettings, QualitySettings

_PASSING_SCORE = 0.5  # a number says how good the case is, in [0, 1]; from here it passes


@dataclass(frozen=True)
class GeneratedEval:
    """An evaluator as any Python project can hold it.

    `evaluator` is called with one case and says whether it passes: True or False; a number in [0, 1], higher is
    better, which passes from 0.5; or a mapping or object with `passed` (bool), `outcome` ("pass", "fail", "fault") or
    `score`. An exception, None or anything else is a fault: it could not tell, and the case counts as neither.

    `mcc_score` is its agreement with people on traces it was not made from, in [-1, 1]; None where that is undefined.
    `coverage_target` is the share of the issue's occurrences that it aims to catch, in [0, 1]; it is carried into the
    results and decides nothing. `eval_type` is free: "rule", "learned", "judge". Raises InputError for figures out of
    range.
    """

    id: str
    failure_mode: str
    eval_type: str
    evaluator: Callable[[dict[str, Any]], Any]
    mcc_score: float | None
    coverage_target: float | None = None

    def __post_init__(self) -> None:
        if not callable(self.evaluator):
            raise InputError(f"evaluator {self.id}: evaluator is not callable. Give a function of one case.")
        _check_range(self.id, "mcc_score", self.mcc_score, -1.0)
        _check_range(self.id, "coverage_target", self.coverage_target, 0.0)


def run_eval_suite(
    eval_cases: Iterable[dict[str, Any]], evals: Iterable[GeneratedEval], blocking_threshold: float = 0.80
) -> dict[str, Any]:
    """Judge every case with every evaluator, and say whether the deployment is blocked.

    An evaluator below an MCC of 0.4 (or with an undefined one) is skipped and never called; from 0.4 it monitors,
    from 0.6 it blocks when its pass rate is below `blocking_threshold`. No interval of the MCC is known here, so the
    figure alone counts. A blocking evaluator that could not judge its cases blocks too.

    Returns `deployment_blocked`; `blocking_reason` (every reason; None when not blocked); `decision` ("pass", "block",
    or "abstain" when no evaluator ran, which blocks nothing but vouches for nothing either); `warnings`;
    `suite_pass_rate` (share of the evaluators that ran which passed; None when none ran); and `eval_results`, one dict
    per evaluator in order: id, failure_mode, eval_type, mcc_score, coverage_target, role, outcome, passed (None when it
    did not run), pass_rate, n_pass, n_fail, n_fault, failing_cases (the `id` of each, else its index), reason.
    Raises InputError for an empty suite, an empty list of cases or a threshold outside [0, 1].
    """
    cases, suite = _listed(eval_cases, "eval_cases"), _listed(evals, "evals")
    if not cases:
        raise InputError("eval_cases is empty: a gate without cases decides nothing. Give at least one case.")
    if not suite:
        raise InputError("evals is empty: a gate without evaluators decides nothing. Give at least one GeneratedEval.")
    _check_range("run_eval_suite", "blocking_threshold", blocking_threshold, 0.0)
    policy = GatePolicy(
        gate=GateSettings(pass_rate=blocking_threshold),
        quality=QualitySettings(block_lower=-1.0, block_min_positives=0),
    )
    tallies = [_tally(cases, generated, policy) for generated in suite]
    decision = decide([tally.run for tally in tallies], policy)
    is_blocked = decision.decision == "block"
    return {
        "deployment_blocked": is_blocked,
        "blocking_reason": "\n".join(decision.blocking_reasons) if is_blocked else None,
        "decision": decision.decision,
        "warnings": list(decision.warnings),
        "eval_results": [
            _row(generated, tally, result)
            for generated, tally, result in zip(suite, tallies, decision.results, strict=True)
        ],
        "suite_pass_rate": decision.suite_pass_rate,
    }


class _Tally(NamedTuple):
    run: EvaluatorRun
    failing_cases: list[Any]


def _tally(cases: list[dict[str, Any]], generated: GeneratedEval, policy: GatePolicy) -> _Tally:
    run = EvaluatorRun(
        evaluator_id=generated.id,
        failure_mode=generated.failure_mode,
        kind=generated.eval_type,
        mcc=generated.mcc_score,
        mcc_lower=generated.mcc_score,
    )
    if role_of(run, policy) == "skipped":
        return _Tally(run, [])
    failing: list[Any] = []
    n_fault, fault_reason = 0, None
    for index, case in enumerate(cases):
        try:
            is_pass = _is_pass(generated.evaluator(case))
        except Exception as error:  # whatever a foreign callable raises: it could not tell, and the reason is kept
            n_fault += 1
            fault_reason = fault_reason or f"{type(error).__name__}: {error}"
            continue
        if not is_pass:
            failing.append(_case_name(case, index))
    counted = replace(
        run,
        n_pass=len(cases) - len(failing) - n_fault,
        n_fail=len(failing),
        n_fault=n_fault,
        failing_case_ids=tuple(str(name) for name in failing),
        fault_reason=fault_reason,
    )
    return _Tally(counted, failing)


def _is_pass(answer: Any) -> bool:
    if isinstance(answer, bool):
        return answer
    if isinstance(answer, Real):
        return _is_passing_score(float(answer))
    if type(answer).__module__ == "numpy" and getattr(answer, "shape", None) == ():
        return _is_pass(answer.item())
    for name, read in (("passed", _is_passed), ("outcome", _is_passing_outcome), ("score", _is_passing_score)):
        value = answer.get(name) if isinstance(answer, Mapping) else getattr(answer, name, None)
        if value is not None:
            return read(value)
    raise EvaluatorFaultError(f"no verdict in {type(answer).__name__}: give True, False, a number in [0, 1] or a dict")


def _is_passed(value: Any) -> bool:
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if not isinstance(value, bool):
        raise EvaluatorFaultError(f"passed is {value!r}: give True or False")
    return value


def _is_passing_outcome(value: Any) -> bool:
    if value not in ("pass", "fail"):
        raise EvaluatorFaultError(f"outcome is {value!r}, neither pass nor fail")
    return value == "pass"


def _is_passing_score(value: Any) -> bool:
    score = float(value)
    if not 0.0 <= score <= 1.0:
        raise EvaluatorFaultError(f"score {score} is not in [0, 1]")
    return score >= _PASSING_SCORE


def _case_name(case: Any, index: int) -> Any:
    named = case.get("id") if isinstance(case, Mapping) else None
    return index if named is None else named


def _row(generated: GeneratedEval, tally: _Tally, result: EvaluatorResult) -> dict[str, Any]:
    return {
        "id": generated.id,
        "failure_mode": generated.failure_mode,
        "eval_type": generated.eval_type,
        "mcc_score": generated.mcc_score,
        "coverage_target": generated.coverage_target,
        "role": result.role,
        "outcome": result.outcome,
        "passed": {"passed": True, "failed": False}.get(result.outcome),
        "pass_rate": result.pass_rate,
        "n_pass": tally.run.n_pass,
        "n_fail": tally.run.n_fail,
        "n_fault": tally.run.n_fault,
        "failing_cases": tally.failing_cases,
        "reason": result.reason,
    }


def _listed(values: Any, name: Literal["eval_cases", "evals"]) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"{name} is a {type(values).__name__}: give a list.")
    return list(values)


def _check_range(owner: str, name: str, value: Any, lowest: float) -> None:
    if value is None:
        return
    # NaN compares false with both bounds.
    if isinstance(value, bool) or not isinstance(value, Real) or not lowest <= float(value) <= 1.0:
        raise InputError(f"{owner}: {name} is {value!r}. Give a number in [{lowest:g}, 1].")
