"""Which errors of an asset are tried again: those that pass by themselves. All others fail the run at once.

A step is tried again in its own process, which costs nothing to start and keeps what the run has made so far. A process
that was killed cannot do so; that run is started again by Dagster's daemon (`run_retries` in dagster.yaml).
"""

import sqlite3
from collections.abc import Callable
from functools import wraps
from typing import Any

import dagster as dg

from evalpipe.errors import LakeConflictError, ModelBusyError, ModelDownError

WAITS_S = (5.0, 30.0)  # before the second and the third try: a conflict is over in seconds, an outage may not be

_PASSING = (LakeConflictError, ModelBusyError, ModelDownError, OSError, sqlite3.OperationalError)
# Of the errors of the operating system those that stay until a person has changed something.
_LASTING = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)

MAX_RETRIES_TAG = "dagster/max_retries"
NEVER_STARTED_AGAIN = {MAX_RETRIES_TAG: "0"}
"""Tags of runs that somebody else asks for again when they fail: a sensor that compares inputs, or a person."""


def asset(**about: Any) -> Callable[[Callable[..., dg.MaterializeResult]], dg.AssetsDefinition]:
    """`dg.asset`, whose passing errors are tried again after each of WAITS_S. Takes what `dg.asset` takes."""

    def declared(make: Callable[..., dg.MaterializeResult]) -> dg.AssetsDefinition:
        return dg.asset(**about)(_trying_again(make))

    return declared


def is_passing(error: BaseException) -> bool:
    """Whether the same step may succeed a little later, with nothing changed by a person."""
    return isinstance(error, _PASSING) and not isinstance(error, _LASTING)


def _trying_again(make: Callable[..., dg.MaterializeResult]) -> Callable[..., dg.MaterializeResult]:
    @wraps(make)
    def tried(*arguments: Any, **named: Any) -> dg.MaterializeResult:
        try:
            return make(*arguments, **named)
        except Exception as error:
            if not is_passing(error):
                raise
            n_tried = dg.OpExecutionContext.get().retry_number
            wait_s = WAITS_S[min(n_tried, len(WAITS_S) - 1)]
            raise dg.RetryRequested(max_retries=len(WAITS_S), seconds_to_wait=wait_s) from error

    return tried
