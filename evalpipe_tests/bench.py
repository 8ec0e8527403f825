"""`make bench`: how fast each stage is here, on two weeks of the demo's traffic. Nothing is asserted."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from evalpipe.demo.plan import DemoPlan
from evalpipe.demo.traffic import week_of_traffic
from evalpipe.evaluators.rules import compile_rule, validate_rule
from evalpipe.home import Home
from evalpipe.plan import traffic_days
from evalpipe.signals.anomaly import signal_frame
from evalpipe.tables import SPANS, TRACES
from evalpipe.traces.on_lake import take_in_day
from evalpipe.traces.rollup import trace_frame
from evalpipe.traces.view import view_frame

MONDAY = date(2026, 3, 2)
RULE = validate_rule(
    {
        "op": "all",
        "of": [
            {"op": "tool", "name": "issue_refund", "min": 1},
            {"op": "not", "of": {"op": "tool_before", "first": "check_refund_policy", "then": "issue_refund"}},
            {"op": "contains", "field": "final", "any": ["refund", "money back"]},
            {"op": "number", "field": "n_tool_calls", "compare": ">=", "value": 1},
        ],
    }
)
N_REPEATED = 100_000  # traces that one rule judges at once

table = Table("stage", "amount", "wall", "CPU", "per second of CPU", title="evalpipe bench", title_justify="left")


def timed(stage: str, amount: Callable[[Any], int], unit: str, work: Callable[[], Any]) -> Any:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    n = amount(result)
    table.add_row(stage, f"{n:,} {unit}", f"{wall:.2f} s", f"{cpu:.2f} s", f"{n / max(cpu, 1e-9):,.0f} {unit}")
    return result


def started(*arguments: str) -> None:
    wall = time.perf_counter()
    subprocess.run([sys.executable, "-m", *arguments], check=True, capture_output=True)
    table.add_row(f"start of {' '.join(arguments)}", "1 process", f"{time.perf_counter() - wall:.2f} s", "", "")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home.open(Path(folder) / "home")
        plan = DemoPlan(start_day=MONDAY, n_weeks=2)
        weeks = timed(
            "demo: emit through the OTel SDK",
            lambda weeks: sum(week.n_traces for week in weeks),
            "traces",
            lambda: [week_of_traffic(plan, week, Path(folder) / "traffic") for week in range(2)],
        )
        paths = [path for week in weeks for path in week.paths]
        now = datetime(2026, 3, 20, tzinfo=UTC)
        timed(
            "land: files to durable segments",
            lambda landed: landed.n_spans,
            "spans",
            lambda: home.landing.ingest(paths, now=now),
        )
        days = traffic_days(home)
        settings = home.settings.observe
        timed(
            "spans: decode, dedupe, write",
            sum,
            "spans",
            lambda: [
                take_in_day(home.landing, home.lake, day, settings=settings, now=now, made_from=1).n_new for day in days
            ],
        )
        spans = home.lake.read(SPANS)

        def traces_of(day: date) -> pl.DataFrame:
            beside = timedelta(days=settings.window_days)
            return trace_frame(spans.filter(pl.col("day").is_between(day - beside, day + beside)), day)

        traces = timed(
            "traces: transcripts and counts",
            lambda traces: traces.height,
            "traces",
            lambda: pl.concat([traces_of(day) for day in days]),
        )
        timed(
            "signals: last day against the past",
            lambda signals: signals.height,
            "traces",
            lambda: signal_frame(
                traces.filter(pl.col("day") == days[-1]), traces.filter(pl.col("day") < days[-1]), home.settings.signals
            ),
        )
        home.lake.replace(TRACES, traces)
        view = timed("view: what evaluators judge", lambda view: view.height, "traces", lambda: view_frame(traces))
        many = pl.concat([view] * (N_REPEATED // view.height + 1)).head(N_REPEATED)
        timed(
            "one composite rule",
            lambda verdicts: verdicts.height,
            "traces",
            lambda: many.select(compile_rule(RULE)),
        )
        timed(
            "fifty composite rules",
            lambda verdicts: verdicts.height,
            "traces",
            lambda: many.select(compile_rule(RULE).alias(str(n)) for n in range(50)),
        )
    started("evalpipe", "--help")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
