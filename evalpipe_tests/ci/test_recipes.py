"""The recipes of docs/ci: they are of the form that their CI takes, and they stop a bad release and no good one.

Every script runs as it stands in the recipe, in a checkout whose application answers well or badly, against a real
suite. Of what a CI's image has, three stand in: `pip install evalpipe` and `apt-get install` find it installed, and
`python3 -m venv` makes a folder that has both. Nothing else is changed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

import evalpipe
from evalpipe.gate.bundle import bundle_json
from evalpipe.gate.members import members_of
from evalpipe.settings import Settings
from evalpipe.tables import GATE_RESULTS, GATE_RUNS
from evalpipe_tests.ci.gate_server import KEY, GateServer, gate_server
from evalpipe_tests.ci.recipes import FOLDER, Job, circleci_job, github_job, gitlab_job, jenkins_stages
from evalpipe_tests.gate.github_server import Github, Token, github
from evalpipe_tests.gate.made import NOW, flags, issues, suite

SHA = "a" * 40
TOKEN = "ghs_s3cret"
N_CASES = 12

_STAND_INS = {
    "evalpipe": f'exec "{sys.executable}" -m evalpipe "$@"',
    "pip": '[ "$*" = "install evalpipe" ]',
    "apt-get": 'for tool in curl jq openssl; do command -v "$tool" >/dev/null || exit 1; done',
    "python3": '[ "$1 $2" = "-m venv" ] && mkdir -p "$3/bin" && ln -s "$STAND_INS/evalpipe" "$STAND_INS/pip" "$3/bin"',
}


class Checkout(NamedTuple):
    """A repository with the recipes' files. `environ` is what every CI system sets."""

    root: Path
    environ: Mapping[str, str]

    def answers(self, output: str) -> None:
        """The application answers each case so."""
        script = self.root / "evals/answer_cases.sh"
        script.write_text(f"#!/bin/sh\njq -c --arg output '{output}' '.output = $output' \"$1\"\n", encoding="utf-8")
        script.chmod(0o755)

    def play(self, job: Job, **environ: str) -> tuple[int, str]:
        """The exit code of the first step that fails, else 0, and what the last one said."""
        said = ""
        for n, step in enumerate(job.steps):
            script = self.root.parent / f"step-{n}.sh"
            script.write_text(step.script, encoding="utf-8")
            done = subprocess.run(
                [*step.shell, str(script)],
                env={**self.environ, **environ, **step.environ},
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            said = done.stdout + done.stderr
            if done.returncode:
                return done.returncode, said
        return 0, said

    def n_failures(self, job: Job) -> int:
        """In the files that the CI system reads as test results."""
        paths = [self.root / path for path in job.junit]
        files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.xml"))]
        assert files, "there are no test results"
        return sum(len(list(ElementTree.parse(file).iter("failure"))) for file in files)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    evals, stand_ins = tmp_path / "checkout/evals", tmp_path / "bin"
    evals.mkdir(parents=True)
    stand_ins.mkdir()
    for name, script in _STAND_INS.items():
        (stand_ins / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (stand_ins / name).chmod(0o755)
    rows = suite(flags(1, "sorry"))
    members = members_of(rows, issues(rows))
    made = bundle_json(members, GATE_RUNS.empty(), GATE_RESULTS.empty(), Settings(), NOW)
    (evals / "suite.json").write_text(made, encoding="utf-8")
    cases = [{"id": f"c{n}", "input": f"Question {n} with 'quotes' and $HOME"} for n in range(N_CASES)]
    (evals / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
    asking = evals / "ask-gate.sh"
    asking.write_bytes((FOLDER / "ask-gate.sh").read_bytes())
    asking.chmod(0o755)
    return Checkout(
        evals.parent,
        {
            "CI": "true",
            "HOME": str(tmp_path),
            "PATH": f"{stand_ins}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(Path(evalpipe.__file__).parent.parent),
            "STAND_INS": str(stand_ins),
            "TMPDIR": str(tmp_path),
        },
    )


@pytest.fixture
def server() -> Iterator[GateServer]:
    with gate_server() as server:
        yield server


@pytest.fixture
def api() -> Iterator[Github]:
    with github() as api:
        api.tokens[TOKEN] = Token()
        yield api


GOOD, BAD = ("Here you are.", 0), ("I am sorry, I cannot.", 1)
both = pytest.mark.parametrize(("output", "code"), [GOOD, BAD], ids=["good", "bad"])


@pytest.mark.parametrize(
    ("schema", "name"),
    [("github-workflows", "github-actions.yml"), ("gitlab-ci", "gitlab-ci.yml"), ("circle-ci", "circleci.yml")],
)
def test_a_recipe_is_valid_by_the_published_schema_of_its_ci(schema: str, name: str):
    """The schemas are those that come with check-jsonschema: SchemaStore's, and GitLab's own."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_recipe_puts_what_strangers_write_into_a_script():
    """In a workflow an expression is pasted into the script before a shell reads it."""
    for name in ("gate", "ask"):
        assert not any("${{" in step.script for step in github_job(name, _EXPRESSIONS).steps)


_EXPRESSIONS = {
    "github.token": TOKEN,
    "vars.EVALPIPE_URL": "",
    "secrets.EVALPIPE_GATE_KEY": KEY,
    "github.event.pull_request.head.sha || github.sha": SHA,
    "github.event.pull_request.number": "7",
}


def _on_github(root: Path, api_url: str) -> dict[str, str]:
    """What GitHub Actions sets for pull request 7, whose merge is what is checked out."""
    event = root.parent / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": {"sha": SHA}}}), encoding="utf-8")
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": api_url,
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_RUN_ID": "12",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_SHA": "c" * 40,
        "GITHUB_STEP_SUMMARY": str(root.parent / "summary.md"),
    }


@both
def test_github_actions_gates_with_a_suite(checkout: Checkout, api: Github, output: str, code: int):
    checkout.answers(output)
    job = github_job("gate", _EXPRESSIONS)
    assert checkout.play(job, **_on_github(checkout.root, api.url))[0] == code
    assert checkout.n_failures(job) == code * N_CASES
    assert "evalpipe gate" in (checkout.root.parent / "summary.md").read_text(encoding="utf-8")
    (status,), (comment,) = api.statuses, api.comments
    assert (status["sha"], status["state"]) == (SHA, "failure" if code else "success")
    assert comment["body"].startswith("<!-- evalpipe-gate -->\n## ")
    assert all((checkout.root / path).exists() for path in job.kept)


@both
def test_gitlab_gates_with_a_suite(checkout: Checkout, output: str, code: int):
    checkout.answers(output)
    job = gitlab_job("gate", {})
    assert checkout.play(job, GITLAB_CI="true", CI_COMMIT_SHA=SHA)[0] == code
    assert checkout.n_failures(job) == code * N_CASES
    assert all((checkout.root / path).exists() for path in job.kept)


@both
def test_circleci_gates_with_a_suite(checkout: Checkout, output: str, code: int):
    checkout.answers(output)
    job = circleci_job("gate")
    assert checkout.play(job, CIRCLECI="true", CIRCLE_SHA1=SHA)[0] == code
    assert checkout.n_failures(job) == code * N_CASES
    assert all((checkout.root / path).exists() for path in job.kept)


@both
def test_jenkins_gates_with_a_suite(checkout: Checkout, output: str, code: int):
    checkout.answers(output)
    answered, gate, _ = jenkins_stages().values()
    job = Job((*answered, *gate), ("gate.xml",), ())
    assert checkout.play(job, JENKINS_URL="http://ci", GIT_COMMIT=SHA, RELEASE=SHA)[0] == code
    assert checkout.n_failures(job) == code * N_CASES


@pytest.mark.parametrize("ci", ["github", "gitlab", "jenkins", "circleci"])
@both
def test_a_running_server_is_asked(checkout: Checkout, server: GateServer, ci: str, output: str, code: int):
    checkout.answers(output)
    environ = {"EVALPIPE_URL": server.url, "EVALPIPE_GATE_KEY": KEY}
    match ci:
        case "github":
            job = github_job("ask", _EXPRESSIONS | {"vars.EVALPIPE_URL": server.url})
            environ |= _on_github(checkout.root, "")
        case "gitlab":
            job, environ = gitlab_job("ask", {"CI_COMMIT_SHA": SHA}), environ | {"CI_COMMIT_SHA": SHA}
        case "circleci":
            job, environ = circleci_job("ask"), environ | {"CIRCLE_SHA1": SHA}
        case _:
            answered, _, ask = jenkins_stages().values()
            job, environ = Job((*answered, *ask), (), ("gate.json",)), environ | {"GIT_COMMIT": SHA, "RELEASE": SHA}
    assert checkout.play(job, **environ)[0] == code
    ((_, question),) = server.asked
    assert (question["release"], question["commit"], len(question["cases"])) == (SHA, SHA, N_CASES)
    told = {"repository": "acme/shop", "sha": SHA, "pull_request": 7} if ci == "github" else None
    assert question.get("github") == told
    assert all((checkout.root / path).exists() for path in job.kept)


def test_an_application_that_answers_nothing_is_no_decision(checkout: Checkout):
    script = checkout.root / "evals/answer_cases.sh"
    script.write_text("#!/bin/sh\n", encoding="utf-8")
    script.chmod(0o755)
    code, said = checkout.play(gitlab_job("gate", {}), CI_COMMIT_SHA=SHA)
    assert code == 2
    assert "no cases" in said


def test_the_two_stages_of_jenkins_exclude_each_other_and_each_exit_code_has_its_words():
    text = (FOLDER / "Jenkinsfile").read_text(encoding="utf-8")
    assert list(jenkins_stages()) == ["Answer the regression cases with this version", "Gate", "Ask"]
    assert text.count("when { expression { !env.EVALPIPE_URL } }") == 1
    assert text.count("when { expression { env.EVALPIPE_URL } }") == 1
    assert text.count("decided(sh(returnStatus: true") == 2


def test_the_script_that_asks_can_be_run_from_a_fresh_clone():
    assert os.access(FOLDER / "ask-gate.sh", os.X_OK)
