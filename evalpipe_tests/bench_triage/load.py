"""A lake with days of 100,000 traces, made by repeating the demo's with other ids, numbers and figures.

Not by ingest, which bench_ingest measures. The failures stay in; nobody looks for them here.
"""

import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from evalpipe.demo.plan import DemoPlan
from evalpipe.demo.traffic import week_of_traffic
from evalpipe.lake.store import Lake
from evalpipe.settings import Settings
from evalpipe.signals.on_lake import measure_day, score_day
from evalpipe.tables import TRACE_FEATURES, TRACE_SIGNALS, TRACES, VERDICTS
from evalpipe_tests.bench_triage.worlds import MONDAY, traces_of

SPANS_PER_TRACE = 10
_N_SERVICES = 5
_N_EVALUATORS = 5
_NS_PER_DAY = 86_400 * 10**9
_DIGITS = [str(digit) for digit in range(1, 10)]  # not 0, so that no number begins with it


class Days:
    """TRACES rows of any day: `n_traces` of `SPANS_PER_TRACE` spans on average, in whole sessions."""

    def __init__(self, n_traces: int, *, base_sessions_per_day: int) -> None:
        base = _base(base_sessions_per_day)
        n_copies = -(-n_traces // base.height)
        self._frame = pl.concat(_copies(base, n_copies)).head(n_traces)
        self.n_traces = self._frame.height
        self.n_spans = int(self._frame["n_spans"].sum())

    def on(self, day: date) -> pl.DataFrame:
        """The same traffic on every day, but for the ids."""
        return _moved(self._frame, MONDAY, day).sort("start_unix_ns", "trace_id")


def fill(lake: Lake, days: Days, day: date, *, n_before: int, settings: Settings) -> None:
    """TRACES of `day` and of `n_before` days before it, with the features and signals of those and verdicts on all.

    One day of these is measured and scored; the others get its rows under their own ids. Days that are there stay.
    """
    known = set(lake.scan(TRACES).select(pl.col("day").unique()).collect()["day"])
    wanted = [day - timedelta(days=n) for n in range(n_before + 1)]
    for new in sorted(set(wanted) - known):
        traces = days.on(new)
        lake.replace(TRACES, traces, partition=new)
        lake.replace(VERDICTS, _verdicts(traces), partition=new)
    first = day - timedelta(days=1)
    if first not in known:
        measure_day(lake, first, settings.observe, made_from=None)
        score_day(lake, first, settings.signals, made_from=None)
    for table in (TRACE_FEATURES, TRACE_SIGNALS):
        rows = lake.read(table, pl.col("day") == first)
        for new in sorted(set(wanted[2:]) - known):
            lake.replace(table, _moved(rows, first, new), partition=new)


@cache
def _base(sessions_per_day: int) -> pl.DataFrame:
    """A week of the demo on one day, without its shortest sessions."""
    plan = DemoPlan(MONDAY, 1, sessions_per_day)
    with tempfile.TemporaryDirectory(prefix="bench-triage-") as folder:
        week = week_of_traffic(plan, 0, Path(folder) / "traffic")
        traces = traces_of(week.paths, Path(folder) / "home")
    mean_until = pl.col("n_spans").cum_sum() / (1 + pl.int_range(pl.len()))
    longest_first = pl.col("n_spans").mean().over("session_id")
    since_monday_ns = (pl.col("day") - pl.lit(MONDAY)).dt.total_days() * _NS_PER_DAY
    return (
        traces.sort(longest_first, "session_id", "start_unix_ns", descending=[True, False, False])
        .with_columns(is_long=mean_until >= SPANS_PER_TRACE)
        .filter(pl.col("is_long").last().over("session_id"))
        .drop("is_long")
        .with_columns(pl.col("start_unix_ns", "end_unix_ns") - since_monday_ns, day=pl.lit(MONDAY))
    )


def _copies(base: pl.DataFrame, n_copies: int) -> Iterator[pl.DataFrame]:
    """Each copy swaps the digits in all texts alike, so that numbers which were equal in a session still are."""
    chance = np.random.default_rng(7)
    for copy in range(n_copies):
        swapped = [_DIGITS[place] for place in chance.permutation(len(_DIGITS))]
        step = pl.element().struct
        content = step.field("content").str.replace_many(_DIGITS, swapped)
        factor = pl.Series(chance.lognormal(0, 0.2, base.height))
        own = pl.lit(f"-{copy}")
        yield base.with_columns(
            trace_id=pl.lit(f"{copy:04x}") + pl.col("trace_id").str.slice(4),
            session_id=pl.col("session_id") + own,
            user_id=pl.col("user_id") + own,
            service_name=pl.lit(f"shop-assistant-{copy % _N_SERVICES}"),
            request=pl.col("request").str.replace_many(_DIGITS, swapped),
            response=pl.col("response").str.replace_many(_DIGITS, swapped),
            transcript=pl.col("transcript").list.eval(step.with_fields(content.alias("content"))),
            n_input_tokens=(pl.col("n_input_tokens") * factor).cast(pl.Int64),
            n_output_tokens=(pl.col("n_output_tokens") * factor).cast(pl.Int64),
            duration_ns=(pl.col("duration_ns") * factor).cast(pl.Int64),
        )


def _moved(rows: pl.DataFrame, old: date, new: date) -> pl.DataFrame:
    """Rows of one day as those of another: other ids, the same time of day. A tenth of the users come every day."""
    moved = rows.with_columns(
        trace_id=pl.col("trace_id").str.slice(0, 4)
        + pl.lit(f"{new.toordinal():08x}")
        + pl.col("trace_id").str.slice(12),
        session_id=pl.col("session_id").str.strip_suffix(f"@{old}") + pl.lit(f"@{new}"),
        day=pl.lit(new),
    )
    if "start_unix_ns" not in rows.columns:
        return moved
    is_regular = pl.col("user_id").str.contains("0-", literal=True)
    return moved.with_columns(
        pl.col("start_unix_ns", "end_unix_ns") + (new - old).days * _NS_PER_DAY,
        user_id=pl.when(is_regular).then("user_id").otherwise(pl.format("{}@{}", "user_id", pl.lit(str(new)))),
    )


def _verdicts(traces: pl.DataFrame) -> pl.DataFrame:
    """One a trace and evaluator; most are sure."""
    chance = np.random.default_rng(7)
    verdicts = traces.select("trace_id", "day").join(pl.DataFrame({"evaluator": range(_N_EVALUATORS)}), how="cross")
    score = pl.Series(chance.beta(0.2, 2.0, verdicts.height))
    return VERDICTS.conform(
        verdicts.select(
            "trace_id",
            "day",
            evaluator_id=pl.format("ev_{}", "evaluator"),
            issue_id=pl.format("iss_{}", "evaluator"),
            version=pl.lit(1),
            score=score,
            outcome=pl.when(score > 0.5).then(pl.lit("fail")).otherwise(pl.lit("pass")),
            inclusion_probability=pl.lit(1.0),
        )
    )
