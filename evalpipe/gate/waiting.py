"""Waiting until the traces of a release, or those that CI replayed under a reference, have arrived.

How they are looked for is the caller's: landing and materialising are no part of the gate. Which traces count is
on_lake.py's.
"""

from collections.abc import Callable
from typing import NamedTuple

from evalpipe.errors import StateError
from evalpipe.gate.request import GateRequest

_PAUSE_S = 2.0  # between two looks: the receivers land about once a second, and a look costs a second of one core
_SETTLED_S = 10.0  # exporters send a batch every five seconds: where nothing came for twice that, all has come


class Arrived(NamedTuple):
    """What there was when the waiting ended."""

    n_traces: int
    waited_s: float


def wait_for_traces(
    request: GateRequest,
    look: Callable[[], int],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Arrived:
    """Look until `n_expected` traces are there; without that number, until there are some and no more come.

    `look` lands and reads what has come, and returns how many there are. `clock` is in seconds and never goes back. One
    look is always made. Raises StateError when `wait_s` has passed before that: a decision on part of the traces would
    look like one on all.
    """
    started_at = grew_at = clock()
    n_traces = 0
    while True:
        found = look()
        now = clock()
        if found > n_traces:
            n_traces, grew_at = found, now
        if request.n_expected is not None:
            is_enough = n_traces >= request.n_expected
        else:
            is_enough = n_traces > 0 and (now - grew_at >= _SETTLED_S or request.wait_s == 0)
        waited_s = now - started_at
        if is_enough:
            return Arrived(n_traces, waited_s)
        if waited_s >= request.wait_s:
            raise StateError(_too_few(request, n_traces))
        sleep(min(_PAUSE_S, request.wait_s - waited_s))


def _too_few(request: GateRequest, n_traces: int) -> str:
    if request.gate_ref is not None:
        whose, attribute = f"with evalpipe.gate.id={request.gate_ref}", "evalpipe.gate.id"
    else:
        whose, attribute = f"of release {request.release}", "service.version"
    if request.n_expected is None and n_traces:
        came = (
            f"traces {whose} were still arriving after {request.wait_s:g} s, {n_traces} so far. Say how many to expect"
        )
    else:
        of = f" of {request.n_expected}" if request.n_expected is not None else ""
        came = f"{n_traces}{of} traces {whose} arrived within {request.wait_s:g} s. Check {attribute} of the exporter"
    return f"{came}, or wait longer"
