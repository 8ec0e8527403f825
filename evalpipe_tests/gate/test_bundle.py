"""A suite that travels as one file: the same decision elsewhere, and nothing that was changed on the way is run."""

import json
import subprocess
import sys
from datetime import timedelta
from importlib import resources

import jsonschema
import polars as pl
import pytest
from referencing import Registry, Resource

from evalpipe.errors import ArtifactError, InputError
from evalpipe.evaluators.artifact import json_schema as artifact_schema
from evalpipe.gate.bundle import bundle_json, json_schema, read_bundle
from evalpipe.gate.members import members_of
from evalpipe.gate.portable import gate_with
from evalpipe.gate.request import GateRequest
from evalpipe.settings import GateSettings, Settings
from evalpipe.tables import GATE_RESULTS, GATE_RUNS
from evalpipe_tests.gate.made import NOW, answers, case_file, flags, issues, judge, suite

SORRY, REFUND = flags(1, "sorry"), flags(2, "refund")


def exported(*artifacts, runs=None, results=None, settings=None, now=NOW, state="active"):
    rows = suite(*(artifacts or (SORRY, REFUND)))
    members = members_of(rows, issues(rows, state))
    return bundle_json(
        members,
        GATE_RUNS.empty() if runs is None else runs,
        GATE_RESULTS.empty() if results is None else results,
        settings or Settings(),
        now,
    )


def written(folder, text):
    path = folder / "suite.json"
    path.write_text(text, encoding="utf-8")
    return path


def cases_in(folder, *outputs):
    return case_file(folder, *({"id": f"c{i}", "input": f"q{i}", "output": o} for i, o in enumerate(outputs)))


def test_the_decision_is_the_one_of_the_home(tmp_path):
    outputs = ("sorry", "sorry", "fine")
    request = GateRequest(cases=cases_in(tmp_path, *outputs))
    elsewhere = gate_with(written(tmp_path, exported()), request, settings=Settings(), now=NOW)
    at_home = judge(answers(tmp_path, *outputs), suite(SORRY, REFUND))
    assert elsewhere.decision.decision == at_home.decision.decision == "block"
    counts = ("evaluator_id", "role", "outcome", "n_pass", "n_fail", "mcc", "link")
    assert elsewhere.results.select(counts).equals(at_home.results.select(counts))


def test_equal_suites_are_equal_bytes_but_for_the_time():
    one, other = json.loads(exported()), json.loads(exported(REFUND, SORRY, now=NOW + timedelta(days=1)))
    assert one.pop("created_at") != other.pop("created_at")
    assert one == other


def test_a_release_is_compared_with_the_last_one_of_the_home(tmp_path):
    before = judge(answers(tmp_path, *["fine"] * 40), suite(SORRY), release="1.0")
    text = exported(SORRY, runs=before.run, results=before.results)
    request = GateRequest(cases=cases_in(tmp_path, *["sorry"] * 15, *["fine"] * 85), release="1.1")
    outcome = gate_with(written(tmp_path, text), request, settings=Settings(), now=NOW)
    result = outcome.results.row(0, named=True)
    assert (result["compared"], result["baseline_pass_rate"], outcome.run["baseline_release"][0]) == (
        "unpaired",
        1.0,
        "1.0",
    )


def test_the_thresholds_of_the_home_travel_and_those_set_here_stand_before_them(tmp_path):
    path = written(tmp_path, exported(SORRY, settings=Settings(gate=GateSettings(pass_rate=0.95))))
    request = GateRequest(cases=cases_in(tmp_path, "sorry", *["fine"] * 9))
    assert gate_with(path, request, settings=Settings(), now=NOW).decision.decision == "block"
    here = Settings(gate=GateSettings(pass_rate=0.5))
    assert gate_with(path, request, settings=here, now=NOW).decision.decision == "pass"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda s: s.update(schema_version="evalpipe.suite/2"), InputError, "made by a newer version"),
        (lambda s: s.update(made_with="99.0"), InputError, "made by a newer version"),
        (lambda s: s.update(schema_version="other/1"), InputError, "is no suite"),
        (lambda s: s["evaluators"][0].update(mcc=1.0), InputError, "checksum does not match"),
        (lambda s: s["evaluators"][0]["artifact"].update(failure_mode="x"), ArtifactError, "checksum does not match"),
        (lambda s: s.pop("evaluators"), InputError, "evaluators"),
        (lambda s: s.update(evaluators=[]), InputError, "evaluators"),
        (lambda s: s["evaluators"].append(s["evaluators"][0]), InputError, "twice"),
    ],
)
def test_what_was_changed_or_is_newer_is_refused_with_what_to_do(tmp_path, change, error, words):
    content = json.loads(exported())
    change(content)
    with pytest.raises(error, match=words):
        read_bundle(written(tmp_path, json.dumps(content)))


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\x00"])
def test_what_is_no_json_object_is_no_suite(tmp_path, text):
    with pytest.raises(InputError, match="is no suite"):
        read_bundle(written(tmp_path, text))


def test_the_published_schema_is_that_of_the_model_and_accepts_an_export():
    published = json.loads(resources.files("evalpipe.gate").joinpath("suite.schema.json").read_text())
    # To publish a changed model, write json.dumps(json_schema(), indent=2) to that file.
    assert published == json_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    evaluator = Resource.from_contents(artifact_schema())
    validator = jsonschema.Draft202012Validator(published, registry=Registry().with_resource(evaluator.id(), evaluator))
    content = json.loads(exported())
    validator.validate(content)
    content["evaluators"][0]["artifact"]["version"] = 0
    assert not validator.is_valid(content)


def test_traffic_is_not_gated_with_a_file(tmp_path):
    with pytest.raises(InputError, match="traffic is in the home"):
        gate_with(written(tmp_path, exported()), GateRequest(release="1"), settings=Settings(), now=NOW)


def test_the_command_needs_no_home_and_loads_nothing_heavy(tmp_path):
    cases, path = cases_in(tmp_path, "sorry", "fine"), written(tmp_path, exported())
    heavy = "dagster dspy sklearn gepa litellm altair scipy deltalake starlette uvicorn grpc"
    program = f"""
import sys
from evalpipe.cli.app import app
sys.argv = ["evalpipe", "gate", "--suite", {str(path)!r}, "--cases", {str(cases)!r}, "--json", "-"]
try:
    app()
except SystemExit as end:
    print(end.code, *sorted(set({heavy.split()!r}) & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "1"
    assert json.loads(done.stdout)["decision"] == "block"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cases.jsonl", "suite.json"]


def test_a_file_that_is_asked_for_is_written_in_place(tmp_path):
    cases, path = cases_in(tmp_path, "fine"), written(tmp_path, exported())
    target, link = tmp_path / "target.xml", tmp_path / "new" / "link.xml"
    target.write_text("before")
    link.parent.mkdir()
    link.symlink_to(target)
    asked = ["gate", "--suite", path, "--cases", cases, "--junit", link, "--markdown", tmp_path / "made" / "gate.md"]
    subprocess.run([sys.executable, "-m", "evalpipe", *map(str, asked)], cwd=tmp_path, check=True, capture_output=True)
    assert link.is_symlink()
    assert target.read_text().startswith("<?xml")
    assert (tmp_path / "made" / "gate.md").read_text().startswith("## ✅ May ship")


def test_a_solved_issue_watches_on_in_the_file(tmp_path):
    path = written(tmp_path, exported(state="resolved"))
    outcome = gate_with(path, GateRequest(cases=cases_in(tmp_path, "sorry")), settings=Settings(), now=NOW)
    assert outcome.results.filter(pl.col("outcome") == "failed")["role"].to_list() == ["monitoring"]
