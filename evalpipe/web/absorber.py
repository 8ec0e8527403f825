"""The process beside the receiver that makes segments of its journals, so that landing never holds up an answer.

It needs no telling: it looks about once a second, and it ends when its parent does, even when that is killed.
"""

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from evalpipe.home import Home
from evalpipe.otlp.on_lake import absorb
from evalpipe.settings import Settings

_INTERVAL_S = 1.0  # between two looks for journals that were closed: looking is cheap
_RESTART_S = 1.0  # a process that died is started again after this
_FINISH_S = 60.0  # the last journals land within this at the end; the next start lands what is left

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def absorbing(settings: Settings) -> AsyncIterator[Callable[[], bool]]:
    """Keep one absorbing process alive; a function that tells whether it is comes out.

    At the end it absorbs once more: close the journal before.
    """
    child = _start(settings)

    async def keep_alive() -> None:
        nonlocal child
        while True:
            await asyncio.sleep(_RESTART_S)
            if not child.process.is_alive():
                _logger.warning("the absorber ended with exit code %s and is started again", child.process.exitcode)
                child = _start(settings)

    keeper = asyncio.create_task(keep_alive())
    try:
        yield lambda: child.process.is_alive()
    finally:
        keeper.cancel()
        child.stop()
        await asyncio.to_thread(child.process.join, _FINISH_S)
        child.process.kill()


def absorb_until_closed(settings: Settings, parent: Connection) -> None:
    """Absorb about once a second, and a last time when the other end of `parent` is closed."""
    home = Home(settings)
    is_last = False
    while not is_last:
        is_last = parent.poll(_INTERVAL_S)
        try:
            absorb(home.landing, home.lake, now=datetime.now(UTC), with_live=False)
        except Exception:
            # What nobody foresaw costs one look, not the landing of all that follows.
            _logger.exception("the journals were not absorbed; they are kept, and read again")


class _Child(NamedTuple):
    process: BaseProcess
    stop: Callable[[], None]  # closes our end of its pipe, as our death does


def _start(settings: Settings) -> _Child:
    context = multiprocessing.get_context("spawn")
    theirs, ours = multiprocessing.Pipe(duplex=False)
    process = context.Process(target=absorb_until_closed, args=(settings, theirs), name="evalpipe-absorber")
    # A terminal and systemd signal the whole group. The child inherits that these wait: its parent tells it to end.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return _Child(process, ours.close)
