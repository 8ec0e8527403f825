"""How long `evalpipe gate --cases FILE` takes from start to exit, and where the time goes."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from evalpipe.errors import EvalpipeError
from evalpipe_tests.bench_gate.load import SuiteSizes, make_home, write_cases
from evalpipe_tests.bench_gate.process import Ran, median, run

_NOW = datetime(2026, 3, 3, tzinfo=UTC)
EXIT_CODES = (0, 1)  # it decided


class Timed(NamedTuple):
    """Gates of one size, as the command."""

    n_cases: int
    n_bytes: int  # of the file of cases
    ran: Ran


class Stages(NamedTuple):
    """Seconds of one gate inside a process."""

    n_cases: int
    imports_s: float
    read_s: float  # the file of cases
    judge_s: float  # from traces to the decision
    keep_s: float  # tables and files


def timed(root: Path, n_cases: int, n_repeats: int, sizes: SuiteSizes) -> Timed:
    """The command, each time in a fresh home: a gate that was asked before has less to write."""
    home = prepared(root, sizes)
    cases = write_cases(root / f"cases-{n_cases}.jsonl", n_cases)
    runs = list(_runs(home, cases, n_repeats, root))
    return Timed(n_cases, cases.stat().st_size, median(runs))


def stages(root: Path, n_cases: int, sizes: SuiteSizes) -> Stages:
    """The same in pieces, in a process of its own."""
    home = prepared(root, sizes)
    cases = write_cases(root / f"cases-{n_cases}.jsonl", n_cases)
    imports = "import evalpipe.cli, evalpipe.home, evalpipe.gate.on_lake"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", imports], check=True)
    imports_s = time.perf_counter() - start
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return Stages(n_cases, imports_s, *pool.submit(_in_pieces, home, cases).result())


def prepared(root: Path, sizes: SuiteSizes) -> Path:
    """A home with the suite, made once."""
    home = root / "home"
    if not home.exists():
        make_home(home, sizes)
    return home


def gate_command(home: Path, cases: Path) -> list[str | Path]:
    return [sys.executable, "-m", "evalpipe", "--home", home, "gate", "--cases", cases]


def require_decided(ran: Ran, what: str) -> None:
    """Raises EvalpipeError when the command failed: the time of a failure says nothing."""
    if ran.exit_code not in EXIT_CODES:
        raise EvalpipeError(f"{what} exited with {ran.exit_code}: {ran.said}")


def _runs(home: Path, cases: Path, n_repeats: int, root: Path) -> Iterator[Ran]:
    for number in range(n_repeats):
        fresh = root / f"fresh-{number}"
        shutil.copytree(home, fresh)
        ran = run(gate_command(fresh, cases), root)
        require_decided(ran, f"evalpipe gate of {cases.name}")
        shutil.rmtree(fresh)
        yield ran


def _in_pieces(home: Path, path: Path) -> tuple[float, float, float]:
    from evalpipe.gate import on_lake
    from evalpipe.gate.request import GateRequest
    from evalpipe.home import Home

    spent = dict.fromkeys(("read_cases", "judge_cases"), 0.0)

    def counted(name: str) -> Callable[..., Any]:
        work = getattr(on_lake, name)

        def timed_work(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                spent[name] += time.perf_counter() - start

        return timed_work

    for name in spent:
        setattr(on_lake, name, counted(name))
    opened = Home.open(home)
    start = time.perf_counter()
    on_lake.gate(opened.lake, opened.artifacts, GateRequest(cases=path), settings=opened.settings, now=_NOW)
    whole = time.perf_counter() - start
    return spent["read_cases"], spent["judge_cases"], whole - sum(spent.values())
