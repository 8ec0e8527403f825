"""The webhook on a real server with real worker processes: who is heard, what is answered, what survives kill -9."""

import base64
import json
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import polars as pl
import pytest

import evalpipe
from evalpipe.tables import GATE_CASES, GATE_RESULTS, GATE_RUNS
from evalpipe_tests.ci.asking import ask as asked_by_script
from evalpipe_tests.ci.gate_server import KEY
from evalpipe_tests.gate.github_server import Github, Token, github
from evalpipe_tests.otlp.made import Application, json_bytes
from evalpipe_tests.web.gated import BAD, GOOD, JSON, SECRET, ask, body_of, gated_home, hub, standard
from evalpipe_tests.web.serving import Serving, becomes_true, serving

WHSEC = "whsec_" + base64.b64encode(b"k" * 24).decode()
LIMIT = 20  # requests of one secret a minute
MANY = 10_000  # cases: they are judged for long enough to be killed at it


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return gated_home(tmp_path_factory.mktemp("gated") / "home")


@pytest.fixture(scope="module")
def api():
    with github() as api:
        api.tokens["t0ken"] = Token()
        yield api


@pytest.fixture(scope="module")
def server(made, api: Github):
    settings = {
        "gate_secrets": f"ci={SECRET},pipeline={KEY},gitlab={WHSEC},busy=busy",
        "hook__max_body_bytes": 20_000,
        "ingest__request_timeout_s": 2,
        "hook__requests_per_minute": LIMIT,
        "github_token": "t0ken",
        "github__api_url": api.url,
    }
    with serving(made.root, **settings) as running:
        yield running


@pytest.fixture
def url(server: Serving) -> str:
    return f"{server.http}/gate"


@pytest.mark.parametrize("heading", ["Ask, as GitHub signs", "Ask, as GitLab signs (Standard Webhooks)"])
@pytest.mark.parametrize(("cases", "answer"), [(GOOD, ("pass", 0)), (BAD, ("block", 1))], ids=["good", "bad"])
def test_curl_as_documented_gets_the_decision_and_its_exit_code(url: str, tmp_path: Path, heading: str, cases, answer):
    is_github = "GitHub" in heading
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    (tmp_path / "body.json").write_bytes(body_of(cases=cases, release="1.4.0", commit="abc123"))
    known = {
        "EVALPIPE_URL": url.removesuffix("/gate"),
        "GATE_KEY": KEY if is_github else WHSEC,
        "GITHUB_SHA": "abc123",
        "GITHUB_RUN_ID": f"documented-{answer[1]}",
        "GITHUB_RUN_ATTEMPT": "1",
        "CI_JOB_ID": f"documented-{answer[1]}",
    }
    command = ["sh", "-c", _documented(heading)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | known, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    decision = json.loads((tmp_path / "decision.json").read_text() if is_github else done.stdout)
    assert (decision["decision"], decision["exit_code"]) == answer
    assert (decision["release"], decision["commit"], decision["n_cases"]) == ("1.4.0", "abc123", 5)
    assert decision["asked_by"] == ("pipeline" if is_github else "gitlab")
    if is_github:
        assert done.returncode == answer[1]


def _documented(heading: str) -> str:
    """The shell commands under a heading of docs/gate-webhook.md."""
    text = (Path(evalpipe.__file__).parent.parent / "docs/gate-webhook.md").read_text()
    _, _, section = text.partition(f"## {heading}\n")
    return section.partition("```sh\n")[2].partition("```")[0]


def test_gitlabs_form_is_answered_at_once_and_looked_up_later(url: str):
    body = body_of(cases=GOOD, release="2.0.0-good")
    taken = ask(url, body, standard(body, "msg_good"))
    assert taken.status_code == 202
    where = taken.headers["location"]
    assert where == taken.json()["url"] == f"/gate/{taken.json()['id']}"
    told = httpx.get(url.removesuffix("/gate") + where, params={"wait": "1"}, timeout=90).json()
    assert (told["status"], told["exit_code"], told["decision"]["decision"]) == ("done", 0, "pass")
    again = ask(url, body, standard(body, "msg_good", time.time() + 1))
    assert again.json()["id"] == taken.json()["id"]
    other = body_of(cases=BAD)
    assert ask(url, other, standard(other, "msg_good")).status_code == 422


@pytest.mark.parametrize(("cases", "code"), [(GOOD, 0), (BAD, 1)], ids=["good", "bad"])
def test_the_script_of_the_pipelines_is_answered(url: str, tmp_path: Path, cases: list[dict[str, str]], code: int):
    done = asked_by_script(tmp_path, url.removesuffix("/gate"), {"cases": cases, "release": "by script"})
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith("gate: pass\n- " if code == 0 else "gate: block\n- ")
    assert json.loads((tmp_path / "gate.json").read_text())["asked_by"] == "pipeline"


def test_the_script_of_the_pipelines_is_told_why_there_is_no_decision(url: str, tmp_path: Path):
    server = url.removesuffix("/gate")
    for question, environ, words in (
        ({"release": "9.9"}, {}, "(HTTP 422): release 9.9 was never seen"),
        ({"release": "9.9"}, {"EVALPIPE_GATE_KEY": "another"}, "(HTTP 401): no valid signature"),
        ({"cases": GOOD, "polcy": "article"}, {}, "(HTTP 400): polcy: not known"),
    ):
        done = asked_by_script(tmp_path, server, question, **environ)
        assert done.returncode == 2
        assert words in done.stderr


def test_two_gates_at_once_are_each_answered_and_kept_whole(url: str, made):
    asked = [body_of(cases=[case | {"id": f"{case['id']}-at-once"} for case in cases]) for cases in (GOOD, BAD)]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda body: ask(f"{url}?wait=1", body, hub(body)).json(), asked))
    assert [answer["exit_code"] for answer in answers] == [0, 1]
    for answer in answers:
        is_its = pl.col("gate_id") == answer["gate_id"]
        assert [made.lake.read(table, is_its).height for table in (GATE_RUNS, GATE_RESULTS, GATE_CASES)] == [1, 1, 5]


def test_traces_that_a_replay_sends_are_waited_for_and_judged(server: Serving, url: str):
    """The gate is asked when two of the three traces are there; one of the three fails."""
    replay = Application(**{"evalpipe.gate.id": "run-7"})

    def send(*outputs: str) -> None:
        for output in outputs:
            told = [{"role": "assistant", "parts": [{"type": "text", "content": output}]}]
            words = {"gen_ai.operation.name": "chat", "gen_ai.output.messages": json.dumps(told)}
            with replay.span("chat", words, lasts=10**9):
                pass
        sent = httpx.post(server.traces, content=json_bytes(replay.request()), headers=JSON, timeout=20)
        assert sent.status_code == 200

    send("all fine", "all fine as well")
    body = body_of(gate_ref="run-7", release="1.2.3", expected=3, wait_s=60)
    where = url.removesuffix("/gate") + ask(url, body, hub(body, KEY)).headers["location"]
    assert becomes_true(lambda: httpx.get(where).json()["status"] == "running")
    send("as an AI I cannot")
    told = httpx.get(f"{where}?wait=1", timeout=90).json()
    assert (told["status"], told["exit_code"]) == ("done", 1)
    assert (told["decision"]["n_cases"], told["decision"]["release"]) == (3, "1.2.3")


def test_github_is_told_of_a_decision_that_names_its_commit(url: str, api: Github):
    target = {"repository": "acme/shop", "sha": "a" * 40, "pull_request": 7}
    body = body_of(cases=BAD, release="on a pull request", github=target)
    answer = ask(f"{url}?wait=1", body, hub(body))
    where = url.removesuffix("/gate") + answer.headers["location"]
    assert becomes_true(lambda: "github" in httpx.get(where).json())
    assert httpx.get(where).json()["github"] == "status set; comment created"
    assert (api.statuses[-1]["sha"], api.statuses[-1]["state"]) == ("a" * 40, "failure")
    assert "on a pull request" in api.comments[-1]["body"]


def test_what_github_does_not_take_changes_no_decision(url: str):
    body = body_of(cases=GOOD, github={"repository": "acme/shop", "sha": "b" * 40})
    answer = ask(f"{url}?wait=1", body, hub(body))
    assert (answer.status_code, answer.json()["exit_code"]) == (200, 0)
    where = url.removesuffix("/gate") + answer.headers["location"]
    assert becomes_true(lambda: "github" in httpx.get(where).json())
    assert "it does not take it (422)" in httpx.get(where).json()["github"]


def test_a_replay_starts_nothing(url: str, made):
    body = body_of(cases=GOOD, release="replayed")
    first = ask(f"{url}?wait=1", body, hub(body), **{"idempotency-key": "k1"})
    n_runs = made.lake.read(GATE_RUNS).height
    assert ask(url, body, hub(body)).status_code == 409
    assert ask(url, body, hub(body), **{"idempotency-key": "k2"}).status_code == 409
    again = ask(f"{url}?wait=1", body, hub(body), **{"idempotency-key": "k1"})
    assert (again.status_code, again.json()) == (200, first.json())
    assert made.lake.read(GATE_RUNS).height == n_runs


@pytest.mark.parametrize(
    ("said", "headers", "status", "words"),
    [
        ({"cases": GOOD}, JSON, 401, "no valid signature"),
        ({"cases": GOOD}, hub(b"another body"), 401, "no valid signature"),
        ({"cases": GOOD}, {"content-type": "text/plain"}, 415, "application/json"),
        ({"cases": GOOD, "sent_at": 1.0}, None, 401, "300 s ago"),
        ({"cases": GOOD, "sent_at": 4e9}, None, 401, "in the future"),
        (b"{", None, 400, "not JSON"),
        (b"[1]", None, 400, "no JSON object"),
        (b'{"release": "1"}', None, 400, "sent_at is missing"),
        ({}, None, 400, "nothing is asked"),
        ({"cases": GOOD, "gate_ref": "x"}, None, 400, "not both"),
        ({"cases": GOOD, "polcy": "article"}, None, 400, "polcy"),
        ({"cases": []}, None, 400, "cases"),
        (
            {"release": "1", "github": {"repository": "../x", "sha": "0" * 40}},
            None,
            400,
            "github: '../x' is no GitHub repository",
        ),
        (b"x" * 20_001, None, 413, "20,000 bytes"),
    ],
)
def test_what_cannot_be_used_is_turned_away_in_words(url: str, said, headers, status: int, words: str):
    body = said if isinstance(said, bytes) else body_of(**said)  # made now, because it ages
    answer = ask(url, body, hub(body) if headers is None else headers)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_a_body_without_a_length_is_counted(url: str):
    answer = httpx.post(url, content=(b"x" * 1000 for _ in range(30)), headers=hub(b""))
    assert answer.status_code == 413


def test_bodies_that_never_end_keep_nobody_waiting_for_ever(url: str, server: Serving):
    """Eight bodies are read at once; each of these is given up after the two seconds that a request may take."""
    address = url.removeprefix("http://").removesuffix("/gate").split(":")
    head = "POST /gate HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 9\r\n"
    with ExitStack() as stack:
        for _ in range(20):
            slow = stack.enter_context(socket.create_connection((address[0], int(address[1]))))
            slow.sendall(f"{head}x-hub-signature-256: sha256=00\r\n\r\n".encode())
        assert httpx.get(url.removesuffix("/gate") + "/healthz", timeout=5).status_code == 200
        slow.settimeout(30)
        assert slow.recv(100).split(b" ")[1] in (b"408", b"503")
    body = body_of(cases=GOOD, release="after the slow ones")
    assert ask(f"{url}?wait=1", body, hub(body, KEY)).status_code == 200


def test_a_question_without_an_answer_is_refused_with_its_reason(url: str):
    for question, words in (
        ({"release": "9.9"}, "never seen"),
        ({"cases": [{"no": "case"}]}, "cannot be judged"),
        ({"release": "9.9", "expected": 3, "wait_s": 0.1}, "0 of 3 traces of release 9.9"),
    ):
        body = body_of(**question)
        answer = ask(f"{url}?wait=1", body, hub(body))
        assert answer.status_code == 422
        assert words in answer.json()["error"]
        assert "/requests/" not in answer.text
        assert httpx.get(url.removesuffix("/gate") + answer.json()["url"]).json()["exit_code"] == 2


def test_an_id_that_nobody_was_given_is_no_gate(url: str):
    assert httpx.get(f"{url}/{'0' * 32}").status_code == 404
    assert httpx.get(url).status_code == 405


def test_one_that_asks_too_often_is_told_when_to_come_again(url: str):
    answers = []
    for number in range(LIMIT + 1):
        body = body_of(release="9.9", commit=str(number))
        answers.append(ask(url, body, hub(body, "busy")))
    assert [answer.status_code for answer in answers] == [202] * LIMIT + [429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


def test_a_gate_goes_on_when_the_server_and_then_its_worker_are_killed_at_it(tmp_path: Path):
    made = gated_home(tmp_path / "home")
    settings = {"gate_secrets": f"ci={SECRET}", "hook__workers": 1}
    many = [{"id": str(n), "input": f"question {n}", "output": "as an AI I cannot"} for n in range(MANY)]
    with serving(made.root, **settings) as first:
        body = body_of(cases=many, release="killed")
        taken = ask(f"{first.http}/gate", body, hub(body)).json()
        assert _is_under_way(first, taken["url"])
        workers = _workers(made.root)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        assert becomes_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    with serving(made.root, **settings) as second:
        assert _is_under_way(second, taken["url"])
        os.kill(_workers(made.root)[0], signal.SIGKILL)
        told = httpx.get(f"{second.http}{taken['url']}?wait=1", timeout=90).json()
        assert (told["status"], told["exit_code"]) == ("done", 1)
        workers = _workers(made.root)
        assert second.end() == 0
        assert becomes_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert [made.lake.read(table).height for table in (GATE_RUNS, GATE_RESULTS, GATE_CASES)] == [1, 1, MANY]


def _is_under_way(server: Serving, url: str) -> bool:
    return becomes_true(lambda: httpx.get(f"{server.http}{url}").json()["status"] == "running", within_s=60)


def test_without_a_secret_nobody_may_ask(tmp_path: Path):
    with serving(tmp_path) as closed:
        body = body_of(release="1")
        answer = ask(f"{closed.http}/gate", body, hub(body))
        assert answer.status_code == 403
        assert "EVALPIPE_GATE_SECRETS" in answer.json()["error"]
        assert _workers(tmp_path) == []


def _workers(home: Path) -> list[int]:
    found = subprocess.run(["pgrep", "-f", f"evalpipe.gate_worker {home}"], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split()]
