"""Real pytest runs with the plugin: red exactly where the gate is, whoever answers, with and without workers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from evalpipe.gate.bundle import bundle_json
from evalpipe.gate.members import members_of
from evalpipe.settings import Settings
from evalpipe.tables import GATE_RESULTS, GATE_RUNS
from evalpipe_tests.evaluators.made import artifact
from evalpipe_tests.gate.made import NOW, case_file, flags, issues, suite

SORRY, REFUND = flags(1, "sorry"), flags(2, "refund")
EACH = [[], ["-n", "2"]]


class Run(NamedTuple):
    code: int
    text: str
    outcomes: dict[str, str]  # by name of the test
    messages: dict[str, str]


def pytest_in(folder: Path, *options: Any, workers: list[str] | None = None, **environment: str) -> Run:
    """pytest with this plugin, xdist, and no other."""
    plugins = ["-p", "evalpipe.pytest_plugin", "-p", "xdist.plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", folder, *plugins, "--junitxml=ran.xml"]
    done = subprocess.run(
        [str(part) for part in [*command, *(workers or []), *options]],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", **environment},
    )
    outcomes, messages = {}, {}
    if (folder / "ran.xml").exists():
        for case in ElementTree.parse(folder / "ran.xml").iter("testcase"):
            told = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
            kind = "passed" if told is None else told.get("type", told.tag).removeprefix("pytest.")
            name = case.get("name", "")
            outcomes[name] = "failed" if told is not None and told.tag == "failure" else kind
            messages[name] = "" if told is None else f"{told.get('message')}\n{told.text}"
    return Run(done.returncode, done.stdout + done.stderr, outcomes, messages)


def suite_in(folder: Path, *artifacts: Any, state: str = "active", **figures: Any) -> Path:
    rows = suite(*(artifacts or (SORRY, REFUND)), **figures)
    members = members_of(rows, issues(rows, state))
    path = folder / "suite.json"
    path.write_text(bundle_json(members, GATE_RUNS.empty(), GATE_RESULTS.empty(), Settings(), NOW), encoding="utf-8")
    return path


def cases_in(folder: Path, *outputs: str | None) -> Path:
    cases = [{"id": f"c{i}", "input": f"q{i}", "output": o} for i, o in enumerate(outputs)]
    return case_file(folder, *cases)


def write_tests(folder: Path, text: str) -> None:
    (folder / "test_application.py").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("workers", EACH)
def test_each_evaluator_is_an_item_which_fails_where_it_blocks(tmp_path, workers):
    options = ["--evalpipe-suite", suite_in(tmp_path), "--evalpipe-cases", cases_in(tmp_path, "sorry", "sorry", "fine")]
    ran = pytest_in(tmp_path, *options, workers=workers)
    assert ran.code == 1
    assert ran.outcomes == {"says sorry (ev_1)": "failed", "says refund (ev_2)": "passed", "decision": "failed"}
    # 2 of 3 show it: 33.3 % pass, 80 % are asked.
    assert "pass rate 33.3%" in ran.messages["says sorry (ev_1)"]
    assert "c0: " in ran.messages["says sorry (ev_1)"]
    assert "Must not ship" in ran.text


def test_a_good_release_is_green_and_the_files_are_written(tmp_path):
    files = ["--evalpipe-junit", "gate.xml", "--evalpipe-json", "gate.json", "--evalpipe-markdown", "gate.md"]
    options = ["--evalpipe-suite", suite_in(tmp_path), "--evalpipe-cases", cases_in(tmp_path, "fine", "good")]
    ran = pytest_in(tmp_path, *options, *files, "--evalpipe-release", "1.4")
    assert (ran.code, set(ran.outcomes.values())) == (0, {"passed"})
    assert "May ship: 2 of 2" in ran.text
    decision = json.loads((tmp_path / "gate.json").read_text())
    assert (decision["decision"], decision["release"], decision["asked_by"]) == ("pass", "1.4", "pytest")
    assert ElementTree.parse(tmp_path / "gate.xml").getroot().get("failures") == "0"
    assert "May ship" in (tmp_path / "gate.md").read_text()


def test_what_only_monitors_is_expected_to_fail_and_what_is_not_trusted_is_skipped(tmp_path):
    cases = cases_in(tmp_path, "sorry", "fine")
    monitoring = ["--evalpipe-suite", suite_in(tmp_path, SORRY, mcc=0.5), "--evalpipe-cases", cases]
    ran = pytest_in(tmp_path, *monitoring)
    assert (ran.code, ran.outcomes) == (0, {"says sorry (ev_1)": "xfail", "decision": "passed"})
    untrusted = ["--evalpipe-suite", suite_in(tmp_path, SORRY, mcc=0.3), "--evalpipe-cases", cases]
    ran = pytest_in(tmp_path, *untrusted)
    assert (ran.code, ran.outcomes) == (1, {"says sorry (ev_1)": "skip", "decision": "failed"})
    assert "Could not decide" in ran.text


def test_k_chooses_among_evaluators(tmp_path):
    options = ["--evalpipe-suite", suite_in(tmp_path), "--evalpipe-cases", cases_in(tmp_path, "sorry")]
    ran = pytest_in(tmp_path, *options, "-k", "refund")
    assert (ran.code, ran.outcomes) == (0, {"says refund (ev_2)": "passed"})


LIVE = """
import pytest

@pytest.mark.parametrize("n", range(10))
def test_answers(evalpipe_gate, n):
    judged = evalpipe_gate.judge(id=f"case {n}", input="where is my order?", output=OUTPUT[n])
    if n == 0:
        said = {v.evaluator_id: v.outcome for v in judged.verdicts}
        assert said == {"ev_1": "pass", "ev_2": "pass"}
    if n == 9:
        assert [v.failure_mode for v in judged.failures] == FAILURES
"""


def test_what_tests_answered_is_gated_at_the_end_with_and_without_workers_alike(tmp_path):
    suite_in(tmp_path)
    write_tests(tmp_path, LIVE + "OUTPUT = ['fine'] * 6 + ['sorry'] * 4\nFAILURES = ['says sorry']\n")
    options = ["--evalpipe-suite", "suite.json", "--evalpipe-json", "gate.json"]
    ids = set()
    for workers in EACH:
        ran = pytest_in(tmp_path, *options, workers=workers)
        # Every test passed, and yet 4 of 10 answers show it.
        assert (ran.code, set(ran.outcomes.values())) == (1, {"passed"})
        assert "Must not ship" in ran.text
        decision = json.loads((tmp_path / "gate.json").read_text())
        assert decision["n_cases"] == 10
        assert decision["results"][0]["failing_case_ids"] == ["case 6", "case 7", "case 8", "case 9"]
        ids.add(decision["gate_id"])
    assert len(ids) == 1


def test_answers_that_are_good_leave_pytest_green(tmp_path):
    suite_in(tmp_path)
    write_tests(tmp_path, LIVE + "OUTPUT = ['fine'] * 10\nFAILURES = []\n")
    ran = pytest_in(tmp_path, "--evalpipe-suite", "suite.json")
    assert ran.code == 0
    assert "May ship" in ran.text


def test_a_suite_without_a_case_decides_nothing_and_is_red(tmp_path):
    suite_in(tmp_path)
    write_tests(tmp_path, "def test_other(): pass\n")
    ran = pytest_in(tmp_path, "--evalpipe-suite", "suite.json")
    assert (ran.code, ran.outcomes) == (1, {"test_other": "passed"})
    assert "no test gave an answer to judge" in ran.text
    assert pytest_in(tmp_path, "--evalpipe-suite", "suite.json", "--collect-only").code == 0


ASKED = """
def test_application(evalpipe_case):
    assert evalpipe_case.expected_output is None
    if evalpipe_case.input != SILENT:
        evalpipe_case.answer(f"fine: {evalpipe_case.input}", tool_calls=[{"name": "look", "result": "x"}])
"""


def test_a_test_answers_each_case_that_has_no_output_yet(tmp_path):
    suite_in(tmp_path)
    cases_in(tmp_path, *[None] * 8, None, None)
    write_tests(tmp_path, ASKED + "SILENT = None\n")
    options = ["--evalpipe-suite", "suite.json", "--evalpipe-cases", "cases.jsonl", "--evalpipe-json", "gate.json"]
    ran = pytest_in(tmp_path, *options, workers=["-n", "2"])
    assert (ran.code, len(ran.outcomes)) == (0, 10)
    assert "test_application[c3]" in ran.outcomes
    decision = json.loads((tmp_path / "gate.json").read_text())
    assert (decision["decision"], decision["n_cases"], decision["n_refused"]) == ("pass", 10, 0)


def test_a_case_that_no_test_answered_counts_as_not_judged(tmp_path):
    suite_in(tmp_path)
    cases_in(tmp_path, None, None, None)
    write_tests(tmp_path, ASKED + "SILENT = 'q1'\n")
    ran = pytest_in(tmp_path, "--evalpipe-suite", "suite.json", "--evalpipe-cases", "cases.jsonl")
    # 1 of 3 is more than the fifth that may be missing.
    assert ran.code == 1
    assert "1 of 3 cases could not be read and were not judged" in ran.text


HOSTILE = "\x1b[31m<script>]]>\u202e::[x]\n\x00\r${{ secrets }}"


def test_text_of_strangers_stays_text(tmp_path):
    rule = {"rule": {"op": "contains", "field": "final", "any": ["sorry"]}}
    made = artifact(rule, evaluator_id="ev_1", issue_id="iss_1", failure_mode=HOSTILE)
    suite_in(tmp_path, made)
    case_file(tmp_path, *({"id": f"{HOSTILE}{i}", "input": HOSTILE, "output": f"sorry {HOSTILE}"} for i in range(3)))
    options = ["--evalpipe-suite", "suite.json", "--evalpipe-cases", "cases.jsonl", "--evalpipe-junit", "gate.xml"]
    ran = pytest_in(tmp_path, *options, workers=["-n", "1"])
    assert (ran.code, sorted(ran.outcomes.values())) == (1, ["failed", "failed"])
    assert not set(ran.text) & set("\x1b\x00\u202e\r")
    ElementTree.parse(tmp_path / "gate.xml")
    case_file(tmp_path, *({"id": f"{HOSTILE}{i}", "input": HOSTILE} for i in range(3)))
    write_tests(tmp_path, ASKED + "SILENT = None\n")
    ran = pytest_in(tmp_path, *options)
    assert (ran.code, len(ran.outcomes)) == (0, 3)
    assert not set(ran.text) & set("\x1b\x00\u202e\r")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--evalpipe-cases", "cases.jsonl"], "needs --evalpipe-suite"),
        (["--evalpipe-suite", "none.json"], "no such file"),
        (["--evalpipe-suite", "cases.jsonl"], "is no suite"),
        (["--evalpipe-suite", "suite.json", "--evalpipe-cases", "none.jsonl"], "no such file"),
        (["--evalpipe-suite", "suite.json", "--evalpipe-cases", "mixed.jsonl"], "line 2"),
    ],
)
def test_what_cannot_be_used_is_a_usage_error(tmp_path, options, words):
    suite_in(tmp_path)
    case_file(tmp_path, {"input": "q"}, "{", name="mixed.jsonl")
    cases_in(tmp_path, "fine")
    ran = pytest_in(tmp_path, *options)
    assert ran.code == 4
    assert words in ran.text
    assert "Traceback" not in ran.text


def test_what_is_no_answer_fails_the_test_and_not_the_run(tmp_path):
    suite_in(tmp_path)
    write_tests(
        tmp_path,
        """
import pytest
from evalpipe import InputError

def test_bad(evalpipe_gate):
    for case in ({"input": "q"}, {"output": "a"}, {"input": "q", "output": object()}):
        with pytest.raises(InputError, match="the case "):
            evalpipe_gate.judge(**case)
    evalpipe_gate.judge(input="q", output={"text": "fine"})
""",
    )
    ran = pytest_in(tmp_path, "--evalpipe-suite", "suite.json")
    assert (ran.code, ran.outcomes) == (0, {"test_bad": "passed"})


def test_without_a_suite_the_fixtures_skip_and_nothing_is_loaded(tmp_path):
    write_tests(
        tmp_path,
        """
import sys

def test_gate(evalpipe_gate): pass
def test_case(evalpipe_case): pass
def test_light(): assert not {"polars", "pydantic", "rich", "evalpipe.gate"} & set(sys.modules)
""",
    )
    ran = pytest_in(tmp_path)
    assert (ran.code, ran.outcomes) == (0, {"test_gate": "skip", "test_case": "skip", "test_light": "passed"})
    # What one that is not installed either would leave: evalpipe itself, its plugin, and nothing below.
    program = "import sys, pytest, evalpipe.pytest_plugin; print(*(m for m in sys.modules if m.startswith('evalpipe')))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == ["evalpipe", "evalpipe.pytest_plugin"]
