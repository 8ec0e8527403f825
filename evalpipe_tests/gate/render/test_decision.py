"""A gate as JSON: held to the schema that is published with it."""

import json
from importlib.resources import files

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalpipe.gate.cases import read_cases
from evalpipe.gate.render.decision import decision_json, decision_schema
from evalpipe.settings import GateSettings, Settings
from evalpipe_tests.gate.made import NOW, after, answers, case_file, flags, judge, suite
from evalpipe_tests.gate.render.made import REFUND, SORRY, blocked_gate, faulted_gate, passed_gate, worse_gate

PUBLISHED = json.loads((files("evalpipe.gate") / "decision.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(PUBLISHED, format_checker=jsonschema.FormatChecker())


def read(outcome) -> dict:
    content = json.loads(decision_json(outcome))
    VALIDATOR.validate(content)
    return content


def test_the_published_schema_is_a_schema_and_the_one_that_the_tables_make():
    VALIDATOR.check_schema(PUBLISHED)
    assert decision_schema() == PUBLISHED


@pytest.mark.parametrize("made", [blocked_gate, passed_gate, worse_gate, faulted_gate])
def test_every_outcome_fits_the_schema(tmp_path, made):
    read(made(tmp_path))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    outputs=st.lists(st.sampled_from(["sorry", "fine", "a refund"]) | st.text(max_size=8), min_size=1, max_size=6),
    mode=st.text(min_size=1, max_size=30).filter(str.strip),
    mcc=st.none() | st.floats(-1, 1),
    n_bad=st.integers(0, 3),
    on_abstain=st.sampled_from(["block", "warn"]),
    min_cases=st.integers(0, 5),
    policy=st.sampled_from(["default", "article"]),
    has_before=st.booleans(),
)
def test_any_outcome_fits_the_schema(tmp_path, outputs, mode, mcc, n_bad, on_abstain, min_cases, policy, has_before):
    lines = [{"input": f"q{i}", "output": output, "issues": ["iss_1"] * (i % 2)} for i, output in enumerate(outputs)]
    cases = read_cases(case_file(tmp_path, *lines, *["<no json>"] * n_bad))
    evaluators = suite(flags(1, "sorry", failure_mode=mode), REFUND, mcc=mcc, mcc_lower=mcc)
    gate = GateSettings(on_abstain=on_abstain, min_cases=min_cases, policy=policy)
    options = {"settings": Settings(gate=gate)}
    if has_before:
        options["history"] = after(judge(cases, evaluators, release="0", **options))
    read(judge(cases, evaluators, release="1", **options))


def test_it_holds_the_run_the_results_and_the_exit_code(tmp_path):
    blocked = blocked_gate(tmp_path)
    content = read(blocked)
    assert (content["decision"], content["exit_code"], content["n_cases"]) == ("block", 1, 4)
    assert content["decided_at"] == NOW.isoformat().replace("+00:00", "Z")
    assert [(row["evaluator_id"], row["is_blocking"]) for row in content["results"]] == [
        ("ev_1", True),
        ("ev_2", False),
    ]
    assert content["blocking_reasons"] == list(blocked.decision.blocking_reasons)
    cases = content["results"][0]["failing_cases"]
    assert [(case["case_id"], case["is_counted"]) for case in cases] == [("c0", True), ("c1", True)]
    assert "sorry" in cases[0]["explanation"]


def test_it_says_where_a_failing_and_a_refused_case_stand(tmp_path):
    path = case_file(
        tmp_path, "<no json>", {"id": "x", "input": "q", "output": "sorry"}, {"input": "q", "output": "ok"}
    )
    content = read(judge(read_cases(path), suite(SORRY)))
    assert content["refused"] == [{"line": 1, "reason": content["refused"][0]["reason"]}]
    assert "is not JSON" in content["refused"][0]["reason"]
    assert [(case["case_id"], case["line"]) for case in content["results"][0]["failing_cases"]] == [("x", 2)]


def test_it_holds_the_comparison_with_the_last_release(tmp_path):
    content = read(worse_gate(tmp_path))
    row = content["results"][0]
    assert content["baseline_release"] == "1"
    assert (row["compared"], row["baseline_pass_rate"], row["is_regression"]) == ("paired", 1.0, True)
    assert row["pass_rate_change"] == pytest.approx(-0.2)
    assert row["p_worse"] == pytest.approx(2**-20)


def test_of_very_many_failing_cases_the_first_are_told(tmp_path):
    row = read(judge(answers(tmp_path, *["a refund"] * 60), suite(REFUND)))["results"][0]
    assert (row["n_fail"], len(row["failing_cases"])) == (60, 50)
