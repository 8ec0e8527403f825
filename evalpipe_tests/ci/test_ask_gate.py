"""docs/ci/ask-gate.sh, run by the shells that CI systems have, against a server that verifies what it signs."""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalpipe_tests.ci.asking import ask
from evalpipe_tests.ci.gate_server import GATE, GateServer, Said, gate_server

SHELLS = [shell for shell in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(shell[0])]


@pytest.fixture
def server() -> Iterator[GateServer]:
    with gate_server() as server:
        yield server


GOOD = {"cases": [{"input": "é $HOME `id` 'q' \"q\"", "output": "fine"}]}
BAD = {"cases": [{"input": "q", "output": "sorry"}]}


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(("question", "code"), [(GOOD, 0), (BAD, 1)])
def test_a_decision_is_its_exit_code(tmp_path: Path, server: GateServer, shell: list[str], question: Any, code: int):
    done = ask(tmp_path, server.url, question, shell=shell)
    assert (done.returncode, done.stderr) == (code, "")
    assert server.asked[0][1] == question
    assert json.loads((tmp_path / "gate.json").read_text())["exit_code"] == code
    assert done.stdout.startswith("gate: pass\n- 0 of 1 cases" if code == 0 else "gate: block\n- 1 of 1 cases")
    assert [path.name for path in tmp_path.iterdir()] == ["gate.json"]  # it leaves nothing else


def test_what_is_said_gives_no_command_to_the_ci(tmp_path: Path, server: GateServer):
    done = ask(tmp_path, server.url, GOOD)
    assert done.stdout.splitlines()[2] == "- a name : :set-env name=X: : [31m"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_decision_that_takes_long_is_waited_for(tmp_path: Path, server: GateServer, shell: list[str]):
    server.n_waits = 3
    done = ask(tmp_path, server.url + "/", BAD, shell=shell, EVALPIPE_ANSWER="answer.json")
    assert (done.returncode, done.stderr, server.polls) == (1, "", 3)
    assert json.loads((tmp_path / "answer.json").read_text())["decision"]["decision"] == "block"


def test_a_decision_that_never_comes_is_no_decision(tmp_path: Path, server: GateServer):
    server.n_waits = 10**9
    done = ask(tmp_path, server.url, GOOD, EVALPIPE_PATIENCE_S="1", EVALPIPE_POLL_S="1")
    assert done.returncode == 2
    assert "not decided within 1 s" in done.stderr


def test_a_server_that_fails_at_first_is_asked_again_with_the_same_key(tmp_path: Path, server: GateServer):
    server.faults = [Said(503, {"error": "64 gates are waiting already"})]
    assert ask(tmp_path, server.url, GOOD).returncode == 0
    assert len(server.keys) == 2
    assert server.keys[0] == server.keys[1] != ""


def test_each_question_has_its_own_key(tmp_path: Path, server: GateServer):
    ask(tmp_path, server.url, GOOD)
    ask(tmp_path, server.url, GOOD)
    assert len(set(server.keys)) == 2


@pytest.mark.parametrize(
    ("question", "environ", "said"),
    [
        (GOOD, {"EVALPIPE_GATE_KEY": "another"}, "the gate did not decide (HTTP 401): no valid signature"),
        ({"release": "9.9.9"}, {}, "the gate did not decide (HTTP 422): release 9.9.9 was never seen"),
        (GOOD, {"EVALPIPE_GATE_KEY": ""}, "EVALPIPE_GATE_KEY is not set"),
        (GOOD, {"EVALPIPE_URL": ""}, "EVALPIPE_URL is not set"),
        (GOOD, {"EVALPIPE_URL": "file:///etc/passwd"}, "EVALPIPE_URL is not set to http"),
        (GOOD, {"EVALPIPE_PATIENCE_S": "1h"}, "EVALPIPE_PATIENCE_S is not a whole number"),
        (GOOD, {"EVALPIPE_ANSWER": "no/such/folder.json"}, "cannot be written"),
        (GOOD, {"PATH": "/nowhere"}, "curl is not installed"),
        ("", {}, "is not one JSON object"),
        ("{} {}", {}, "is not one JSON object"),
        ("[]", {}, "is not one JSON object"),
        ("{", {}, "is not one JSON object"),
    ],
)
@pytest.mark.parametrize("shell", [["/usr/bin/env", "dash"], ["/usr/bin/env", "bash"]], ids=lambda shell: shell[1])
def test_what_goes_wrong_is_never_taken_for_a_decision(
    tmp_path: Path, server: GateServer, shell: list[str], question: Any, environ: dict[str, str], said: str
):
    shell = [str(shutil.which(shell[1]))]
    done = ask(tmp_path, server.url, question, shell=shell, **environ)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Said(200, "what?"), "has no exit code"),
        (Said(200, {"decision": "pass"}), "has no exit code"),
        (Said(200, {"decision": "pass", "exit_code": 137}), "has no exit code"),
        (Said(200), "has no exit code"),
        (Said(302), "the gate did not decide (HTTP 302)"),
        (Said(202, {"url": "https://elsewhere.example/gate/1"}), "does not say where"),
        (Said(202, {"url": f"/gate/{GATE[::-1]}"}), "the gate did not decide (HTTP 404): there is no such gate"),
    ],
)
def test_an_answer_that_is_none_is_no_decision(tmp_path: Path, server: GateServer, fault: Said, said: str):
    server.faults = [fault]
    done = ask(tmp_path, server.url, GOOD)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_server_that_hangs_up_or_is_not_there_is_no_decision(tmp_path: Path, server: GateServer):
    server.faults = [None, None, None]
    hung_up = ask(tmp_path, server.url, GOOD)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        begun = time.monotonic()
        refused = ask(tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}", GOOD)
    assert time.monotonic() - begun > 0.9  # it was tried again, after a second
    assert (hung_up.returncode, refused.returncode) == (2, 2)
    assert "gives no answer. Is evalpipe serve running" in refused.stderr
