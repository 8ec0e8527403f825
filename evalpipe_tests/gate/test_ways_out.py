"""The gate over a lake and from the command line: every form is where it was asked for."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from evalpipe.cli.app import app
from evalpipe.gate.on_lake import gate
from evalpipe.gate.request import GateRequest
from evalpipe.home import Home
from evalpipe.tables import GATE_RUNS
from evalpipe_tests.gate.made import NOW, case_file, flags
from evalpipe_tests.gate.small_home import small_home
from evalpipe_tests.gate.test_export import Backend, attributes, backend

__all__ = ["backend"]

GOOD = [{"id": f"c{i}", "input": f"q{i}", "output": "fine"} for i in range(5)]
BAD = [*GOOD[:2], *({"id": f"c{i}", "input": f"q{i}", "output": "a refund"} for i in (2, 3, 4))]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return small_home(tmp_path / "home", flags(2, "refund"))


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def asked(home: Home, cases: Path, *options: object) -> Result:
    arguments = ["--home", home.root, "gate", "--cases", cases, *options]
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def test_every_gate_keeps_all_its_forms(home: Home, tmp_path: Path):
    request = GateRequest(cases=case_file(tmp_path, *BAD))
    outcome = gate(home.lake, home.artifacts, request, settings=home.settings, now=NOW)
    kept = {path.name for path in (home.artifacts / "gates" / outcome.gate_id).iterdir()}
    assert kept == {"decision.json", "junit.xml", "summary.md", "sarif.json", "gate.html"}


def test_files_are_written_where_they_were_asked_for_and_their_folders_are_made(home: Home, tmp_path: Path):
    to = {name: tmp_path / "new" / name / "file" for name in ("junit", "markdown", "json", "sarif", "html")}
    done = asked(home, case_file(tmp_path, *BAD), *(part for name, path in to.items() for part in (f"--{name}", path)))
    assert done.exit_code == 1
    assert ElementTree.parse(to["junit"]).getroot().get("failures") == "3"
    assert to["markdown"].read_text().startswith("## ❌ Must not ship")
    assert json.loads(to["json"].read_text())["decision"] == "block"
    assert len(json.loads(to["sarif"].read_text())["runs"][0]["results"]) == 3
    assert "<h1>" in to["html"].read_text()
    assert "::error" not in done.output


def test_annotations_name_the_file_as_the_checkout_does(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    cases = case_file(tmp_path, *BAD)
    assert "::error file=cases.jsonl,line=3,title=says refund::c2: " in asked(home, cases).output
    assert "::error" not in asked(home, cases, "--no-annotations").output
    printed = asked(home, cases, "--json", "-").stdout
    assert json.loads(printed)["exit_code"] == 1  # and nothing else


def test_a_step_summary_is_added_to_what_steps_before_wrote(home: Home, tmp_path, monkeypatch: pytest.MonkeyPatch):
    summary = tmp_path / "summary.md"
    summary.write_text("# build\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    cases = case_file(tmp_path, *GOOD)
    assert asked(home, cases).exit_code == 0
    assert summary.read_text() == "# build\n"  # only where it is asked for
    asked(home, cases, "--markdown", summary)
    assert summary.read_text().startswith("# build\n## ✅ May ship")


def test_events_are_sent_and_counted(home: Home, tmp_path: Path, backend: Backend):
    done = asked(home, case_file(tmp_path, *BAD), "--otlp", backend.url)
    assert done.exit_code == 1
    assert "5 of 5 evaluation events were sent" in done.stderr
    assert sorted(attributes(record)["gen_ai.evaluation.score.label"] for record in backend.records) == [
        *["fail"] * 3,
        *["pass"] * 2,
    ]


def test_a_backend_that_refuses_changes_no_decision(home: Home, tmp_path: Path, backend: Backend):
    backend.answers = [400]
    done = asked(home, case_file(tmp_path, *GOOD), "--otlp", backend.url)
    assert done.exit_code == 0
    assert "0 of 5 evaluation events were sent" in done.stderr
    assert home.lake.read(GATE_RUNS).height == 1
