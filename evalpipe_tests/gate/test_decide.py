"""The decision, as a pure function."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.gate.decide import EvaluatorRun, GatePolicy, decide, role_of
from evalpipe.quality.comparison import Comparison
from evalpipe.settings import GateSettings

POLICY = GatePolicy()


def ran(n_pass=10, n_fail=0, n_fault=0, **fields) -> EvaluatorRun:
    """An evaluator that can be trusted to block, unless `fields` say otherwise."""
    trusted = {"evaluator_id": "ev_1", "issue_id": "iss_1", "failure_mode": "wrong refund", "mcc": 0.9}
    evidence = {"mcc_lower": 0.7, "n_positives": 20}
    counts = {"n_pass": n_pass, "n_fail": n_fail, "n_fault": n_fault}
    return EvaluatorRun(**trusted | evidence | counts | fields)


def test_all_pass():
    decision = decide([ran(), ran(evaluator_id="ev_2")], POLICY)
    assert (decision.decision, decision.exit_code, decision.suite_pass_rate) == ("pass", 0, 1.0)
    assert decision.blocking_reasons == ()


def test_a_block_names_the_issue_and_the_counts():
    decision = decide([ran(n_pass=28, n_fail=12)], POLICY)
    assert (decision.decision, decision.exit_code) == ("block", 1)
    assert "wrong refund (iss_1): 12 of 40 cases show it; pass rate 70.0%" in decision.blocking_reasons[0]
    assert decision.headline in decision.reasons


def test_the_pass_rate_carries_its_wilson_interval():
    result = decide([ran(n_pass=8, n_fail=2)], POLICY).results[0]
    # scipy.stats.binomtest(8, 10).proportion_ci(0.95, method="wilson")
    assert result.interval == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert result.outcome == "passed"  # 0.80 is asked and reached


def test_faults_are_not_in_the_pass_rate():
    result = decide([ran(n_pass=8, n_fail=0, n_fault=2)], POLICY).results[0]
    assert result.pass_rate == 1.0
    assert result.outcome == "passed"  # a fault share of exactly 0.2 is allowed


def test_too_many_faults_abstain_and_block_by_default():
    decision = decide([ran(n_pass=7, n_fault=3, fault_reason="timeout")], POLICY)
    assert decision.results[0].outcome == "abstained"
    assert decision.decision == "block"
    assert "3 cases could not be judged (timeout)" in decision.blocking_reasons[0]


def test_an_abstention_may_warn_instead():
    policy = GatePolicy(gate=GateSettings(on_abstain="warn"))
    decision = decide([ran(n_pass=7, n_fault=3), ran(evaluator_id="ev_2")], policy)
    assert decision.decision == "pass"
    assert any("3 cases could not be judged" in warning for warning in decision.warnings)
    assert decision.suite_pass_rate == 1.0  # over the one that ran


def test_too_few_cases_abstain():
    policy = GatePolicy(gate=GateSettings(min_cases=5))
    decision = decide([ran(n_pass=4)], policy)
    assert decision.results[0].outcome == "abstained"
    assert "4 cases judged, 5 needed" in decision.blocking_reasons[0]


def test_an_evaluator_without_a_case_of_its_service_does_not_block():
    decision = decide([ran(n_pass=0), ran(evaluator_id="ev_2")], POLICY)
    assert decision.results[0].outcome == "skipped"
    assert decision.decision == "pass"
    assert any("none of the cases is of a service" in warning for warning in decision.warnings)


@pytest.mark.parametrize(
    "measured", [[], [ran(mcc=0.2)], [ran(mcc=None)], [ran(n_pass=0)], [ran(issue_state="ignored")]]
)
def test_no_evaluator_that_could_run_is_no_pass(measured):
    decision = decide(measured, POLICY)
    assert (decision.decision, decision.exit_code, decision.suite_pass_rate) == ("abstain", 2, None)
    assert "Could not decide" in decision.headline


def test_an_undefined_mcc_abstains_and_says_so():
    decision = decide([ran(mcc=None), ran(evaluator_id="ev_2")], POLICY)
    assert decision.results[0].outcome == "abstained"
    assert any("undefined" in warning for warning in decision.warnings)
    assert decision.decision == "pass"


def test_an_mcc_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="NaN"):
        decide([ran(mcc=math.nan)], POLICY)


@pytest.mark.parametrize(
    ("fields", "role"),
    [
        ({}, "blocking"),
        ({"mcc": 0.6, "mcc_lower": 0.4, "n_positives": 10}, "blocking"),
        ({"mcc_lower": 0.39}, "monitoring"),
        ({"mcc_lower": None}, "monitoring"),
        ({"n_positives": 9}, "monitoring"),
        ({"mcc": 0.59}, "monitoring"),
        ({"mcc": 0.39}, "skipped"),
        ({"issue_state": "resolved"}, "monitoring"),
        ({"issue_state": "ignored"}, "skipped"),
        ({"issue_state": "merged"}, "skipped"),
        ({"issue_state": "candidate"}, "skipped"),
    ],
)
def test_the_role_follows_from_evidence_and_issue(fields, role):
    assert role_of(ran(**fields), POLICY) == role


@pytest.mark.parametrize(
    ("fields", "link"),
    [
        ({"previous_outcome": "passed"}, "new regression"),
        ({"previous_outcome": "failed"}, "known open"),
        ({"previous_outcome": None}, "known open"),
        ({"previous_outcome": "passed", "issue_state": "resolved"}, "returned after resolution"),
        ({"issue_id": None}, None),
    ],
)
def test_a_failure_says_what_is_known_of_its_issue(fields, link):
    assert decide([ran(n_pass=0, n_fail=9, **fields)], POLICY).results[0].link == link


def test_a_pass_has_no_link():
    assert decide([ran(previous_outcome="failed")], POLICY).results[0].link is None


def test_a_return_is_noticed_but_does_not_block():
    decision = decide([ran(n_pass=0, n_fail=9, issue_state="resolved"), ran(evaluator_id="ev_2")], POLICY)
    assert decision.decision == "pass"
    assert any("the failure has returned" in warning for warning in decision.warnings)


def test_a_pass_without_a_blocking_evaluator_says_that_nothing_could_have_blocked():
    decision = decide([ran(mcc=0.5)], POLICY)
    assert decision.decision == "pass"
    assert any("nothing could have blocked" in warning for warning in decision.warnings)


def test_a_failing_monitor_says_why_it_only_monitors():
    decision = decide([ran(n_pass=1, n_fail=9, mcc_lower=0.3)], POLICY)
    assert any("the lower bound of its MCC, 0.30, is below 0.40" in warning for warning in decision.warnings)


def fell(p_worse=1e-6, change=-0.15, **fields) -> Comparison:
    """What release 1.0 passed on the same 100 inputs, and that it got worse, unless `fields` say otherwise."""
    known = {"way": "paired", "release": "1.0", "pass_rate": 1.0, "n": 100, "level": 0.01, "is_regression": True}
    return Comparison(change=change, p_worse=p_worse, **known | fields)


def runs(max_faults: int) -> st.SearchStrategy[EvaluatorRun]:
    return st.builds(
        ran,
        n_pass=st.integers(0, 30),
        n_fail=st.integers(0, 30),
        n_fault=st.integers(0, max_faults),
        mcc=st.none() | st.floats(-1, 1),
        mcc_lower=st.none() | st.floats(-1, 1),
        n_positives=st.integers(0, 30),
        issue_state=st.sampled_from(["active", "resolved", "ignored", "merged", "candidate"]),
        previous_outcome=st.sampled_from([None, "passed", "failed"]),
        comparison=st.sampled_from([None, fell(), fell(is_regression=False)]),
    )


def test_an_evaluator_that_passes_but_got_worse_beyond_chance_blocks():
    decision = decide([ran(n_pass=85, n_fail=15, comparison=fell(), previous_outcome="passed")], POLICY)
    (result,) = decision.results
    assert (decision.decision, result.outcome, result.link) == ("block", "passed", "new regression")
    assert result.is_blocking
    assert "of 1 blocking evaluators 1 got worse" in decision.headline
    (reason,) = decision.blocking_reasons
    assert "15 of 100 cases show it; pass rate 85.0%, enough by itself (80% is asked)." in reason
    assert "Worse than before beyond chance (p = under 0.0001): release 1.0 passed 100.0% of 100 on the same" in reason


@pytest.mark.parametrize(
    ("policy", "n_warnings"), [(GateSettings(on_regression="warn"), 1), (GateSettings(policy="article"), 0)]
)
def test_a_regression_may_only_warn_and_by_the_article_is_not_looked_at(policy, n_warnings):
    decision = decide([ran(n_pass=85, n_fail=15, comparison=fell())], GatePolicy(gate=policy))
    assert (decision.decision, len(decision.warnings)) == ("pass", n_warnings)


def test_a_monitor_that_got_worse_warns():
    decision = decide([ran(n_pass=85, n_fail=15, mcc=0.5, comparison=fell())], POLICY)
    assert decision.decision == "pass"
    assert any("Worse than before" in warning and "It only monitors" in warning for warning in decision.warnings)


def test_a_failure_that_was_there_before_says_that_nothing_changed():
    same = fell(p_worse=0.62, change=-0.01, pass_rate=0.31, is_regression=False)
    run = ran(n_pass=30, n_fail=70, comparison=same, previous_outcome="failed")
    (reason,) = decide([run], POLICY).blocking_reasons
    assert "Known open: the last release failed too." in reason
    said = "The fall since then may be chance (p = 0.62, below 0.01 is asked): release 1.0 passed 31.0% of 100"
    assert said in reason


def test_why_there_is_no_comparison_is_said():
    run = ran(n_pass=1, n_fail=9, not_compared="its evaluator changed since, from version 1 to 2")
    (reason,) = decide([run], POLICY).blocking_reasons
    assert "Not compared with the last release: its evaluator changed since, from version 1 to 2." in reason


def test_by_the_article_the_point_figures_alone_block():
    run = ran(n_pass=1, n_fail=9, mcc=0.6, mcc_lower=0.1, n_positives=3)
    assert decide([run], POLICY).decision == "pass"
    assert decide([run], GatePolicy(gate=GateSettings(policy="article"))).decision == "block"
    weaker = replace(run, mcc=0.59)
    assert decide([weaker], GatePolicy(gate=GateSettings(policy="article"))).decision == "pass"


def test_an_issue_may_ask_for_another_pass_rate():
    policy = GatePolicy(gate=GateSettings(pass_rates={"iss_1": 0.95}))
    strict, usual = decide([ran(9, 1), ran(9, 1, issue_id="iss_2", evaluator_id="ev_2")], policy).results
    assert (strict.outcome, strict.pass_rate_asked) == ("failed", 0.95)
    assert (usual.outcome, usual.pass_rate_asked) == ("passed", 0.8)


def test_an_abstention_gives_all_of_its_reasons():
    policy = GatePolicy(gate=GateSettings(min_cases=5))
    (reason,) = decide([ran(n_pass=2, n_fault=3, fault_reason="timeout")], policy).blocking_reasons
    assert "3 cases could not be judged (timeout)" in reason
    assert "2 cases judged, 5 needed" in reason


def test_few_refused_cases_warn_and_many_leave_the_decision_open():
    few = decide([ran()], POLICY, n_cases=10, n_refused=2)
    assert (few.decision, few.warnings) == ("pass", ("2 of 12 cases could not be read and were not judged.",))
    many = decide([ran()], POLICY, n_cases=10, n_refused=3)
    assert (many.decision, many.headline.count("could not be read")) == ("block", 1)
    assert "3 of 13 cases could not be read" in many.blocking_reasons[0]
    allowed = decide([ran()], GatePolicy(gate=GateSettings(on_abstain="warn")), n_cases=10, n_refused=3)
    assert (allowed.decision, len(allowed.warnings)) == ("pass", 1)


def test_failures_among_the_cases_of_other_issues_are_told_and_not_counted():
    decision = decide([ran(n_pass=10, n_own=10, n_fail_elsewhere=4)], POLICY)
    assert decision.decision == "pass"
    (warning,) = decision.warnings
    assert "4 cases of other issues show it too, and do not count in its pass rate." in warning


@given(st.lists(runs(30), max_size=6))
def test_what_holds_of_every_decision(measured):
    decision = decide(measured, POLICY)
    blocks = [r for r in decision.results if r.is_blocking]
    assert (decision.decision == "block") == bool(blocks)
    assert all(r.role == "blocking" for r in blocks)
    assert all(r.is_blocking for r in decision.results if r.role == "blocking" and r.outcome in ("failed", "abstained"))
    assert len(decision.blocking_reasons) == len(blocks)  # every reason, not just the last
    assert (decision.suite_pass_rate is None) == (decision.n_ran == 0)
    assert decision.decision != "pass" or decision.n_ran > 0  # nothing passes without having been judged
    assert all(result.reason for result in decision.results)
    assert [result.run for result in decision.results] == measured


@given(st.lists(runs(0), min_size=1, max_size=5), st.integers(0, 4))
def test_one_more_failing_case_never_unblocks(measured, index):
    index %= len(measured)
    worse = replace(measured[index], n_fail=measured[index].n_fail + 1)
    if decide(measured, POLICY).decision == "block":
        assert decide([*measured[:index], worse, *measured[index + 1 :]], POLICY).decision == "block"


def test_a_demoted_evaluator_blocks_nothing_and_the_gate_says_why():
    fell = "its agreement fell from 0.84 to 0.31 on 28 new labels"
    decision = decide([ran(n_pass=5, n_fail=5, demotion=fell), ran(evaluator_id="ev_2")], POLICY)
    assert (decision.decision, decision.results[0].role) == ("pass", "monitoring")
    assert f"It only monitors: demoted: {fell}." in decision.warnings[0]
