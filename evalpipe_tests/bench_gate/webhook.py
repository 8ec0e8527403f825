"""How long CI waits: from POST /gate to the verdict, through the Dagster job, with Dagster's daemon running.

`evalpipe up` runs on a copy of a demo home: receivers, workers, Dagster's webserver and its daemon. Gates are asked one
after another, once with the server to itself and once with another gate under way all the time; then the same is
launched through Dagster's webserver.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import httpx

from evalpipe_tests.web.gated import SECRET, ask, body_of, hub
from evalpipe_tests.web.serving import becomes_true

_HTTP, _GRPC, _UI = 25_318, 25_317, 25_300
_HOOK = f"http://127.0.0.1:{_HTTP}/gate"
_GRAPHQL = f"http://127.0.0.1:{_UI}/graphql"
_LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
_LOOK = "query($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"


class Waited(NamedTuple):
    """Seconds from each question to its verdict."""

    alone: list[float]
    beside_another: list[float]
    through_graphql: list[float]


def waited(home: Path, *, n: int, n_launches: int, n_cases: int) -> Waited:
    """Ask `n` gates of each kind, each of `n_cases` that were never judged before; `home` is written to."""
    lines = sorted((home / "demo").glob("cases-*.jsonl"))[-1].read_text(encoding="utf-8").splitlines()
    path = home.absolute() / "bench-cases.jsonl"
    with _up(home):
        alone = [_posted(lines, n_cases, salt) for salt in range(n)]
        with _another_under_way(lines, n_cases):
            beside = [_posted(lines, n_cases, 10_000 + salt) for salt in range(n)]
        launched = [_launched(path, _cases(lines, n_cases, 0)) for _ in range(n_launches)]
    return Waited(alone, beside, launched)


def _cases(lines: list[str], n: int, salt: int) -> list[dict[str, Any]]:
    """Cases that were never judged before: the same question again would be kept already."""
    return [json.loads(lines[i % len(lines)]) | {"id": f"bench-{time.time_ns()}-{salt}-{i}"} for i in range(n)]


def _posted(lines: list[str], n_cases: int, salt: int) -> float:
    body = body_of(cases=_cases(lines, n_cases, salt), release=f"bench-{salt}")
    headers = hub(body)
    started_at = time.perf_counter()
    answer = ask(f"{_HOOK}?wait=1", body, headers)
    waited_s = time.perf_counter() - started_at
    assert answer.status_code == 200, answer.text
    return waited_s


def _launched(path: Path, cases: list[dict[str, Any]]) -> float:
    path.write_text("\n".join(json.dumps(case) for case in cases), encoding="utf-8")
    parameters = {
        "selector": {
            "repositoryLocationName": "evalpipe",
            "repositoryName": "__repository__",
            "jobName": "gate_job",
        },
        "mode": "default",
        "runConfigData": {"ops": {"gate_runs": {"config": {"cases": str(path)}}}},
    }
    started_at = time.perf_counter()
    launched = _asked(_LAUNCH, p=parameters)["launchRun"]
    run_id = launched["run"]["runId"]
    assert becomes_true(lambda: _is_over(run_id), within_s=120)
    return time.perf_counter() - started_at


def _is_over(run_id: str) -> bool:
    return _asked(_LOOK, id=run_id)["runOrError"]["status"] in ("SUCCESS", "FAILURE")


def _asked(query: str, **variables: Any) -> dict[str, Any]:
    return httpx.post(_GRAPHQL, json={"query": query, "variables": variables}, timeout=60).json()["data"]


@contextmanager
def _another_under_way(lines: list[str], n_cases: int) -> Iterator[None]:
    is_over = Event()

    def keep_asking() -> None:
        n = 0
        while not is_over.is_set():
            n += 1
            _posted(lines, n_cases, 1_000_000 + n)

    thread = Thread(target=keep_asking)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextmanager
def _up(home: Path) -> Iterator[None]:
    settings = {"EVALPIPE_GATE_SECRETS": f"ci={SECRET}", "EVALPIPE_HOOK__REQUESTS_PER_MINUTE": "100000"}
    ports = ["--port", str(_UI), "--http-port", str(_HTTP), "--grpc-port", str(_GRPC)]
    command = [sys.executable, "-m", "evalpipe", "--home", str(home), "up", *ports]
    process = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert becomes_true(lambda: _is_up(f"http://127.0.0.1:{_HTTP}/healthz"), within_s=120)
        assert becomes_true(lambda: _is_up(f"http://127.0.0.1:{_UI}/server_info"), within_s=180)
        time.sleep(20)  # the daemon loads the definitions, and the workers get ready
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
