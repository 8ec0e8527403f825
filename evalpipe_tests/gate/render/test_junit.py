"""A gate as CI systems read it: held to the schema of Jenkins, and read back by a parser of others."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema
from junitparser import Error, Failure, JUnitXml, Skipped

from evalpipe.gate.cases import read_cases
from evalpipe.gate.render.junit import junit_xml
from evalpipe.settings import GateSettings, Settings
from evalpipe_tests.gate.made import answers, case_file, judge, suite
from evalpipe_tests.gate.render.made import REFUND, SORRY, blocked_gate, faulted_gate, passed_gate, worse_gate

JENKINS = xmlschema.XMLSchema(Path(__file__).parents[1] / "schemas" / "junit-10.xsd")
# What GitLab reads of a test case: docs.gitlab.com/ci/testing/unit_test_reports, "JUnit XML format specification".
GITLAB_CHILDREN = {"failure", "error", "skipped", "system-out", "system-err"}


def read(outcome) -> JUnitXml:
    """The file as junitparser reads it, after Jenkins' schema took it."""
    text = junit_xml(outcome)
    JENKINS.validate(text)
    return JUnitXml.fromstring(text.encode())


def told(outcome, kind) -> list[str]:
    """The names of the cases that have such a result."""
    return [case.name for one in read(outcome) for case in one for said in case.result if isinstance(said, kind)]


def unreadable(folder: Path, n_good: int, n_bad: int, **gate):
    path = case_file(folder, *[{"input": f"q{i}", "output": "fine"} for i in range(n_good)], *["<no json>"] * n_bad)
    return judge(read_cases(path), suite(REFUND), settings=Settings(gate=GateSettings(**gate)))


def test_the_failing_cases_of_what_blocks_are_failures(tmp_path):
    outcome = blocked_gate(tmp_path)
    assert told(outcome, Failure) == ["c0", "c1"]
    assert told(outcome, Error) == told(outcome, Skipped) == []
    # Four cases by two evaluators, and the decision.
    assert (read(outcome).tests, read(outcome).failures, read(outcome).errors) == (9, 2, 0)


def test_the_failing_case_of_an_evaluator_that_passed_its_rate_is_no_failure(tmp_path):
    outcome = passed_gate(tmp_path)
    assert outcome.decision.decision == "pass"
    assert told(outcome, Failure) == told(outcome, Error) == []
    assert told(outcome, Skipped) == ["c0"]
    assert "passed all the same" in junit_xml(outcome)


def test_the_failing_cases_of_a_regression_that_reaches_its_rate_are_failures(tmp_path):
    outcome = worse_gate(tmp_path)
    assert (outcome.decision.decision, outcome.decision.results[0].outcome) == ("block", "passed")
    assert len(told(outcome, Failure)) == 20
    assert "Worse than before beyond chance" in junit_xml(outcome)


def test_a_case_of_another_issue_is_not_a_failure(tmp_path):
    own = [{"id": f"own{i}", "input": "q", "output": "a refund", "issues": ["iss_2"]} for i in range(4)]
    other = {"id": "other", "input": "q", "output": "a refund", "issues": ["iss_9"]}
    outcome = judge(read_cases(case_file(tmp_path, *own, other)), suite(REFUND))
    assert told(outcome, Failure) == ["own0", "own1", "own2", "own3"]
    assert told(outcome, Skipped) == ["other"]


@pytest.mark.parametrize(("on_abstain", "is_red"), [("block", True), ("warn", False)])
def test_too_many_refused_cases_are_an_error_of_their_own_where_they_block(tmp_path, on_abstain, is_red):
    outcome = unreadable(tmp_path, 3, 2, on_abstain=on_abstain)  # 2 of 5 are more than a fifth
    assert (outcome.decision.exit_code == 1) is is_red
    assert told(outcome, Error if is_red else Skipped) == ["cases that could not be read"]
    assert "line 4: is not JSON" in junit_xml(outcome)


@pytest.mark.parametrize(("on_abstain", "is_red"), [("block", True), ("warn", False)])
def test_the_faults_of_a_blocking_abstention_are_errors(tmp_path, on_abstain, is_red):
    outcome = faulted_gate(tmp_path, on_abstain)
    assert told(outcome, Error if is_red else Skipped) == ["c0", "c1", "evaluator"]
    assert told(outcome, Failure) == []


def test_a_blocking_evaluator_that_could_not_tell_is_an_error(tmp_path):
    outcome = judge(answers(tmp_path, "a"), suite(SORRY, REFUND), settings=Settings(gate=GateSettings(min_cases=5)))
    assert set(told(outcome, Error)) == {"evaluator"}
    assert "5 needed" in junit_xml(outcome)


def test_what_a_monitor_says_does_not_make_ci_red(tmp_path):
    outcome = judge(answers(tmp_path, "sorry", "fine"), suite(SORRY, mcc=0.5))
    assert told(outcome, Failure) == told(outcome, Error) == []
    assert told(outcome, Skipped) == ["c0"]
    assert "only monitors" in junit_xml(outcome)


def test_a_gate_that_could_not_decide_is_an_error(tmp_path):
    outcome = judge(answers(tmp_path, "a"), suite(SORRY, mcc=0.1))
    assert told(outcome, Error) == ["decision"]
    assert "below 0.40" in junit_xml(outcome)


def test_what_gitlab_reads_is_there_and_each_case_is_named_once(tmp_path):
    for outcome in (blocked_gate(tmp_path), worse_gate(tmp_path)):
        root = ElementTree.fromstring(junit_xml(outcome))
        cases = list(root.iter("testcase"))
        names = [(case.get("classname"), case.get("name")) for case in cases]
        assert len(set(names)) == len(names)  # GitLab keeps the first of two with one name
        assert {child.tag for case in cases for child in case} <= GITLAB_CHILDREN
        assert all(child.text for case in cases for child in case)  # it shows the content alone
        assert all(case.get("classname").count(".") == 1 for case in cases)


def test_the_suite_tells_the_issue_and_the_reason(tmp_path):
    facts = {fact.name: fact.value for fact in list(read(blocked_gate(tmp_path)))[1].properties()}
    assert (facts["issue"], facts["link"], facts["is_blocking"]) == ("iss_1", "known open", "true")
    assert "2 of 4 cases show it" in facts["reason"]


def test_texts_of_strangers_are_text_and_hold_no_character_that_xml_has_not(tmp_path):
    text = junit_xml(blocked_gate(tmp_path))
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", text)
    assert "<script>" not in text
    assert "<script>alert(1)</script>" in str(ElementTree.fromstring(text)[1].get("name"))  # read back, it is there


def test_of_very_many_cases_the_rest_is_one_line(tmp_path):
    good = judge(answers(tmp_path, *["ok"] * 1_003), suite(REFUND))
    assert [case.name for case in list(read(good))[1]][-1] == "3 more cases, all of which pass"
    bad = judge(answers(tmp_path, *["a refund"] * 1_002), suite(REFUND))
    assert told(bad, Failure)[-1] == "2 more cases, all of which show the failure"
    assert read(bad).failures == 1_001
