"""What becomes of a request when workers die, time passes and the server starts again, without processes."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from evalpipe.errors import SettingsError
from evalpipe.home import Home
from evalpipe.settings import AlertSettings, GithubSettings, HookSettings, Settings
from evalpipe.web.hook_desk import Desk, TurnedAwayError, answering
from evalpipe.web.hook_workers import Reply, WorkerDiedError, Workers
from evalpipe_tests.gate.github_server import Github, Said, Token, github
from evalpipe_tests.web.gated import GOOD, SECRET, body_of, hub

NOW = 1_800_000_000.0
DECIDED = {
    "kind": "decided",
    "run_id": "run",
    "gate_id": "gate_1",
    "exit_code": 1,
    "decision": '{"decision": "block", "headline": "It may not ship"}',
}


class Scripted(Workers):
    """Workers that answer what a test says; None dies."""

    def __init__(self, *replies: Reply | None) -> None:
        super().__init__()
        self.replies = list(replies)
        self.asked: list[Mapping[str, Any]] = []

    async def ask(self, task: Mapping[str, Any], on_start: Callable[[], None] = lambda: None) -> Reply:
        on_start()
        self.asked.append(task)
        reply = self.replies.pop(0)
        if reply is None:
            raise WorkerDiedError
        return reply


class Stuck(Workers):
    """Workers that never answer."""

    async def ask(self, task: Mapping[str, Any], on_start: Callable[[], None] = lambda: None) -> Reply:
        return await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def desk_of(root: Path, workers: Workers, *, now: float = NOW, **more: Any):
    hook = HookSettings(secrets={"ci": SecretStr(SECRET)})
    desk = Desk(Home(Settings(home=root, hook=hook, **more)), workers, clock=lambda: now)
    desk.take_up()
    try:
        yield desk
    finally:
        await desk.close()


def headers_of(body: bytes, **more: str) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode() for name, value in (hub(body) | more).items()}


def test_a_request_of_which_two_workers_die_is_given_up_in_words(tmp_path: Path):
    async def outcome():
        body = body_of(NOW, cases=GOOD)
        async with desk_of(tmp_path, Scripted(None, None)) as desk:
            return await desk.finished((await desk.take(headers_of(body), body)).id, 10)

    entry = asyncio.run(outcome())
    assert entry is not None
    assert (entry.status, entry.n_deaths) == ("failed", 2)
    assert "2 processes died while they judged this" in str(entry.error)


def test_one_dead_worker_is_chance_and_another_judges(tmp_path: Path):
    async def outcome():
        body = body_of(NOW, cases=GOOD)
        async with desk_of(tmp_path, Scripted(None, DECIDED)) as desk:
            return await desk.finished((await desk.take(headers_of(body), body)).id, 10)

    entry = asyncio.run(outcome())
    assert entry is not None
    assert (entry.status, entry.exit_code) == ("done", 1)


def test_cases_as_they_came_are_on_the_disk_until_they_are_judged_and_no_longer(tmp_path: Path):
    folder = tmp_path / "gates" / "requests"

    async def left() -> tuple[list[str], list[str]]:
        body = body_of(NOW, cases=GOOD)
        async with desk_of(tmp_path, Stuck()) as desk:
            entry = await desk.take(headers_of(body), body)
            waiting = [path.stem for path in folder.iterdir()]
            assert waiting == [entry.id]
        (folder / "one-that-was-answered.jsonl").write_text("{}")
        async with desk_of(tmp_path, Scripted(DECIDED)) as desk:
            judged = await desk.finished(entry.id, 10)
            assert judged is not None
            assert judged.status == "done"
        return waiting, [path.stem for path in folder.iterdir()]

    waiting, then = asyncio.run(left())
    assert (len(waiting), then) == (1, [])


def test_a_captured_request_is_worth_nothing_after_its_time_even_with_its_key(tmp_path: Path):
    """The tolerance is 300 s, into the past and the future."""

    async def status(now: float) -> HTTPStatus | None:
        body = body_of(NOW, cases=GOOD)
        async with desk_of(tmp_path, Scripted(DECIDED), now=now) as desk:
            try:
                await desk.take(headers_of(body, **{"idempotency-key": "k"}), body)
            except TurnedAwayError as away:
                return away.status
        return None

    answers = [asyncio.run(status(NOW + later)) for later in (0, 300, -300, 301, -301)]
    assert answers == [None, None, None, HTTPStatus.UNAUTHORIZED, HTTPStatus.UNAUTHORIZED]


def test_traces_are_looked_for_until_they_are_there_and_then_judged(tmp_path: Path):
    workers = Scripted({"kind": "seen", "n": 3}, DECIDED)

    async def outcome():
        body = body_of(NOW, release="1.4.0", gate_ref="run-7", expected=3, wait_s=5)
        async with desk_of(tmp_path, workers) as desk:
            return await desk.finished((await desk.take(headers_of(body), body)).id, 10)

    entry = asyncio.run(outcome())
    assert entry is not None
    assert entry.status == "done"
    assert [task["do"] for task in workers.asked] == ["look", "judge"]
    names = {"release": "1.4.0", "gate_ref": "run-7"}
    assert [{key: task["question"][key] for key in names} for task in workers.asked] == [names, names]


def test_a_server_without_dagster_says_what_to_install_before_anybody_asks(tmp_path, monkeypatch: pytest.MonkeyPatch):
    async def start() -> None:
        home = Home(Settings(home=tmp_path, hook=HookSettings(secrets={"ci": SecretStr(SECRET)})))
        async with answering(home):
            pass

    monkeypatch.setattr("evalpipe.web.hook_desk.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'evalpipe\[all\]'"):
        asyncio.run(start())


@pytest.mark.parametrize("is_told_at_once", [True, False])
def test_a_decision_is_told_to_github_also_when_the_server_ended_before(tmp_path: Path, is_told_at_once: bool):
    """The first server ends while it waits, a second after a 503."""
    summary = tmp_path / "artifacts" / "gates" / "gate_1" / "summary.md"
    summary.parent.mkdir(parents=True)
    summary.write_text("## No")

    async def told(api: Github) -> tuple[str | None, str | None]:
        settings: dict[str, Any] = {
            "github": GithubSettings(token=SecretStr("t0ken"), api_url=api.url),
            "alerts": AlertSettings(base_url="https://evals.example.com"),
        }
        body = body_of(NOW, cases=GOOD, github={"repository": "acme/shop", "sha": "a" * 40})
        async with desk_of(tmp_path, Scripted(DECIDED), **settings) as desk:
            entry = await desk.take(headers_of(body), body)
            await desk.finished(entry.id, 10)
            first = await _told(desk, entry.id, 5 if is_told_at_once else 0)
        async with desk_of(tmp_path, Scripted(), **settings) as desk:
            return first, await _told(desk, entry.id, 5)

    with github() as api:
        api.tokens["t0ken"] = Token()
        if not is_told_at_once:
            api.faults = [Said(503, {"message": "later"})]
        first, then = asyncio.run(told(api))
        assert first == ("status set" if is_told_at_once else None)
        assert then == "status set"
        (status,) = api.statuses
        assert (status["state"], status["target_url"]) == ("failure", "https://evals.example.com/review/gates/gate_1")


async def _told(desk: Desk, request_id: str, within_s: float) -> str | None:
    for _ in range(int(within_s / 0.02) + 1):
        entry = await desk.entry(request_id)
        if entry is not None and entry.told is not None:
            return entry.told
        await asyncio.sleep(0.02)
    return None
