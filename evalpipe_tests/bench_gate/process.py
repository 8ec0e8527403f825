"""A command from start to exit, and what it cost."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_LIMIT_S = 1_800.0
# A process of its own starts the command: after exec a child's peak memory still remembers its parent's, so that the
# parent must be small.
_RUNNER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
out, err = (open(f"{sys.argv[1]}.{name}", "wb") for name in ("out", "err"))
process = subprocess.Popen(sys.argv[2:], stdout=out, stderr=err)
_, status, usage = os.wait4(process.pid, 0)
wall = time.perf_counter() - start
print(json.dumps([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)]))
"""


class Ran(NamedTuple):
    """CPU seconds and peak memory are those of the process and, of CPU, of the children that it waited for."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    exit_code: int
    said: str  # the last lines of both outputs

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s wall, {self.cpu_s:.2f} CPU s, peak {self.peak_bytes / 2**20:,.0f} MiB"


def run(command: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None) -> Ran:
    """Run it in `folder`, which it may write into."""
    runner = [sys.executable, "-S", "-c", _RUNNER, str(folder / "said"), *map(str, command)]
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        runner, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=_LIMIT_S
    )
    outputs = [
        (folder / f"said.{name}").read_text(encoding="utf-8", errors="replace")[-2_000:] for name in ("out", "err")
    ]
    return Ran(*json.loads(done.stdout), "\n".join(outputs))


def median(runs: Sequence[Ran]) -> Ran:
    """The median of each figure; the exit code and the words of the last."""
    wall_s, cpu_s, peak = (statistics.median(figures) for figures in zip(*(each[:3] for each in runs), strict=True))
    return Ran(wall_s, cpu_s, int(peak), runs[-1].exit_code, runs[-1].said)
