"""Several long-running processes as one: they start together, and when one ends or a signal comes, all end."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_POLL_S = 0.2
_PATIENCE_S = 30.0  # after which a process that was asked to end is killed
_ENDED_BY_US = (0, -signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM)


class Command(NamedTuple):
    """A program with its arguments, and what it finds in its environment beside ours."""

    arguments: Sequence[str]
    environment: Mapping[str, str]


def supervise(commands: Sequence[Command]) -> int:
    """Run `commands` until a signal comes or one of them ends; the exit code of the one that ended by itself, or 0.

    SIGINT and SIGTERM both ask every process to end with SIGTERM, so that each can finish what it is doing.
    """
    # A shell without job control leaves SIGINT ignored, Dagster maps SIGTERM to its SIGINT handler, here or in a child,
    # and children inherit what is ignored: then nothing but kill -9 stops them. Default dispositions make both work.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    is_stopping = False
    processes = [
        subprocess.Popen(command.arguments, env=os.environ | dict(command.environment), start_new_session=True)
        for command in commands
    ]

    def stop(_number: int, _frame: object) -> None:
        nonlocal is_stopping
        is_stopping = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    while not is_stopping and all(process.poll() is None for process in processes):
        time.sleep(_POLL_S)
    ended = [process.returncode for process in processes if process.poll() is not None]
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return next((code for code in ended if code not in _ENDED_BY_US), 0)
