"""A gate as SARIF: held to the schema of OASIS."""

import json
from pathlib import Path

import jsonschema
import pytest

from evalpipe.gate.cases import read_cases
from evalpipe.gate.render.links import Links
from evalpipe.gate.render.sarif import sarif
from evalpipe_tests.gate.made import case_file, judge, suite
from evalpipe_tests.gate.render.made import REFUND, blocked_gate, faulted_gate, passed_gate, worse_gate

VALIDATOR = jsonschema.Draft4Validator(
    json.loads((Path(__file__).parents[1] / "schemas" / "sarif-2.1.0.json").read_text()),
    format_checker=jsonschema.FormatChecker(),
)


def read(outcome, **options) -> dict:
    content = json.loads(sarif(outcome, **options))
    VALIDATOR.validate(content)
    return content["runs"][0]


@pytest.mark.parametrize("made", [blocked_gate, passed_gate, worse_gate, faulted_gate])
def test_every_outcome_fits_the_schema(tmp_path, made):
    read(made(tmp_path), cases_file="a b/cases.jsonl", links=Links("https://evals.example"))


def test_a_failing_case_stands_at_its_line_of_the_file(tmp_path):
    fine, bad = {"input": "q", "output": "ok"}, {"id": "x", "input": "q", "output": "a refund"}
    outcome = judge(read_cases(case_file(tmp_path, fine, bad)), suite(REFUND))
    (found,) = read(outcome, cases_file="./tests/my cases.jsonl")["results"]
    assert found["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "tests/my%20cases.jsonl"},
        "region": {"startLine": 2},
    }
    assert found["level"] == "error"
    (without,) = read(outcome)["results"]
    assert "physicalLocation" not in without["locations"][0]
    assert without["partialFingerprints"] == found["partialFingerprints"]


def test_what_does_not_block_is_a_note(tmp_path):
    run = read(passed_gate(tmp_path))
    assert [found["level"] for found in run["results"]] == ["note"]
    assert run["invocations"][0]["exitCode"] == 0


def test_a_rule_is_an_evaluator_and_leads_to_its_issue(tmp_path):
    run = read(blocked_gate(tmp_path), links=Links("https://evals.example/"))
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["ev_1", "ev_2"]
    assert rules[0]["helpUri"] == "https://evals.example/review/issues/iss_1"
    assert {found["ruleId"] for found in run["results"]} == {"ev_1"}


def test_texts_of_strangers_make_no_link_and_no_placeholder(tmp_path):
    description = read(blocked_gate(tmp_path))["tool"]["driver"]["rules"][0]["shortDescription"]["text"]
    assert "\\[x\\](http" in description
    assert "\x00" not in description
