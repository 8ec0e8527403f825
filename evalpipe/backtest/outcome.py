"""Alarms against regressions: what was caught when, what nobody could catch, what was a false alarm. Pure.

What was told is found in alarms.py, what is true in truth.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from evalpipe.backtest.known import Known, start_of
from evalpipe.backtest.traffic import Seen
from evalpipe.issues.replay import root_of
from evalpipe.pages import counted
from evalpipe.settings import Settings
from evalpipe.tables import BACKTESTS

_KEY = ["issue_id", "service_name", "release"]
_US_A_DAY = 86_400 * 10**6  # microseconds


@dataclass(frozen=True)
class Replayed:
    """What a replay found, before it is put together."""

    first: date  # a Monday
    last: date
    weeks: Sequence[Known]  # in order; each as of its Monday
    today: Known
    seen: Seen
    alarms: pl.DataFrame  # ALARMS of all weeks
    gates: pl.DataFrame  # GATES of all weeks
    regressions: pl.DataFrame  # REGRESSIONS
    rates: pl.DataFrame  # RATES
    evaluators: pl.DataFrame  # EVALUATORS, all versions: since when there is one


def outcome_frame(replayed: Replayed, backtest_id: str, settings: Settings) -> pl.DataFrame:
    """BACKTESTS: a row for each regression, and for each issue and release with a false alarm, in order of time.

    Of several alarms of an issue and release the first counts; one that came before the regression began is none of
    it. Alarms of a release that had regressed before the first day are neither: they are told, late or again.
    """
    began_before = replayed.rates.filter("is_more", pl.col("first_seen") < start_of(replayed.first))
    alarms = _of_today(replayed.alarms, replayed.today).sort("at", "how")
    gates = _of_today(replayed.gates, replayed.today)
    caught = (
        replayed.regressions.join(alarms, on=_KEY, how="left")
        .filter(pl.col("at").is_null() | (pl.col("at") >= pl.col("regressed_at")))
        .sort("at", "how")
        .unique(_KEY, keep="first", maintain_order=True)
    )
    # A regression all of whose alarms came too soon is not caught.
    uncaught = replayed.regressions.join(caught, on=_KEY, how="anti")
    false = (
        alarms.join(replayed.regressions, on=_KEY, how="anti")
        .join(began_before, on=_KEY, how="anti")
        .unique(_KEY, keep="first", maintain_order=True)
    )
    figures = [name for name in replayed.rates.columns if name.startswith("rate_")]
    found = (
        pl.concat([caught, uncaught, false], how="diagonal")
        .join(replayed.rates.select(*_KEY, *figures), on=_KEY, how="left")
        .join(replayed.seen.releases.select("service_name", "release", "before"), on=_KEY[1:], how="left")
        .join(gates.unique(_KEY, keep="first", maintain_order=True), on=_KEY, how="left")
        .with_columns(
            is_false_alarm=pl.col("regressed_at").is_null(),
            since=pl.coalesce("regressed_at", "at"),
            delay_days=(pl.col("at") - pl.col("regressed_at")).dt.total_microseconds() / _US_A_DAY,
        )
        .sort("since", *_KEY)
    )
    rows = [_row(row, replayed, backtest_id) for row in found.iter_rows(named=True)]
    if not rows:
        return BACKTESTS.empty()
    named = pl.DataFrame(rows, infer_schema_length=None).with_columns(confidence=pl.lit(settings.monitor.confidence))
    return BACKTESTS.conform(named)


def _of_today(told: pl.DataFrame, today: Known) -> pl.DataFrame:
    """What was told of an issue that was merged since was told of the one that took it over."""
    roots = {issue_id: root_of(today.issues, issue_id).issue_id for issue_id in today.issues}
    return told.with_columns(pl.col("issue_id").replace(roots))


def _row(row: dict[str, Any], replayed: Replayed, backtest_id: str) -> dict[str, Any]:
    issue = replayed.today.issues.get(row["issue_id"])
    monday = row["since"].date() - timedelta(days=row["since"].weekday())
    if row["is_false_alarm"] and row["at"].time() == datetime.min.time() and row["at"].date() == monday:
        monday -= timedelta(weeks=1)  # the midnight that ends a Sunday is of the week before
    return row | {
        "backtest_id": backtest_id,
        "first_day": replayed.first,
        "last_day": replayed.last,
        "week": monday,
        "issue_name": row["issue_id"] if issue is None else issue.name,
        "release_before": row["before"],
        "known_by": row["known_by"] or [],
        "caught_at": row["at"],
        "caught_how": row["how"],
        "caught_by": row["evaluator_id"],
        **_exposed(row, replayed),
        "reason": _false_in_words(row) if row["is_false_alarm"] else _in_words(row, replayed),
    }


def _exposed(row: dict[str, Any], replayed: Replayed) -> dict[str, Any]:
    """exposed_until, delay_traces: of the release, from the hour in which it regressed (all, of a false alarm) on."""
    until = row["at"] or start_of(replayed.last + timedelta(days=1))
    of_release = (pl.col("service_name") == row["service_name"]) & (pl.col("release") == row["release"])
    hours = replayed.seen.traffic.filter(of_release, pl.col("hour") < until)
    if row["regressed_at"] is not None:
        hours = hours.filter(pl.col("hour") > row["regressed_at"] - timedelta(hours=1))
    last = hours["hour"].max()
    ended = last + timedelta(hours=1) if isinstance(last, datetime) else None
    return {"exposed_until": row["at"] or ended, "delay_traces": int(hours["n_traces"].sum())}


def _in_words(row: dict[str, Any], replayed: Replayed) -> str:
    """Why it was caught when it was, or why not."""
    since = [week for week in replayed.weeks if week.at is not None and week.at + timedelta(weeks=1) > row["since"]]
    mine = [each for each, issue in replayed.today.issues.items() if row["issue_id"] in (each, issue.merged_into)]
    told = {week.at: _watcher(week, mine) for week in since}
    trusted_from = next((at for at, watcher in told.items() if watcher is not None), None)
    waited = (
        ""
        if trusted_from is None or trusted_from == next(iter(told))
        else (f"nobody could before {trusted_from:%Y-%m-%d}, for want of a trusted evaluator; then ")
    )
    if row["at"] is not None:
        return f"{waited}{row['detail']}"
    if trusted_from is not None:
        watcher = [each for each in told.values() if each is not None][-1]
        return (
            f"{waited}missed: {watcher['evaluator_id']} version {watcher['version']}, with an MCC of "
            f"{watcher['mcc']:.2f}, watched and saw no rise beyond noise"
        )
    return f"nobody could: {_why_nobody(mine, replayed, since)}"


def _watcher(week: Known, issue_ids: Sequence[str]) -> dict[str, Any] | None:
    return next(week.trusted.filter(pl.col("issue_id").is_in(issue_ids)).iter_rows(named=True), None)


def _why_nobody(issue_ids: Sequence[str], replayed: Replayed, weeks: Sequence[Known]) -> str:
    of_issue = pl.col("issue_id").is_in(issue_ids)
    if any(not week.suite.filter(of_issue).is_empty() for week in weeks):
        return "its evaluator was not good enough to be trusted"
    first = weeks[0] if weeks else replayed.today
    n_failures = first.labels.filter(of_issue, "is_failure").height
    annotated = f"people had annotated {counted(n_failures, 'trace')} that show it when the week began"
    made = replayed.evaluators.filter(of_issue, pl.col("status") != "retired")["created_at"].min()
    if not isinstance(made, datetime):
        return f"it has no evaluator to this day; {annotated}"
    return f"its first evaluator was made on {made:%Y-%m-%d}; {annotated}"


def _false_in_words(row: dict[str, Any]) -> str:
    return f"false alarm: {row['detail']}; today's knowledge sees no rise beyond noise"
