"""The backtest over the lake: read history, judge a day at a time what nobody has judged yet, keep the outcome.

Memory is bounded by a day of traces; of the other days only counts by hour and what is said of annotated traces stay.
"""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import polars as pl

from evalpipe.backtest.alarms import ALARMS, GATES, alarms_of_week, gates_of_week
from evalpipe.backtest.known import ANNOTATED, History, Known, known_at, mondays, start_of
from evalpipe.backtest.outcome import Replayed, outcome_frame
from evalpipe.backtest.traffic import RELEASES, SAID, TRAFFIC, Seen, release_order
from evalpipe.backtest.truth import rates_by_release, regressions
from evalpipe.errors import InputError, StateError
from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.on_lake import features_of, loaded
from evalpipe.evaluators.rates import count_frame
from evalpipe.evaluators.run import fields_of, is_served, verdicts_of
from evalpipe.evaluators.view import evaluator_view, needs_features
from evalpipe.ids import content_hash
from evalpipe.issues.evidence import utc_of
from evalpipe.lake.store import Lake
from evalpipe.settings import Settings
from evalpipe.tables import (
    ANNOTATIONS,
    BACKTESTS,
    CANDIDATES,
    EVALUATOR_QUALITY,
    EVALUATORS,
    ISSUE_EVENTS,
    PRODUCTION,
    TRACES,
    VERDICT_COUNTS,
    VERDICTS,
)

_VERSION = ["evaluator_id", "version"]
_RANDOM = "control"  # the arm of the queue that is drawn without regard to what is in a trace
_KEPT = ("evaluator_id", "version", "trace_id", "day", "issue_id", "outcome", "inclusion_probability")


_METHOD = 1  # of telling and of judging what was told: a backtest by other rules is another one


class Backtest(NamedTuple):
    """A backtest: its range and its BACKTESTS rows, which may be none."""

    backtest_id: str
    first_day: date  # the Monday of the first week
    last_day: date
    n_compared: int  # releases of issues that were compared with the one before: what could be a false alarm
    rows: pl.DataFrame


def backtest(
    lake: Lake, first: date, last: date, settings: Settings, *, progress: Callable[[int, int], None] | None = None
) -> Backtest:
    """Replay the ISO weeks from that of `first` to the day `last`, and keep the outcome in BACKTESTS.

    Each week is told by what was known on its Monday, 00:00 UTC. A rule or learned evaluator judges what it has not
    judged yet; a judge is not asked again, since that costs money: what it said of its sample counts. `progress` is
    called with the weeks of traffic that are judged and their number. The same history has the same id and is kept
    once; a later annotation makes another history, since it changes what is known today. Raises InputError where `last`
    comes before `first`, StateError where the range has no traffic.
    """
    if last < first:
        raise InputError(f"--to {last} comes before --from {first}: give the first day, then the last")
    weeks = mondays(first, last)
    releases = _releases(lake)
    _require_traffic(lake, weeks[0], last)
    history = _history(lake)
    known = [known_at(history, start_of(monday), settings) for monday in weeks]
    today = known_at(history, None, settings)
    begin = weeks[0] - timedelta(days=settings.monitor.window_days)
    wanted = _wanted(known, today, weeks, begin, last, settings)
    seen = _judged(lake, history, releases, wanted, begin, last, settings, progress)
    read = history.annotated.filter(pl.col("day").is_between(begin, last))
    rates = rates_by_release(today, seen, read, settings)
    by_week = list(zip(known, weeks, strict=True))
    replayed = Replayed(
        first=weeks[0],
        last=last,
        weeks=known,
        today=today,
        seen=seen,
        alarms=pl.concat(
            [pl.DataFrame(schema=ALARMS), *(alarms_of_week(each, seen, day, last, settings) for each, day in by_week)]
        ),
        gates=pl.concat(
            [pl.DataFrame(schema=GATES), *(gates_of_week(each, seen, day, last, settings) for each, day in by_week)]
        ),
        regressions=regressions(today, rates, history.events, releases, weeks[0], last, settings.verification),
        rates=rates,
        evaluators=history.evaluators,
    )
    backtest_id = _id_of(weeks[0], last, history, seen, settings)
    rows = outcome_frame(replayed, backtest_id, settings)
    lake.append_new(BACKTESTS, rows)
    n_compared = rates.filter(pl.col("first_seen") >= start_of(weeks[0])).height
    return Backtest(backtest_id, weeks[0], last, n_compared, rows)


def _releases(lake: Lake) -> pl.DataFrame:
    first = (
        lake.scan(TRACES)
        .filter(PRODUCTION)
        .group_by("service_name", release=pl.col("service_version").fill_null(""))
        .agg(first_seen=utc_of(pl.col("start_unix_ns").min()))
        .collect()
    )
    return release_order(first).match_to_schema(RELEASES)


def _require_traffic(lake: Lake, first: date, last: date) -> None:
    days = lake.scan(TRACES).filter(PRODUCTION).select("day")
    if not days.filter(pl.col("day").is_between(first, last)).head(1).collect().is_empty():
        return
    oldest, newest = days.select(oldest=pl.col("day").min(), newest=pl.col("day").max()).collect().row(0)
    there = (
        "there is no trace at all: evalpipe ingest FILE, then evalpipe run"
        if oldest is None
        else (f"there are traces from {oldest} to {newest}")
    )
    raise StateError(f"no trace lies between {first} and {last}, so nothing can be replayed; {there}")


def _history(lake: Lake) -> History:
    annotations = lake.read(ANNOTATIONS)
    random = lake.scan(CANDIDATES).filter(pl.col("arm") == _RANDOM).select("trace_id").unique().collect()
    annotated = (
        lake.scan(TRACES)
        .filter(pl.col("trace_id").is_in(annotations["trace_id"].unique().implode()))
        .select(
            "trace_id",
            "day",
            "session_id",
            "service_name",
            release=pl.col("service_version").fill_null(""),
            is_random=pl.col("trace_id").is_in(random["trace_id"].implode()),
        )
        .collect()
    )
    return History(
        annotations=annotations,
        annotated=annotated.match_to_schema(ANNOTATED),
        events=lake.read(ISSUE_EVENTS),
        evaluators=lake.read(EVALUATORS),
        quality=lake.read(EVALUATOR_QUALITY),
    )


def _wanted(
    known: Sequence[Known], today: Known, weeks: Sequence[date], begin: date, last: date, settings: Settings
) -> pl.DataFrame:
    """evaluator_id, version, first, until: the days of which each version that was ever asked has something to say.

    One that was current in a week: from as far back as a new version judges to the week's end. Today's: all days.
    """
    window = timedelta(days=settings.monitor.window_days)
    asked = [
        each.suite.select(
            *_VERSION,
            first=pl.max_horizontal(pl.col("created_at").dt.date() - window, pl.lit(begin)),
            until=pl.lit(min(monday + timedelta(days=7), last + timedelta(days=1))),
        )
        for each, monday in zip(known, weeks, strict=True)
    ]
    truth = today.trusted.select(*_VERSION, first=pl.lit(begin), until=pl.lit(last + timedelta(days=1)))
    return pl.concat([*asked, truth]).group_by(_VERSION).agg(pl.col("first").min(), pl.col("until").max())


class _Day(NamedTuple):
    counts: pl.DataFrame
    said: pl.DataFrame
    traffic: pl.DataFrame


def _judged(
    lake: Lake,
    history: History,
    releases: pl.DataFrame,
    wanted: pl.DataFrame,
    begin: date,
    last: date,
    settings: Settings,
    progress: Callable[[int, int], None] | None,
) -> Seen:
    rows = history.evaluators.join(wanted, on=_VERSION, how="semi")
    artifacts = {(each.evaluator_id, each.version): each for each in loaded(rows)}
    days = pl.date_range(begin, last, eager=True).to_list()
    n_weeks = -(-len(days) // 7)
    in_range = pl.col("day").is_between(begin, last)
    with_traffic = set(lake.scan(TRACES).filter(in_range, PRODUCTION).select("day").unique().collect()["day"])
    parts: list[_Day] = []
    for number, day in enumerate(days):
        on_day = wanted.filter(pl.col("first") <= day, pl.col("until") > day).select(_VERSION).sort(_VERSION)
        if day in with_traffic:
            parts.append(_day(lake, day, [artifacts[key] for key in on_day.iter_rows()], history.annotated, settings))
        if progress is not None and (number % 7 == 6 or number == len(days) - 1):
            progress(number // 7 + 1, n_weeks)
    return Seen(
        counts=pl.concat([VERDICT_COUNTS.empty(), *(part.counts for part in parts)]),
        said=pl.concat([pl.DataFrame(schema=SAID), *(part.said for part in parts)]),
        traffic=pl.concat([pl.DataFrame(schema=TRAFFIC), *(part.traffic for part in parts)]),
        releases=releases,
    )


def _day(lake: Lake, day: date, artifacts: Sequence[Artifact], annotated: pl.DataFrame, settings: Settings) -> _Day:
    on_day = pl.col("day") == day
    started = (
        lake.scan(TRACES)
        .filter(on_day, PRODUCTION)
        .select("trace_id", "session_id", "start_unix_ns", "service_name", "service_version")
        .collect()
        .sort("trace_id")
    )
    release = pl.col("service_version").fill_null("")
    traffic = (
        started.group_by("service_name", release=release, hour=utc_of(pl.col("start_unix_ns")).dt.truncate("1h"))
        .agg(n_traces=pl.len().cast(pl.Int64))
        .sort("service_name", "release", "hour")
        .match_to_schema(TRAFFIC)
    )
    verdicts = _verdicts(lake, day, artifacts, started, settings)
    read = started.filter(pl.col("trace_id").is_in(annotated.filter(on_day)["trace_id"].implode()))
    said = (
        verdicts.filter(pl.col("outcome") != "fault")
        .join(read, on="trace_id")
        .select(
            *("evaluator_id", "version", "issue_id", "trace_id"),
            at=utc_of(pl.col("start_unix_ns")),
            release=release,
            is_flagged=pl.col("outcome") == "fail",
        )
        .sort(*_VERSION, "trace_id")
        .match_to_schema(SAID)
    )
    return _Day(count_frame(verdicts, started), said, traffic)


def _verdicts(
    lake: Lake, day: date, artifacts: Sequence[Artifact], started: pl.DataFrame, settings: Settings
) -> pl.DataFrame:
    """What these versions say of the traces of the day: as they said then, else as they say now; see `backtest`."""
    on_day = pl.col("day") == day
    judges = pl.DataFrame(
        [(each.evaluator_id, each.version, each.kind != "judge") for each in artifacts],
        schema={**{name: VERDICTS.schema[name] for name in _VERSION}, "is_free": pl.Boolean},
        orient="row",
    )
    said = lake.scan(VERDICTS).filter(on_day).select(_KEPT).collect().join(judges, on=_VERSION)
    by_version: Mapping[tuple[Any, ...], pl.DataFrame] = said.partition_by(_VERSION, as_dict=True)
    nothing = said.clear()
    chosen = [
        is_served(each, started["service_name"])
        & ~started["trace_id"].is_in(by_version.get((each.evaluator_id, each.version), nothing)["trace_id"].implode())
        & (each.kind != "judge")
        for each in artifacts
    ]
    due = [place for place, rows in enumerate(chosen) if rows.any()]
    made = [nothing]
    if due:
        asked = [artifacts[place] for place in due]
        is_viewed = pl.select(pl.any_horizontal([chosen[place] for place in due])).to_series()
        ids = started.filter(is_viewed)["trace_id"]
        traces = lake.read(TRACES, on_day, pl.col("trace_id").is_in(ids.implode())).sort("trace_id")
        fields = fields_of(asked)
        view = evaluator_view(traces, features_of(lake, traces) if needs_features(fields) else None, fields=fields)
        rows = [chosen[place].filter(is_viewed) for place in due]
        made += [
            each.with_columns(day=pl.lit(day), inclusion_probability=pl.lit(1.0), is_free=pl.lit(True)).select(
                said.columns
            )
            for each in verdicts_of(asked, view, rows, llm=settings.llm)
        ]
    # Every trace was asked about where asking is free: none stands for others.
    whole = pl.when("is_free").then(1.0).otherwise("inclusion_probability").alias("inclusion_probability")
    return pl.concat([said, *made]).with_columns(whole).drop("is_free")


def _id_of(first: date, last: date, history: History, seen: Seen, settings: Settings) -> str:
    frames = {
        "annotations": history.annotations.sort("annotation_id"),
        "annotated": history.annotated.sort("trace_id"),
        "events": history.events.sort("event_id"),
        "evaluators": history.evaluators.drop("artifact").sort(_VERSION),
        "quality": history.quality.sort(EVALUATOR_QUALITY.key),
        "counts": seen.counts.sort(VERDICT_COUNTS.key),
        "said": seen.said.sort(*_VERSION, "trace_id"),
        "traffic": seen.traffic.sort("service_name", "release", "hour"),
        "releases": seen.releases,
    }
    stages = (settings.gate, settings.quality, settings.monitor, settings.verification, settings.review)
    question = {
        "method": _METHOD,
        "range": [first.isoformat(), last.isoformat()],
        "inputs": {name: _sha256(frame) for name, frame in frames.items()},
        "settings": [stage.model_dump(mode="json") for stage in stages],
    }
    return "bt_" + content_hash(question)


def _sha256(frame: pl.DataFrame) -> str:
    lines = io.BytesIO()
    frame.write_ndjson(lines)
    return hashlib.sha256(lines.getvalue()).hexdigest()
