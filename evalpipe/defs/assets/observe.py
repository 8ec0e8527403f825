"""Observe: raw OTLP segments -> spans -> traces and sessions, by UTC day."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from evalpipe.defs.partitions import BY_DAY, SPANS_AROUND
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.retries import asset
from evalpipe.defs.spec import spec
from evalpipe.defs.tell import each_partition, told, told_of
from evalpipe.plan import CODE_VERSIONS, expected, made_from
from evalpipe.tables import RAW_OTLP, SESSIONS, SPANS, TRACES
from evalpipe.traces.on_lake import roll_up_day, roll_up_sessions, take_in_day


@asset(**spec(RAW_OTLP, "observe", {"otlp"}), **BY_DAY)
def raw_otlp(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    should_be = expected(opened, "raw_otlp", home.now())

    def make(key: str) -> dict[str, Any]:
        day = date.fromisoformat(key)
        segments = opened.landing.ledger_of(day)
        opened.lake.replace(RAW_OTLP, segments, partition=key, made_from=should_be.get(key))
        return told(opened, RAW_OTLP, segments, n_bytes=int(segments["n_bytes"].sum()))

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


@asset(**spec(SPANS, "observe"), **BY_DAY, deps=[RAW_OTLP.name])
def spans(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()

    def inputs(segment_ids: Sequence[str]) -> int:
        return made_from("spans", list(segment_ids))

    def make(key: str) -> dict[str, Any]:
        day = date.fromisoformat(key)
        taken = take_in_day(opened.landing, opened.lake, day, reading=opened.reading, now=home.now(), made_from=inputs)
        return told_of(opened, SPANS, _on(day), n_new_spans=taken.n_new, n_refused=taken.n_refused)

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


@asset(**spec(TRACES, "observe"), **BY_DAY, deps=[dg.AssetDep(SPANS.name, partition_mapping=SPANS_AROUND)])
def traces(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened, now = home.open(), home.now()
    should_be = expected(opened, "traces", now)
    version = int(CODE_VERSIONS["traces"])

    def make(key: str) -> dict[str, Any]:
        day = date.fromisoformat(key)
        settings = opened.settings.observe
        rolled = roll_up_day(
            opened.lake, day, settings=settings, now=now, made_from=should_be.get(key), code_version=version
        )
        incomplete_share = opened.lake.scan(TRACES).filter(_on(day)).select((~pl.col("is_complete")).mean())
        return told_of(
            opened,
            TRACES,
            _on(day),
            n_changed=rolled.n_changed,
            n_open=rolled.n_open,
            incomplete_share=incomplete_share.collect().item(),
        )

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


@asset(**spec(SESSIONS, "observe"), **BY_DAY, deps=[TRACES.name])
def sessions(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    opened = home.open()
    should_be = expected(opened, "sessions", home.now())

    def make(key: str) -> dict[str, Any]:
        day = date.fromisoformat(key)
        made_of = should_be.get(key)
        rolled = roll_up_sessions(opened.lake, day, settings=opened.settings.observe, made_from=made_of)
        touching = (pl.col("first_day") <= day) & (pl.col("last_day") >= day)
        return told_of(opened, SESSIONS, touching, n_changed=rolled.n_changed)

    each_partition(context, context.partition_keys, make)
    return dg.MaterializeResult()


def _on(day: date) -> pl.Expr:
    return pl.col("day") == day
