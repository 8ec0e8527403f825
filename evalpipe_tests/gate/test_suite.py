"""The public gate: plain dicts, plain callables."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from evalpipe.errors import InputError
from evalpipe.gate.suite import GeneratedEval, run_eval_suite

CASES = [{"id": f"case-{i}", "input": "Where is my order?", "output": "yes" if i < 7 else "no"} for i in range(10)]


def evaluator(says, mcc=0.9, name="ev", **fields):
    return GeneratedEval(name, "unhelpful answer", "rule", says, mcc, **{"coverage_target": 0.8} | fields)


def says_yes(case):
    return case["output"] == "yes"


def run(*evals, cases=CASES, **options):
    return run_eval_suite(cases, list(evals), **options)


def test_a_failing_evaluator_of_blocking_quality_blocks():
    result = run(evaluator(says_yes))
    # 7 of 10 pass: 0.7 is below 0.8
    assert result["deployment_blocked"] is True
    assert "unhelpful answer" in result["blocking_reason"]
    assert result["suite_pass_rate"] == 0.0
    row = result["eval_results"][0]
    assert row["pass_rate"] == pytest.approx(0.7)
    assert (row["n_pass"], row["n_fail"], row["n_fault"]) == (7, 3, 0)
    assert row["failing_cases"] == ["case-7", "case-8", "case-9"]
    assert (row["role"], row["passed"], row["coverage_target"]) == ("blocking", False, 0.8)


def test_a_pass_rate_at_the_threshold_passes():
    assert run(evaluator(says_yes), blocking_threshold=0.7)["deployment_blocked"] is False
    assert run(evaluator(says_yes), blocking_threshold=0.71)["deployment_blocked"] is True


@pytest.mark.parametrize(
    ("mcc", "role", "is_blocked"),
    [(0.6, "blocking", True), (0.59, "monitoring", False), (0.4, "monitoring", False), (0.39, "skipped", False)],
)
def test_the_role_follows_from_the_mcc(mcc, role, is_blocked):
    result = run(evaluator(lambda case: False, mcc=mcc))
    assert result["eval_results"][0]["role"] == role
    assert result["deployment_blocked"] is is_blocked


def test_a_skipped_evaluator_is_never_called():
    def never(case):
        raise AssertionError("called")

    row = run(evaluator(never, mcc=0.2), evaluator(says_yes))["eval_results"][0]
    assert (row["passed"], row["n_fault"], row["pass_rate"]) == (None, 0, None)


def test_an_undefined_mcc_is_skipped_with_the_reason():
    result = run(evaluator(says_yes, mcc=None))
    assert "undefined" in result["eval_results"][0]["reason"]
    assert result["decision"] == "abstain"
    assert result["suite_pass_rate"] is None


def test_all_blocking_reasons_are_given_not_just_the_last():
    result = run(evaluator(lambda case: False, name="first"), evaluator(says_yes, name="second"))
    assert "first" in result["blocking_reason"]
    assert "second" in result["blocking_reason"]


def test_the_suite_pass_rate_is_over_the_evaluators_that_ran():
    result = run(evaluator(lambda case: True), evaluator(says_yes, mcc=0.5), evaluator(says_yes, mcc=0.1))
    assert result["suite_pass_rate"] == pytest.approx(1 / 2)
    assert result["blocking_reason"] is None


def test_a_passing_suite_has_no_reason():
    result = run(evaluator(lambda case: True))
    assert (result["deployment_blocked"], result["blocking_reason"], result["decision"]) == (False, None, "pass")


def test_an_evaluator_fault_is_not_a_failure():
    def sometimes(case):
        if case["id"] == "case-0":
            raise TimeoutError("the judge did not answer")
        return True

    result = run(evaluator(sometimes))
    row = result["eval_results"][0]
    assert (row["n_pass"], row["n_fail"], row["n_fault"]) == (9, 0, 1)
    assert row["pass_rate"] == 1.0
    assert result["deployment_blocked"] is False
    assert any("the judge did not answer" in warning for warning in result["warnings"])


def test_a_blocking_evaluator_with_only_faults_does_not_pass_silently():
    result = run(evaluator(lambda case: None))
    assert result["deployment_blocked"] is True
    assert "could not be judged" in result["blocking_reason"]
    assert result["suite_pass_rate"] is None


def test_a_monitoring_evaluator_with_only_faults_does_not_block():
    result = run(evaluator(lambda case: None, mcc=0.5), evaluator(lambda case: True))
    assert result["deployment_blocked"] is False
    assert any("could not be judged" in warning for warning in result["warnings"])


@pytest.mark.parametrize(
    "answer",
    [
        True,
        1,
        0.5,
        np.bool_(True),
        np.float64(0.9),
        {"passed": True},
        {"passed": np.bool_(True)},
        {"outcome": "pass"},
        {"score": 0.8},
        SimpleNamespace(passed=True),
        SimpleNamespace(outcome="pass"),
    ],
)
def test_what_counts_as_a_pass(answer):
    assert run(evaluator(lambda case: answer))["eval_results"][0]["n_pass"] == len(CASES)


@pytest.mark.parametrize("answer", [False, 0, 0.49, np.bool_(False), {"passed": False}, {"outcome": "fail"}])
def test_what_counts_as_a_failure(answer):
    assert run(evaluator(lambda case: answer))["eval_results"][0]["n_fail"] == len(CASES)


@pytest.mark.parametrize(
    "answer",
    [None, "yes", math.nan, 7, -0.1, {"passed": None}, {"passed": "yes"}, {"outcome": "fault"}, {}, object()],
)
def test_what_counts_as_a_fault(answer):
    assert run(evaluator(lambda case: answer))["eval_results"][0]["n_fault"] == len(CASES)


def test_a_case_without_an_id_is_named_by_its_index():
    result = run(evaluator(lambda case: False), cases=[{"output": "a"}, {"output": "b", "id": 17}])
    assert result["eval_results"][0]["failing_cases"] == [0, 17]


def test_cases_and_evaluators_may_come_from_generators():
    result = run_eval_suite((case for case in CASES), (evaluator(says_yes) for _ in range(2)))
    assert [row["n_pass"] for row in result["eval_results"]] == [7, 7]


@pytest.mark.parametrize(
    ("cases", "evals", "says"),
    [
        ([], [evaluator(says_yes)], "eval_cases is empty"),
        (CASES, [], "evals is empty"),
        ({"id": 1}, [evaluator(says_yes)], "eval_cases is a dict"),
        (CASES, 3, "evals is a int"),
    ],
)
def test_nothing_to_judge_is_an_error_that_says_so(cases, evals, says):
    with pytest.raises(InputError, match=says):
        run_eval_suite(cases, evals)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, "0.8", True])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(InputError, match="blocking_threshold"):
        run(evaluator(says_yes), blocking_threshold=threshold)


@pytest.mark.parametrize("mcc", [math.nan, 1.01, -1.01, "0.9", True])
def test_an_mcc_is_a_number_or_none(mcc):
    with pytest.raises(InputError, match="mcc_score"):
        evaluator(says_yes, mcc=mcc)


def test_a_coverage_target_is_a_share():
    with pytest.raises(InputError, match="coverage_target"):
        evaluator(says_yes, coverage_target=1.5)


def test_an_evaluator_is_called_with_a_case():
    with pytest.raises(InputError, match="not callable"):
        GeneratedEval("ev", "mode", "rule", "output == 'yes'", 0.9)  # type: ignore[arg-type]
