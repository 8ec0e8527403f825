"""Signals on the lake: a day's traces become features, and features against those of past days become signals.

What is read is bounded: of a day some thousand transcripts at a time, of the history a sample of narrow columns.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from evalpipe.lake.store import Lake
from evalpipe.settings import MonitorSettings, ObserveSettings, SignalSettings
from evalpipe.signals.anomaly import sample_bound, signal_frame
from evalpipe.signals.drift import BEFORE_DAYS, NUMBERS, RECENT_DAYS, WORDS, drift_of_service
from evalpipe.signals.features import feature_frame
from evalpipe.tables import PRODUCTION, TRACE_FEATURES, TRACE_SIGNALS, TRACES, TRAFFIC_DRIFT

_CHUNK_TRACES = 10_000  # transcripts in memory at once
_DRIFT_TRACES = 2_000  # of a service at either time: a share is then known to a hundredth
_DRIFT_CHARS = 2_000  # of each text
_USER_REACH = timedelta(days=1)  # somebody who asks again, where there are no sessions, does so soon
_TRACE_COLUMNS = (
    *("trace_id", "day", "session_id", "user_id", "turn_index", "service_name", "service_version", "transcript"),
    *("n_llm_calls", "n_tool_calls", "n_input_tokens", "n_output_tokens", "cost_usd", "duration_ns"),
    *("start_unix_ns", "end_unix_ns", "status", "defects"),
)
_ONLY_SHOWN = (  # what is said of a trace, and teaches nothing about another
    *("complaints", "hedges", "refusals", "repeated", "ignored_tool", "is_cut_off"),
    *("unbacked_claims", "asked_again", "request_language", "answer_language", "evidence"),
)


def measure_day(lake: Lake, day: date, settings: ObserveSettings, *, made_from: int | None) -> pl.DataFrame:
    """Make the TRACE_FEATURES of `day` from its closed traces and those before them of the same sessions.

    A session is looked for in the `session_days` before; for traces without one their user stands in, for a day.
    """
    chunks = _chunks(lake, day)
    before = _traces_before(lake, day, chunks, settings)
    parts = [feature_frame(_traces_of(lake, day, chunk), _earlier_traces(lake, before, chunk)) for chunk in chunks]
    rows = pl.concat(parts).sort("draw", "trace_id") if parts else TRACE_FEATURES.empty()
    lake.replace(TRACE_FEATURES, rows, partition=day, made_from=made_from)
    return rows


def score_day(lake: Lake, day: date, settings: SignalSettings, *, made_from: int | None) -> pl.DataFrame:
    """Make the TRACE_SIGNALS of `day` from its features and a sample of those of the `history_days` before."""
    today = lake.read(TRACE_FEATURES, pl.col("day") == day)
    rows = signal_frame(today, _sampled_history(lake, day, today, settings), settings)
    lake.replace(TRACE_SIGNALS, rows, partition=day, made_from=made_from)
    return rows


def traffic_drift(lake: Lake, settings: MonitorSettings, seed: int) -> pl.DataFrame:
    """TRAFFIC_DRIFT of every service with traffic in the last week of the lake, against the four weeks before.

    Of each service and time a sample of whole sessions is read, and of a text its beginning, so that memory is bounded
    whatever the traffic; the services follow one another.
    """
    last = lake.scan(TRACE_FEATURES).select(pl.col("day").max()).collect().item()
    if last is None:
        return TRAFFIC_DRIFT.empty()
    first = last - timedelta(days=RECENT_DAYS - 1)
    inside = pl.col("day").is_between(first - timedelta(days=BEFORE_DAYS), last)
    is_recent = pl.col("day") >= first
    sizes = (
        lake.scan(TRACE_FEATURES)
        .filter(inside)
        .group_by("service_name")
        .agg(n_recent=is_recent.sum(), n_before=(~is_recent).sum())
        .filter(pl.col("n_recent") > 0)
        .sort("service_name")
        .collect()
    )
    parts = [TRAFFIC_DRIFT.empty()]
    for service, n_recent, n_before in sizes.rows():
        bound = pl.when(is_recent).then(_DRIFT_TRACES / n_recent).otherwise(_DRIFT_TRACES / max(n_before, 1))
        sampled = (
            lake.scan(TRACE_FEATURES)
            .filter(inside, pl.col("service_name") == service, pl.col("draw") < bound)
            .select("trace_id", "day", "session_id", "service_name", "calls", *NUMBERS)
            .collect()
        )
        if sampled.is_empty():
            continue
        days, ids = (sampled[name].unique().implode() for name in ("day", "trace_id"))
        texts = (
            lake.scan(TRACES)
            .filter(pl.col("day").is_in(days), pl.col("trace_id").is_in(ids))
            .select("trace_id", *(pl.col(name).str.slice(0, _DRIFT_CHARS) for name in WORDS))
            .collect()
        )
        traces = sampled.join(texts, on="trace_id", how="left")
        parts.append(drift_of_service(traces, first_day=first, last_day=last, settings=settings, seed=seed))
    return pl.concat(parts)


def _chunks(lake: Lake, day: date) -> list[pl.DataFrame]:
    """trace_id, session_id, user_id of the day's closed traces, cut so that no session, or user without, is in two."""
    owned = (
        lake.scan(TRACES)
        .filter(pl.col("day") == day, PRODUCTION)
        .select("trace_id", "session_id", "user_id", owner=pl.coalesce("session_id", "user_id", "trace_id"))
        .sort("owner", "trace_id")
        .with_row_index("place")
        .with_columns(chunk=pl.col("place").min().over("owner") // _CHUNK_TRACES)
        .drop("owner", "place")
        .collect()
    )
    return owned.partition_by("chunk", maintain_order=True, include_key=False)


def _traces_of(lake: Lake, day: date, chunk: pl.DataFrame) -> pl.DataFrame:
    wanted = pl.col("trace_id").is_in(chunk["trace_id"].implode())
    return lake.scan(TRACES).filter(pl.col("day") == day, wanted).select(_TRACE_COLUMNS).collect()


def _traces_before(lake: Lake, day: date, chunks: Sequence[pl.DataFrame], settings: ObserveSettings) -> pl.DataFrame:
    """trace_id, day, session_id, user_id of the traces before `day` that belong to today's; few sessions last a night.

    Found by narrow columns in one pass, so that the days before are not read for each chunk.
    """
    owners = pl.concat(chunks) if chunks else TRACES.empty()
    since = day - timedelta(days=settings.session_days)
    is_same_session = pl.col("session_id").is_in(owners["session_id"].drop_nulls().unique().implode())
    users = owners.filter(pl.col("session_id").is_null())["user_id"].drop_nulls().unique()
    is_same_user = pl.col("session_id").is_null() & pl.col("user_id").is_in(users.implode())
    return (
        lake.scan(TRACES)
        .filter(pl.col("day").is_between(since, day, closed="left"))
        .filter(is_same_session | (is_same_user & (pl.col("day") >= day - _USER_REACH)))
        .select("trace_id", "day", "session_id", "user_id")
        .collect()
    )


def _earlier_traces(lake: Lake, before: pl.DataFrame, chunk: pl.DataFrame) -> pl.DataFrame:
    """Those of `before` that belong to the traces of a chunk, as they are in TRACES."""
    of_session = before.join(chunk, on="session_id", how="semi")
    of_user = before.filter(pl.col("session_id").is_null()).join(
        chunk.filter(pl.col("session_id").is_null()), on="user_id", how="semi"
    )
    wanted = pl.concat([of_session, of_user])
    on_days, is_wanted = (pl.col(name).is_in(wanted[name].unique().implode()) for name in ("day", "trace_id"))
    return lake.scan(TRACES).filter(on_days, is_wanted).select(_TRACE_COLUMNS).collect()


def _sampled_history(lake: Lake, day: date, today: pl.DataFrame, settings: SignalSettings) -> pl.DataFrame:
    """Past features of today's services: of each about as many as are used, drawn by whole sessions.

    A file is sorted by `draw`, so that what lies beyond the bound is not decoded.
    """
    services = pl.col("service_name").is_in(today["service_name"].unique().implode())
    since = day - timedelta(days=settings.history_days)
    past = lake.scan(TRACE_FEATURES).filter(pl.col("day").is_between(since, day, closed="left"), services)
    bounds = past.group_by("service_name").agg(bound=sample_bound(pl.len())).collect()
    bound = pl.col("service_name").replace_strict(bounds["service_name"], bounds["bound"], default=0.0)
    return past.filter(pl.col("draw") < bound).drop(_ONLY_SHOWN).collect()
