"""Traffic scored day by day, then read cycle by cycle: in the queue's order, and in those one would use without it.

Each order gets the same number of traces of the same cycle. What was found among them is counted in yields.py.
"""

import math
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

import polars as pl

from evalpipe.lake.store import Lake
from evalpipe.review.on_lake import queue_of_cycle
from evalpipe.review.queue.cycles import cycle_days, cycle_of
from evalpipe.review.queue.reviewers import Reviewer
from evalpipe.settings import Settings
from evalpipe.signals.on_lake import measure_day, score_day
from evalpipe.tables import ANNOTATIONS, CANDIDATES, TRACE_SIGNALS, TRACES
from evalpipe_tests.bench_triage.worlds import MONDAY, World

QUEUE, CHOSEN = "the queue", "of it, the traces not drawn at random"
ANOMALY, LONGEST, FOREST = "highest anomaly score", "most tokens", "isolation forest on counts"
ORDERS = (QUEUE, CHOSEN, ANOMALY, LONGEST, FOREST)
READ = pl.Schema({"order": pl.String, "cycle": pl.String, "rank": pl.Int64, "trace_id": pl.String})
"""Which traces an order has read; rank counts within the cycle from 1."""

_READER = "reader"
_FOREST_SEED = 7


def scored(world: World, settings: Settings) -> pl.DataFrame:
    """The TRACE_SIGNALS rows of a world, each day against the days before it."""
    with tempfile.TemporaryDirectory(prefix="bench-triage-") as folder:
        lake = Lake(folder)
        lake.replace(TRACES, world.traces)
        for day in world.traces["day"].unique().sort():
            measure_day(lake, day, settings.observe, made_from=None)
            score_day(lake, day, settings.signals, made_from=None)
        return lake.read(TRACE_SIGNALS)


def read_by_cycle(world: World, signals: pl.DataFrame, settings: Settings, *, n_read: int) -> pl.DataFrame:
    """READ rows: `n_read` traces a cycle by every order. The queue of a cycle knows what was said of those before."""
    return pl.concat(_read(world, signals, settings, n_read))


def read_at_once(world: World, signals: pl.DataFrame, settings: Settings, *, share: float) -> pl.DataFrame:
    """READ rows: this share of each service's traces, all days of it together as one cycle."""
    at_once = pl.lit(MONDAY).alias("day")
    services = world.traces.with_columns(at_once).partition_by("service_name")
    alone = [world._replace(traces=traces) for traces in services]
    return pl.concat(
        part
        for each in alone
        for part in _read(each, signals.with_columns(at_once), settings, math.ceil(share * each.traces.height))
    )


def _read(world: World, signals: pl.DataFrame, settings: Settings, n_read: int) -> Iterator[pl.DataFrame]:
    signals = signals.join(world.traces.select("trace_id"), on="trace_id", how="semi")
    with tempfile.TemporaryDirectory(prefix="bench-triage-") as folder:
        lake = Lake(folder)
        lake.replace(TRACES, world.traces)
        lake.replace(TRACE_SIGNALS, signals)
        for cycle in sorted({cycle_of(day) for day in world.traces["day"].unique()}):
            queue = queue_of_cycle(lake, cycle, [Reviewer(_READER, n_read)], settings.review).sort("rank")
            lake.replace(CANDIDATES, queue, partition=cycle)
            lake.append_new(ANNOTATIONS, _said(queue, world.truth, cycle))
            in_cycle = pl.col("day").is_between(*cycle_days(cycle))
            traces = world.traces.filter(in_cycle)
            yield _ranked(QUEUE, cycle, queue)
            yield _ranked(CHOSEN, cycle, queue.filter(pl.col("arm") != "control"))
            yield _ranked(ANOMALY, cycle, _top(signals.filter(in_cycle), pl.col("anomaly_score"), n_read))
            yield _ranked(LONGEST, cycle, _top(traces, _N_TOKENS, n_read))
            yield _ranked(FOREST, cycle, _top(traces, _oddness(traces), n_read))


def _ranked(order: str, cycle: str, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        order=pl.lit(order), cycle=pl.lit(cycle), rank=1 + pl.int_range(pl.len(), dtype=pl.Int64), trace_id="trace_id"
    )


def _top(rows: pl.DataFrame, by: pl.Expr | pl.Series, n: int) -> pl.DataFrame:
    return rows.with_columns(_by=by).sort("_by", "trace_id", descending=[True, False]).head(n)


_N_TOKENS = pl.sum_horizontal("n_input_tokens", "n_output_tokens")


def _oddness(traces: pl.DataFrame) -> pl.Series:
    """What somebody would do in an hour: scikit-learn's forest on what the trace table counts."""
    from sklearn.ensemble import IsolationForest

    counts = traces.select("n_spans", _N_TOKENS.alias("n_tokens"), "duration_ns", "n_tool_calls", "n_tool_errors")
    forest = IsolationForest(random_state=_FOREST_SEED).fit(counts.to_numpy())
    return pl.Series(-forest.score_samples(counts.to_numpy()))


def _said(queue: pl.DataFrame, truth: pl.DataFrame, cycle: str) -> pl.DataFrame:
    """ANNOTATIONS of the traces read, all true, made on the Monday after the cycle."""
    at = datetime.combine(cycle_days(cycle)[1] + timedelta(days=1), time(9), UTC)
    return ANNOTATIONS.conform(
        queue.select("trace_id")
        .unique(maintain_order=True)
        .join(truth, on="trace_id", maintain_order="left")
        .explode("modes", empty_as_null=True, keep_nulls=True)
        .select(
            "trace_id",
            annotation_id=pl.concat_str("trace_id", pl.col("modes").fill_null("")),
            verdict=pl.when(pl.col("modes").is_null()).then(pl.lit("good")).otherwise(pl.lit("bad")),
            failure_mode="modes",
            annotator=pl.lit(_READER),
            annotated_at=pl.lit(at),
            label_source=pl.lit("human"),
            cycle=pl.lit(cycle),
        )
    )
