"""What a piece of work costs, and what a figure says beside its target. What is measured is in the other files.

CPU seconds come first: all threads of the process count, and other work on the machine disturbs them little.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

HEADINGS = ("claim", "measured", "against", "ratio", "target", "met")


class Cost(NamedTuple):
    """Medians of the repeats."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True)
class Finding:
    """A line of the report. `ratio` is a claim only where it has a bound; the others are there to be compared."""

    claim: str
    measured: str
    against: str = ""  # what the ratio compares with, and its figure
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool | None:
        """None without a target or a figure."""
        if self.ratio is None or (self.at_least is None and self.at_most is None):
            return None
        return (self.at_least is None or self.ratio >= self.at_least) and (
            self.at_most is None or self.ratio <= self.at_most
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """As text under HEADINGS."""
        bounds = ((">=", self.at_least), ("<=", self.at_most))
        target = ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
        met = {None: "", True: "yes", False: "NO"}[self.is_met]
        return self.claim, self.measured, self.against, "" if self.ratio is None else f"{self.ratio:.2f}", target, met


def cost_of(work: Callable[[], object], *, repeats: int, before: Callable[[], object] | None = None) -> Cost:
    """CPU and wall seconds of `work`; `before` sets the stage for each repeat and is not counted."""
    costs = []
    for _ in range(repeats):
        if before is not None:
            before()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        costs.append(Cost(time.process_time() - cpu, time.perf_counter() - wall))
    return Cost(statistics.median(cost.cpu_s for cost in costs), statistics.median(cost.wall_s for cost in costs))


def rate(n_spans: int, cost: Cost, n_bytes: int | None = None) -> str:
    """A cost in the words of the report."""
    per_second = f"{n_spans / cost.cpu_s / 1_000:.3g} k spans per CPU s"
    through = "" if n_bytes is None else f", {n_bytes / cost.cpu_s / 1e6:.0f} MB/s"
    return f"{100_000 * cost.cpu_s / n_spans:.2f} CPU s per 100k ({per_second}{through})"


def peak_memory_bytes(process: int | str = "self") -> int:
    """The most memory a process has held so far. Not ru_maxrss: after exec that still remembers the parent's."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1_024 for line in status.splitlines() if line.startswith("VmHWM:"))


def progress(console: Console) -> Progress:
    """A bar with a count and the time."""
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    return Progress(*columns, console=console)


def machine(libraries: Iterable[str]) -> str:
    """Where the figures come from, in two lines."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}"
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    return (
        f"Machine: {_processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {system}.\n"
        f"Python {platform.python_version()}; {versions}."
    )


def printed(findings: Iterable[Finding], title: str) -> Table:
    """For the terminal."""
    table = Table(*HEADINGS, title=title, title_justify="left")
    for finding in findings:
        table.add_row(*finding.cells, style="red" if finding.is_met is False else None)
    return table


def markdown(findings: Iterable[Finding]) -> str:
    """The same as a Markdown table."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    return "\n".join([*lines, *("| " + " | ".join(finding.cells) + " |" for finding in findings)])


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
