"""What becomes of a webhook's request: taken or turned away, judged by a worker, remembered.

Over HTTP it is hook_http.py's; who signed it, what it asks and what is kept are hook_signatures.py, hook_question.py
and hook_ledger.py. A request is durable before it is answered, and what was not finished is taken up at the next start.
"""

import asyncio
import fcntl
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Lock
from typing import Any

import orjson
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from evalpipe.errors import InputError, SettingsError, StateError
from evalpipe.files import write_whole
from evalpipe.gate.github import GithubContext, report
from evalpipe.gate.on_lake import folder_of as gate_folder
from evalpipe.gate.render.forms import KEPT
from evalpipe.gate.render.links import Links
from evalpipe.gate.request import GateRequest
from evalpipe.gate.waiting import wait_for_traces
from evalpipe.home import Home
from evalpipe.web.hook_ledger import Entry, Finished, Ledger, OtherQuestionError, ReplayedError
from evalpipe.web.hook_question import Question, question_of
from evalpipe.web.hook_signatures import Headers, Signed, digest_of, is_signed, keys_of, signed
from evalpipe.web.hook_workers import Reply, WorkerDiedError, Workers, working

_MAX_UNFINISHED = 64  # two workers judge some 100 a minute; a longer queue is answered too late for any pipeline
_MAX_DEATHS = 2  # of workers: chance kills one, two died of the request
_ID_BYTES = 16  # who has the id may read the answer, so nobody must guess it
_TIDY_S = 3_600.0
_MAX_KEY = 256  # characters
_MAX_TELLING = 4  # decisions at once; one that GitHub keeps waiting takes minutes

_logger = logging.getLogger(__name__)


class TurnedAwayError(Exception):
    """A request that is not taken; its text is for the client."""

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class _EndingError(Exception):
    """The server ends while something waits."""


class Desk:
    """All requests of one home. `clock` is in Unix seconds."""

    def __init__(
        self,
        home: Home,
        workers: Workers,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = home.settings.hook
        self._github = home.settings.github
        self._artifacts = home.artifacts
        self._base_url = home.settings.alerts.base_url
        self._keys = keys_of(self._settings.secrets)
        self._workers = workers
        self._clock = clock
        self._folder = folder_of(home)
        self._ledger = Ledger(self._folder / "requests.sqlite")
        self._taking = Lock()
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(self._settings.requests_per_minute)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._running: set[str] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._waiters = ThreadPoolExecutor(_MAX_UNFINISHED, thread_name_prefix="gate-wait")
        self._tellers = ThreadPoolExecutor(_MAX_TELLING, thread_name_prefix="gate-tell")
        self._ending = Event()

    def require_signature(self, headers: Headers) -> None:
        """Before the body is read. Raises TurnedAwayError where there is none; whether one is good is seen later."""
        if not is_signed(headers):
            raise _unsigned()

    async def take(self, headers: Headers, body: bytes) -> Entry:
        """The request, durable; of one that was made before, what became of it. Raises TurnedAwayError."""
        entry, is_new = await asyncio.to_thread(self._accept, headers, body)
        if is_new:
            self._begin(entry)
        return entry

    async def entry(self, request_id: str) -> Entry | None:
        return await asyncio.to_thread(self._ledger.get, request_id)

    def is_running(self, request_id: str) -> bool:
        """Whether somebody is at it, rather than that it waits for its turn."""
        return request_id in self._running

    async def finished(self, request_id: str, within_s: float) -> Entry | None:
        """The request when it is finished, at the latest after `within_s`."""
        task = self._under_way.get(request_id)
        if task is not None:
            await asyncio.wait({task}, timeout=within_s)
        return await self.entry(request_id)

    def take_up(self) -> None:
        """Go on with what an earlier process left unfinished."""
        unfinished = self._ledger.unfinished()
        waiting = {self._cases(entry.id) for entry in unfinished}
        for path in self._cases("").parent.glob("*.jsonl"):
            if path not in waiting:
                path.unlink(missing_ok=True)  # it ended between its answer and this
        for entry in unfinished:
            self._begin(entry)
        for entry in self._ledger.untold():
            self._begin_telling(entry)

    async def tidy(self) -> None:
        """Forget what is old, once an hour."""
        while True:
            await asyncio.to_thread(self._forget)
            await asyncio.sleep(_TIDY_S)

    async def close(self) -> None:
        """What is under way stays unfinished, and is taken up at the next start."""
        self._ending.set()
        tasks = [*self._under_way.values(), *self._telling]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pool in (self._waiters, self._tellers):
            pool.shutdown(wait=False, cancel_futures=True)
        self._ledger.close()

    def _accept(self, headers: Headers, body: bytes) -> tuple[Entry, bool]:
        who = signed(headers, body, self._keys)
        if who is None:
            raise _unsigned()
        try:
            question = question_of(body)
        except InputError as error:
            raise TurnedAwayError(HTTPStatus.BAD_REQUEST, str(error)) from error
        self._require_fresh(who, question)
        key = who.message_id or _key_of(headers)
        asked = digest_of(question.canonical())
        with self._taking:
            try:
                known = self._ledger.known(by=who.by, seal=who.seal, key=key, asked=asked)
                if known is not None:
                    return known, False
                self._require_room(who.by)
                entry = self._written(who, key, asked, question)
            except ReplayedError as error:
                raise TurnedAwayError(
                    HTTPStatus.CONFLICT,
                    "this signature was seen before. To ask again sign a new sent_at; to repeat the same request after "
                    "a broken connection send the same Idempotency-Key with it",
                ) from error
            except OtherQuestionError as error:
                raise TurnedAwayError(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "this key was used for another question. Give each question its own key",
                ) from error
        return entry, True

    def _require_fresh(self, who: Signed, question: Question) -> None:
        sent_at = question.sent_at if who.sent_at is None else who.sent_at
        if sent_at is None:
            raise TurnedAwayError(
                HTTPStatus.BAD_REQUEST, "sent_at is missing: Unix seconds, so that a request that leaks soon ages"
            )
        if not abs(self._clock() - sent_at) <= self._settings.tolerance_s:
            raise TurnedAwayError(
                HTTPStatus.UNAUTHORIZED,
                f"this was signed more than {self._settings.tolerance_s} s ago, or that far in the future. "
                "Sign it anew, and check the clocks of both machines",
            )

    def _require_room(self, by: str) -> None:
        n = len(self._ledger.unfinished())
        if n >= _MAX_UNFINISHED:
            raise TurnedAwayError(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{n} gates are waiting already", {"retry-after": "30"}
            )
        if not self._limiter.hit(self._limit, by):
            wait_s = max(1, round(self._limiter.get_window_stats(self._limit, by).reset_time - time.time()))
            raise TurnedAwayError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"the secret {by} has asked {self._settings.requests_per_minute} times within a minute",
                {"retry-after": str(wait_s)},
            )

    def _written(self, who: Signed, key: str | None, asked: str, question: Question) -> Entry:
        request_id = secrets.token_hex(_ID_BYTES)
        if question.cases is not None:
            lines = b"".join(orjson.dumps(case) + b"\n" for case in question.cases)
            write_whole(self._cases(request_id), lines, mode=0o600)
        kept = orjson.dumps(question.model_dump(exclude={"cases"}) | {"has_cases": question.cases is not None})
        entry = Entry(request_id, who.by, key, asked, kept.decode(), self._clock(), question.github is not None)
        self._ledger.add(entry, seal=who.seal)
        return entry

    def _begin(self, entry: Entry) -> None:
        task = asyncio.create_task(self._see_through(entry))
        self._under_way[entry.id] = task
        task.add_done_callback(lambda _: self._ended(entry.id))

    def _ended(self, request_id: str) -> None:
        self._under_way.pop(request_id, None)
        self._running.discard(request_id)

    async def _see_through(self, entry: Entry) -> None:
        try:
            finished = await self._judged(entry)
        except StateError as error:
            finished = Finished("refused", error=str(error))
        except _EndingError:
            return  # it is judged after the next start
        except Exception:
            _logger.exception("gate request %s failed", entry.id)
            finished = Finished("failed", error="something broke on our side; the log of the server says what")
        await asyncio.to_thread(self._ledger.finish, entry.id, finished, now=self._clock())
        # As they came, users' words are kept no longer than they are needed; the lake has them redacted.
        await asyncio.to_thread(self._cases(entry.id).unlink, missing_ok=True)
        if finished.status == "done" and entry.has_to_tell:
            self._begin_telling(entry._replace(**finished._asdict()))

    def _begin_telling(self, entry: Entry) -> None:
        """Tell GitHub of a decision, which waits for nobody: that is told to who asked, whatever GitHub says."""
        task = asyncio.create_task(self._tell(entry))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, entry: Entry) -> None:
        try:
            words = await asyncio.get_running_loop().run_in_executor(self._tellers, self._told, entry)
        except _EndingError:
            return  # it is told at the next start
        except Exception:
            _logger.exception("GitHub was not told of gate request %s", entry.id)
            words = "something broke on our side; the log of the server says what"
        await asyncio.to_thread(self._ledger.note_told, entry.id, words)

    def _told(self, entry: Entry) -> str:
        """What GitHub took, and what not, in words."""
        assert entry.decision is not None
        decision, target = orjson.loads(entry.decision), orjson.loads(entry.question)["github"]
        gate_id = str(entry.gate_id)
        summary = gate_folder(self._artifacts, gate_id) / KEPT["markdown"]
        reported = report(
            decision["decision"],
            decision["headline"],
            GithubContext(**target, target_url=Links(self._base_url).gate(gate_id)),
            self._github,
            markdown=summary.read_text(encoding="utf-8"),
            sleep=self._pause,
        )
        for problem in reported.problems:
            _logger.warning("gate request %s: %s", entry.id, problem)
        return "; ".join((*reported.taken, *reported.problems))

    def _pause(self, seconds: float) -> None:
        """In a thread of ours: sleep, but not beyond the end of the server. Raises _EndingError."""
        if self._ending.wait(seconds):
            raise _EndingError

    async def _judged(self, entry: Entry) -> Finished:
        question = orjson.loads(entry.question)
        if question["wait_s"] or question["expected"]:
            await self._wait_for_traces(entry, question)
        task = {"do": "judge", "id": entry.id, "question": self._config(entry, question)}
        reply = await self._asked(entry, task)
        run_id = reply.get("run_id")
        match reply["kind"]:
            case "decided":
                return Finished("done", run_id, reply["gate_id"], reply["exit_code"], reply["decision"])
            case "refused":
                return Finished("refused", run_id, error=self._in_words(entry, reply["message"]))
            case _:
                return Finished("failed", run_id, error=self._in_words(entry, reply["message"]))

    async def _asked(self, entry: Entry, task: Mapping[str, Any]) -> Reply:
        """A worker that dies is blamed on chance once."""
        while True:
            try:
                return await self._workers.ask(task, lambda: self._running.add(entry.id))
            except WorkerDiedError:
                n_deaths = await asyncio.to_thread(self._ledger.count_death, entry.id)
                if n_deaths >= _MAX_DEATHS:
                    return {
                        "kind": "broken",
                        "message": f"{n_deaths} processes died while they judged this, so it is given up. Is there "
                        "enough memory? Ask with fewer cases, or see the log of the server",
                    }

    async def _wait_for_traces(self, entry: Entry, question: Mapping[str, Any]) -> None:
        """In a thread of its own; each look is a short job of a worker, which judges for others in between."""
        loop = asyncio.get_running_loop()
        asked = {name: question[name] for name in ("release", "gate_ref") if question[name]}
        request = GateRequest(**asked, n_expected=question["expected"], wait_s=question["wait_s"])

        def look() -> int:
            task = {"do": "look", "id": entry.id, "question": asked}
            reply = asyncio.run_coroutine_threadsafe(self._asked(entry, task), loop).result()
            if reply["kind"] != "seen":
                raise StateError(reply["message"])
            return int(reply["n"])

        act = partial(wait_for_traces, request, look, clock=time.monotonic, sleep=self._pause)
        await loop.run_in_executor(self._waiters, act)

    def _config(self, entry: Entry, question: Mapping[str, Any]) -> dict[str, Any]:
        """What the asset is asked; what is not said is left out."""
        said = {name: question[name] for name in ("release", "gate_ref", "policy", "on_abstain", "commit")}
        config = {name: value for name, value in said.items() if value}
        if question["has_cases"]:
            config["cases"] = str(self._cases(entry.id))
        return config | {"strict": question["strict"], "by": entry.by}

    def _in_words(self, entry: Entry, message: str) -> str:
        """Where our files are is nobody's affair."""
        return message.replace(str(self._cases(entry.id)), "cases")

    def _cases(self, request_id: str) -> Path:
        return self._folder / "requests" / f"{request_id}.jsonl"

    def _forget(self) -> None:
        age_s = max(self._settings.keep_days * 86_400, 2 * self._settings.tolerance_s)
        self._ledger.forget(before=self._clock() - age_s)


@asynccontextmanager
async def answering(home: Home) -> AsyncIterator[Desk | None]:
    """The desk with its workers; None where no secret is set. Raises SettingsError."""
    if not home.settings.hook.secrets:
        yield None
        return
    if find_spec("dagster") is None:
        raise SettingsError(
            "EVALPIPE_GATE_SECRETS is set, and gates are Dagster's runs, which is not installed. "
            "Run: pip install 'evalpipe[all]', or unset it"
        )
    folder = folder_of(home)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"another evalpipe serve answers gates for {home.root}. Stop it, or unset EVALPIPE_GATE_SECRETS here."
            ) from error
        async with working(home.root, home.settings.hook.workers) as workers:
            desk = Desk(home, workers)
            desk.take_up()
            tidying = asyncio.create_task(desk.tidy())
            try:
                yield desk
            finally:
                tidying.cancel()
                await desk.close()


def folder_of(home: Home) -> Path:
    return home.root / "gates"


def _unsigned() -> TurnedAwayError:
    return TurnedAwayError(
        HTTPStatus.UNAUTHORIZED,
        "no valid signature: send X-Hub-Signature-256: sha256=HEX over the body, or webhook-id, webhook-timestamp and "
        "webhook-signature, made with one of EVALPIPE_GATE_SECRETS",
    )


def _key_of(headers: Headers) -> str | None:
    key = headers.get(b"idempotency-key", b"").decode("latin-1").strip()
    if len(key) > _MAX_KEY:
        raise TurnedAwayError(HTTPStatus.BAD_REQUEST, f"the Idempotency-Key has more than {_MAX_KEY} characters")
    return key or None
