"""Judging cases with generated evaluators, from TRACES to GATE_RUNS and GATE_RESULTS."""

from datetime import timedelta

import polars as pl
import pytest

from evalpipe.errors import ArtifactError, InputError
from evalpipe.gate.cases import read_cases
from evalpipe.gate.judge import input_hashes
from evalpipe.settings import GateSettings, Settings
from evalpipe.tables import GATE_CASES, GATE_RESULTS, GATE_RUNS, TRACES
from evalpipe_tests.gate.made import NOW, after, answers, case_file, flags, issues, judge, suite

SORRY, REFUND = flags(1, "sorry"), flags(2, "refund")


def test_a_release_that_shows_the_failure_is_blocked(tmp_path):
    outcome = judge(answers(tmp_path, "sorry", "Sorry!", "fine", "fine"), suite(SORRY, REFUND))
    assert outcome.run.schema == GATE_RUNS.schema
    assert outcome.results.schema == GATE_RESULTS.schema
    run = outcome.run.row(0, named=True)
    assert (run["decision"], run["n_cases"], run["n_evaluators"], run["suite_pass_rate"]) == ("block", 4, 2, 0.5)
    sorry, refund = outcome.results.iter_rows(named=True)
    assert (sorry["outcome"], sorry["n_pass"], sorry["n_fail"], sorry["pass_rate"]) == ("failed", 2, 2, 0.5)
    assert sorry["failing_case_ids"] == ["c0", "c1"]
    assert sorry["link"] == "known open"
    assert (refund["outcome"], refund["link"], refund["n_pass"]) == ("passed", None, 4)


def test_a_good_release_passes(tmp_path):
    outcome = judge(answers(tmp_path, "fine", "well"), suite(SORRY))
    assert outcome.decision.exit_code == 0
    assert outcome.run["reasons"][0].to_list() == list(outcome.decision.reasons)


def test_an_evaluator_without_a_role_is_not_run(tmp_path):
    outcome = judge(answers(tmp_path, "sorry"), suite(SORRY, mcc=0.2))
    assert outcome.verdicts.is_empty()
    assert outcome.results["role"].to_list() == ["skipped"]
    assert outcome.decision.exit_code == 2


def test_an_evaluator_that_was_never_measured_abstains(tmp_path):
    outcome = judge(answers(tmp_path, "sorry"), suite(SORRY, mcc=None, mcc_lower=None))
    assert outcome.results.select("role", "outcome", "mcc").row(0) == ("skipped", "abstained", None)


def test_an_evaluator_of_another_service_is_not_asked(tmp_path):
    elsewhere = flags(2, "sorry", services=["billing"])
    outcome = judge(answers(tmp_path, "sorry", "ok", service="shop"), suite(SORRY, elsewhere))
    assert dict(outcome.results.select("evaluator_id", "outcome").iter_rows()) == {"ev_1": "failed", "ev_2": "skipped"}


def test_the_same_question_has_the_same_id_whatever_the_time_and_the_order(tmp_path):
    traces = answers(tmp_path, "sorry", "fine")
    first = judge(traces, suite(SORRY, REFUND))
    again = judge(traces.reverse(), suite(REFUND, SORRY), now=NOW + timedelta(days=3))
    assert first.run["gate_id"][0] == again.run["gate_id"][0]


def test_another_question_has_another_id(tmp_path):
    traces, rows = answers(tmp_path, "sorry", "fine"), suite(SORRY)
    stricter = Settings(gate=GateSettings(pass_rate=0.95))
    outcomes = [
        judge(traces, rows),
        judge(traces, rows, release="1.0"),
        judge(traces, rows, settings=stricter),
        judge(traces, rows, issues=issues(rows, "resolved")),
        judge(traces, suite(SORRY, mcc=0.7)),
        judge(traces, suite(REFUND)),
        judge(answers(tmp_path, "sorry", "good"), rows),
    ]
    assert len({outcome.run["gate_id"][0] for outcome in outcomes}) == len(outcomes)


def test_the_release_is_the_one_that_all_cases_state(tmp_path):
    assert judge(answers(tmp_path, "a", "b", version="2.1"), suite(SORRY)).run["release"][0] == "2.1"
    mixed = pl.concat([answers(tmp_path, "a", version="1"), answers(tmp_path, "b", version="2")])
    assert judge(mixed, suite(SORRY)).run["release"][0] is None


def gate_after(earlier, folder, *outputs, **options):
    return judge(answers(folder, *outputs), suite(SORRY), history=after(*earlier), **options)


def test_a_failure_after_a_pass_is_a_new_regression(tmp_path):
    good = judge(answers(tmp_path, "fine"), suite(SORRY), release="1.0")
    bad = gate_after([good], tmp_path, "sorry", release="1.1", now=NOW + timedelta(days=1))
    assert bad.results["link"][0] == "new regression"
    # 1.1 was stopped: 1.2 replaces 1.0, beside which it is a regression still.
    worse = gate_after([good, bad], tmp_path, "sorry", "sorry", release="1.2", now=NOW + timedelta(days=2))
    assert (worse.run["baseline_release"][0], worse.results["link"][0]) == ("1.0", "new regression")


def test_a_failure_after_a_failure_is_known_open(tmp_path):
    bad = judge(answers(tmp_path, "sorry"), suite(SORRY), release="1.0")
    worse = gate_after([bad], tmp_path, "sorry", "sorry", release="1.1", now=NOW + timedelta(days=1))
    assert (worse.run["baseline_release"][0], worse.results["link"][0]) == ("1.0", "known open")


def test_an_earlier_gate_of_the_same_release_is_not_the_release_before(tmp_path):
    good = judge(answers(tmp_path, "fine"), suite(SORRY), release="1.1")
    assert gate_after([good], tmp_path, "sorry", release="1.1").results["link"][0] == "known open"


def test_a_gate_repeated_says_the_same_although_it_is_in_the_history(tmp_path):
    first = judge(answers(tmp_path, "sorry"), suite(SORRY))
    again = gate_after([first], tmp_path, "sorry")
    assert again.results.equals(first.results)


def test_a_resolved_issue_whose_failure_returns_is_told_but_not_blocked(tmp_path):
    rows = suite(SORRY, REFUND)
    states = pl.concat([issues(suite(SORRY), "resolved"), issues(suite(REFUND))])
    outcome = judge(answers(tmp_path, "sorry"), rows, issues=states)
    assert outcome.decision.decision == "pass"
    assert outcome.results["link"].to_list() == ["returned after resolution", None]


def test_of_many_failing_cases_the_first_fifty_are_named(tmp_path):
    results = judge(answers(tmp_path, *["sorry"] * 60), suite(SORRY)).results
    assert results["n_fail"][0] == 60
    assert len(results["failing_case_ids"][0]) == 50


def own(folder, *cases):
    """Cases as (output, issues)."""
    rows = [{"id": f"c{i}", "input": f"q{i}", "output": o, "issues": names} for i, (o, names) in enumerate(cases)]
    return read_cases(case_file(folder, *rows))


def test_where_cases_name_an_issue_its_evaluator_counts_these_alone(tmp_path):
    of_sorry, of_refund = ("sorry", ["iss_1"]), ("fine", [{"issue_id": "iss_2", "is_failure": False}])
    outcome = judge(own(tmp_path, of_sorry, ("fine", ["iss_1"]), *[of_refund] * 8), suite(SORRY, REFUND))
    sorry, refund = outcome.results.iter_rows(named=True)
    # 1 of its own 2 cases, not 1 of 10: among the cases of other issues it would pass.
    assert (sorry["n_own"], sorry["pass_rate"], sorry["outcome"]) == (2, 0.5, "failed")
    assert "1 of its own 2 cases show it" in sorry["reason"]
    assert (refund["n_own"], refund["pass_rate"]) == (8, 1.0)


def test_a_failure_among_the_cases_of_another_issue_is_told(tmp_path):
    outcome = judge(own(tmp_path, ("fine", ["iss_1"]), ("sorry", ["iss_2"])), suite(SORRY, REFUND))
    assert (outcome.decision.decision, outcome.results["n_fail_elsewhere"].to_list()) == ("pass", [1, 0])
    assert any("1 case of other issues show" in warning for warning in outcome.decision.warnings)


def test_an_evaluator_whose_issue_no_case_names_counts_all(tmp_path):
    outcome = judge(own(tmp_path, ("sorry", ["iss_2"]), ("sorry", [])), suite(SORRY))
    assert outcome.results.select("n_own", "n_fail").row(0) == (None, 2)


def test_what_each_evaluator_said_of_each_case_is_kept(tmp_path):
    outcome = judge(own(tmp_path, ("sorry", []), ("refund", [])), suite(SORRY, REFUND))
    assert outcome.cases.schema == GATE_CASES.schema
    kept = outcome.cases.select("case_id", "line", "passed", "failed", "faulted").rows()
    assert kept == [("c0", 1, ["ev_2"], ["ev_1"], []), ("c1", 2, ["ev_1"], ["ev_2"], [])]


def test_the_same_input_has_the_same_hash_whatever_was_answered(tmp_path):
    asked = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}], "input": "why"}
    path = case_file(tmp_path, asked | {"output": "a"}, asked | {"output": "b"}, {"input": "why", "output": "a"})
    first, second, other = input_hashes(read_cases(path).traces)
    assert first == second != other


def test_a_release_that_got_worse_on_the_same_inputs_is_a_regression_although_it_passes(tmp_path):
    before = judge(own(tmp_path, *[("fine", [])] * 100), suite(SORRY), release="1.0")
    now = judge(
        own(tmp_path, *[("sorry", [])] * 15, *[("fine", [])] * 85),
        suite(SORRY),
        release="1.1",
        history=after(before),
        now=NOW + timedelta(days=1),
    )
    result = now.results.row(0, named=True)
    assert (result["outcome"], result["pass_rate"], now.decision.decision) == ("passed", 0.85, "block")
    assert (result["compared"], result["n_compared"], result["is_regression"]) == ("paired", 100, True)
    assert result["p_worse"] == pytest.approx(0.5**15)  # fifteen cases turned, all for the worse


def test_cases_that_were_refused_are_counted_in_the_run(tmp_path):
    cases = read_cases(case_file(tmp_path, {"input": "q", "output": "fine"}, "{", '{"input": 1}'))
    outcome = judge(cases, suite(SORRY))
    assert outcome.run.select("n_cases", "n_refused").row(0) == (1, 2)
    assert outcome.decision.decision == "block"  # two of three is too many to tell


def test_an_artifact_that_was_changed_is_never_run(tmp_path):
    tampered = suite(SORRY).with_columns(artifact=pl.col("artifact").str.replace("sorry", "never", literal=True))
    with pytest.raises(ArtifactError):
        judge(answers(tmp_path, "sorry"), tampered)


def test_no_cases_is_an_error():
    with pytest.raises(InputError, match="no cases"):
        judge(TRACES.empty(), suite(SORRY))
