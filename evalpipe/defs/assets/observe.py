"""Observe: raw OTLP segments -> spans -> traces and sessions, by UTC day."""

from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from evalpipe.defs.partitions import BY_DAY, SPANS_AROUND
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.spec import spec
from evalpipe.defs.tell import each_partition, mean, share, told
from evalpipe.home import Home
from evalpipe.plan import WHOLE, expected
from evalpipe.tables import RAW_OTLP, SESSIONS, SPANS, TRACES
from evalpipe.traces.on_lake import take_in_day
from evalpipe.traces.rollup import session_frame, trace_frame


@dg.asset(**spec(RAW_OTLP, "observe", {"otlp"}))
def raw_otlp(home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    made_from = expected(opened, "raw_otlp").get(WHOLE)
    ledger = opened.landing.ledger()
    n_new = opened.lake.append_new(RAW_OTLP, ledger, made_from=made_from)
    return dg.MaterializeResult(
        metadata=told(opened, RAW_OTLP, ledger, n_new_segments=n_new, n_bytes=int(ledger["n_bytes"].sum()))
    )


@dg.asset(**spec(SPANS, "observe"), **BY_DAY, deps=[RAW_OTLP.name])
def spans(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    should_be = expected(opened, "spans")

    def make(day: str) -> dict[str, Any]:
        taken = take_in_day(
            opened.landing,
            opened.lake,
            date.fromisoformat(day),
            settings=opened.settings.observe,
            now=home.now(),
            made_from=should_be.get(day),
        )
        rows = opened.lake.read(SPANS, pl.col("day") == date.fromisoformat(day))
        return told(opened, SPANS, rows, n_new_spans=taken.n_new, n_refused=taken.n_refused)

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


@dg.asset(**spec(TRACES, "observe"), **BY_DAY, deps=[dg.AssetDep(SPANS.name, partition_mapping=SPANS_AROUND)])
def traces(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    should_be = expected(opened, "traces")

    def make(key: str) -> dict[str, Any]:
        day = date.fromisoformat(key)
        rows = trace_frame(opened.lake.read(SPANS, _around(day, opened.settings.observe.window_days)), day)
        opened.lake.replace(TRACES, rows, partition=key, made_from=should_be.get(key))
        return told(opened, TRACES, rows, incomplete_share=share(~rows["is_complete"]))

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


@dg.asset(**spec(SESSIONS, "observe"), **BY_DAY, deps=[TRACES.name])
def sessions(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    should_be = expected(opened, "sessions")

    def make(key: str) -> dict[str, Any]:
        rows = session_frame(_traces_of_sessions_on(opened, date.fromisoformat(key)))
        opened.lake.upsert(SESSIONS, rows, scope=key, made_from=should_be.get(key))
        return told(opened, SESSIONS, rows, mean_turns=mean(rows["n_turns"]))

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


def _around(day: date, reach_days: int) -> pl.Expr:
    return pl.col("day").is_between(day - timedelta(days=reach_days), day + timedelta(days=reach_days))


def _traces_of_sessions_on(home: Home, day: date) -> pl.DataFrame:
    ids = home.lake.scan(TRACES).filter(pl.col("day") == day).select(pl.col("session_id").unique()).collect()
    near = _around(day, home.settings.observe.session_days)
    return home.lake.read(TRACES, near, pl.col("session_id").is_in(ids["session_id"].drop_nulls().implode()))
