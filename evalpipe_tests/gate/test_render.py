"""A gate's outcome as CI, people and programs read it, with the texts of strangers in it."""

import io
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import polars as pl
import pytest
from rich.console import Console

from evalpipe.gate.decide import GatePolicy, decide
from evalpipe.gate.render.decision import decision_json
from evalpipe.gate.render.junit import junit_xml
from evalpipe.gate.render.markdown import markdown
from evalpipe.gate.render.terminal import terminal
from evalpipe.settings import GateSettings, Settings
from evalpipe_tests.gate.made import NOW, answers, flags, judge, suite

HOSTILE = "a|b `code` <script>alert(1)</script> [x](http://evil) @team \x00\x1b[31m \ud7ff\ufffe & *bold*\n# head"
SORRY = flags(1, "sorry", failure_mode=HOSTILE)
REFUND = flags(2, "refund")


@pytest.fixture
def blocked(tmp_path):
    return judge(answers(tmp_path, "sorry \x00<b>", "sorry", "fine", "fine", version="1.4|2"), suite(SORRY, REFUND))


def with_outcomes(outcome, said: str, *, evaluator_id: str):
    """The same gate, as if an evaluator had said this of every case."""
    changed = pl.when(pl.col("evaluator_id") == evaluator_id).then(pl.lit(said)).otherwise("outcome")
    return replace(outcome, verdicts=outcome.verdicts.with_columns(outcome=changed))


def test_junit_has_a_suite_per_evaluator_and_a_failure_per_failing_case(blocked):
    root = ElementTree.fromstring(junit_xml(blocked))
    assert root.tag == "testsuites"
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "8",
        "failures": "2",
        "errors": "0",
        "skipped": "0",
    }
    first, second = root
    assert (first.get("tests"), first.get("failures"), first.get("timestamp")) == ("4", "2", "2026-03-02T09:00:00")
    failing = [case.get("name") for case in first.iter("testcase") if case.find("failure") is not None]
    assert failing == ["c0", "c1"]
    assert second.get("failures") == "0"


def test_junit_tells_the_issue_and_the_reason(blocked):
    suite_element = ElementTree.fromstring(junit_xml(blocked))[0]
    facts = {p.get("name"): p.get("value") for p in suite_element.iter("property")}
    assert facts["issue"] == "iss_1"
    assert facts["link"] == "known open"
    assert "2 of 4 cases show it" in facts["reason"]


def test_junit_holds_no_character_that_xml_has_not(blocked):
    text = junit_xml(blocked)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", text)
    assert "<script>" not in text
    assert "<script>alert(1)</script>" in str(ElementTree.fromstring(text)[0].get("name"))  # read back, it is there


def test_a_fault_of_an_evaluator_that_could_not_tell_is_an_error_not_a_failure(blocked):
    sorry, refund = (result.run for result in blocked.decision.results)
    decision = decide([sorry, replace(refund, n_pass=0, n_fault=4)], GatePolicy())
    faulty = replace(with_outcomes(blocked, "fault", evaluator_id="ev_2"), decision=decision)
    root = ElementTree.fromstring(junit_xml(faulty))
    assert (root[1].get("failures"), root[1].get("errors")) == ("0", "5")  # four cases, and the evaluator itself


def test_a_failing_case_of_an_evaluator_that_passed_does_not_make_ci_red(tmp_path):
    outcome = judge(answers(tmp_path, "sorry", *["fine"] * 9), suite(SORRY))
    root = ElementTree.fromstring(junit_xml(outcome))
    assert outcome.decision.decision == "pass"
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "1")
    assert "let the release pass" in str(next(root.iter("skipped")).get("message"))


def test_what_a_monitor_says_does_not_make_ci_red(tmp_path):
    outcome = judge(answers(tmp_path, "sorry", "fine"), suite(SORRY, mcc=0.5))
    root = ElementTree.fromstring(junit_xml(outcome))
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "1")
    assert "only monitors" in str(next(root.iter("skipped")).get("message"))


def test_an_evaluator_that_was_not_asked_is_skipped_with_the_reason(tmp_path):
    root = ElementTree.fromstring(junit_xml(judge(answers(tmp_path, "a"), suite(SORRY, mcc=0.1))))
    assert root.get("skipped") == "1"
    assert "below 0.40" in str(next(root.iter("skipped")).get("message"))


def test_a_blocking_evaluator_that_could_not_tell_is_an_error(tmp_path):
    few = Settings(gate=GateSettings(min_cases=5))
    root = ElementTree.fromstring(junit_xml(judge(answers(tmp_path, "a"), suite(SORRY), settings=few)))
    assert root.get("errors") == "1"
    assert "5 needed" in str(next(root.iter("error")).get("message"))


def test_of_very_many_passing_cases_the_rest_is_one_line(tmp_path):
    root = ElementTree.fromstring(junit_xml(judge(answers(tmp_path, *["ok"] * 1_003), suite(REFUND))))
    names = [case.get("name") for case in root.iter("testcase")]
    assert len(names) == 1_001
    assert names[-1] == "3 more cases, all of which pass"


def test_markdown_says_the_decision_the_reasons_and_the_cases(blocked):
    text = markdown(blocked)
    assert text.startswith("## Must not ship")
    assert "2 of 4 cases show it" in text
    assert "says refund" in text
    assert "- c0: " in text


def test_markdown_from_strangers_stays_text(blocked):
    text = markdown(blocked)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {row.count("|") for row in rows} == {9}  # no cell was added
    for live in ("<script>", "](http", "`code`", "@team", "\n# head", "*bold*", "\x1b", "http://"):
        assert live not in text
    html_tags = set(re.findall(r"</?(\w+)", text))
    assert html_tags == {"details", "summary"}


def test_json_holds_the_run_the_results_and_the_exit_code(blocked):
    content = json.loads(decision_json(blocked))
    assert content["schema_version"] == "evalpipe.gate/1"
    assert (content["decision"], content["exit_code"], content["n_cases"]) == ("block", 1, 4)
    assert content["decided_at"] == NOW.isoformat().replace("+00:00", "Z")
    assert [row["evaluator_id"] for row in content["results"]] == ["ev_1", "ev_2"]
    assert content["results"][0]["failing_case_ids"] == ["c0", "c1"]
    assert content["blocking_reasons"] == list(blocked.decision.blocking_reasons)


def shown(outcome) -> str:
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=True).print(terminal(outcome))
    return out.getvalue()


def test_the_terminal_shows_the_table_the_reasons_and_the_headline(blocked):
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown(blocked))
    assert "says refund" in text
    assert "x a|b" in text
    assert text.rstrip().splitlines()[-1].startswith("Must not ship")


def test_no_control_character_of_a_stranger_reaches_the_terminal(blocked):
    assert "\x1b[31m \ud7ff" not in shown(blocked)
    assert "\x00" not in shown(blocked)


def test_a_gate_that_could_not_decide_says_so_everywhere(tmp_path):
    outcome = judge(answers(tmp_path, "a"), suite(SORRY, mcc=None, mcc_lower=None))
    assert markdown(outcome).startswith("## Could not decide")
    assert json.loads(decision_json(outcome))["exit_code"] == 2
    assert "Could not decide" in shown(outcome)
    assert ElementTree.fromstring(junit_xml(outcome)).get("skipped") == "1"
