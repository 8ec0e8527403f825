"""The processes that judge for the webhook: started before they are needed, and started again when they die.

What they do is gate_worker.py's. They are processes because Dagster's runs in one process deadlock when two threads
have one each. They end with this process, even when that is killed: their standard input does.
"""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

_PROGRAM = "evalpipe.gate_worker"
_START_S = 180.0  # a busy machine imports for half a minute; beyond this it hangs
_RESTART_S = 1.0  # a process that died is started again after this
_MAX_JOB_S = 1_800.0  # thousands of cases with judges take minutes; beyond this it hangs, and is killed
_MAX_LINE = 64 * 1024 * 1024  # of an answer; a decision has some 100 KB

_logger = logging.getLogger(__name__)

Reply = dict[str, Any]


class WorkerDiedError(Exception):
    """The process that had the job ended before it answered, or had to be killed."""


class _Job(NamedTuple):
    task: Mapping[str, Any]
    reply: "asyncio.Future[Reply]"
    on_start: Callable[[], None]


class Workers:
    """Takes jobs; each is done by whichever process is free first."""

    def __init__(self) -> None:
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self.pids: set[int] = set()  # of those that are ready

    async def ask(self, task: Mapping[str, Any], on_start: Callable[[], None] = lambda: None) -> Reply:
        """What a process answers; `on_start` is called when one takes it up. Raises WorkerDiedError."""
        job = _Job(task, asyncio.get_running_loop().create_future(), on_start)
        await self._jobs.put(job)
        return await job.reply

    async def keep_one(self, home: Path, n: int) -> None:
        """Keep one of `n` processes alive and give it jobs, until cancelled."""
        while True:
            process = await _started(home, n)
            try:
                async with asyncio.timeout(_START_S):
                    is_ready = bool(await _line(process))
                if is_ready:
                    self.pids.add(process.pid)
                    await self._work(process)
            except TimeoutError:
                _logger.warning("a gate worker was not ready after %g s and is started again", _START_S)
            finally:
                self.pids.discard(process.pid)
                with suppress(ProcessLookupError):
                    process.kill()
            code = await process.wait()
            _logger.warning("a gate worker ended with exit code %s and is started again", code)
            await asyncio.sleep(_RESTART_S)

    async def _work(self, process: Process) -> None:
        """Until it dies."""
        ended = asyncio.create_task(process.wait())
        try:
            while True:
                coming = asyncio.create_task(self._jobs.get())
                await asyncio.wait({coming, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    return
                job = coming.result()
                if job.reply.done():  # who asked has gone
                    continue
                try:
                    job.on_start()
                    async with asyncio.timeout(_MAX_JOB_S):
                        reply = await _answer(process, job.task)
                except (OSError, ValueError, TimeoutError):
                    reply = None
                except asyncio.CancelledError:
                    job.reply.cancel()
                    raise
                if reply is None:
                    if not job.reply.done():
                        job.reply.set_exception(WorkerDiedError())
                    return
                if not job.reply.done():
                    job.reply.set_result(reply)
        finally:
            ended.cancel()


@asynccontextmanager
async def working(home: Path, n: int) -> AsyncIterator[Workers]:
    """Keep `n` processes. At the end they are told to; what they have under way is not waited for."""
    workers = Workers()
    keepers = [asyncio.create_task(workers.keep_one(home, n)) for _ in range(n)]
    try:
        yield workers
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)


async def _started(home: Path, n: int) -> Process:
    # A session of its own: a terminal's Ctrl-C reaches the group, and it is this process that ends the others.
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", _PROGRAM, str(home)),
        stdin=PIPE,
        stdout=PIPE,
        limit=_MAX_LINE,
        # Each has a share of the cores: with all of them for each, two that judge at once take twice as long.
        env={"POLARS_MAX_THREADS": str(max(1, (os.cpu_count() or 1) // n))} | os.environ | {"EVALPIPE_HOME": str(home)},
        start_new_session=True,
    )


async def _answer(process: Process, task: Mapping[str, Any]) -> Reply | None:
    """None when it died instead."""
    assert process.stdin is not None
    process.stdin.write(orjson.dumps(task) + b"\n")
    await process.stdin.drain()
    line = await _line(process)
    return orjson.loads(line) if line else None


async def _line(process: Process) -> bytes:
    assert process.stdout is not None
    line = await process.stdout.readline()
    return line if line.endswith(b"\n") else b""
