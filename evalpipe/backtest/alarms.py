"""What people would have been told in a week, by what was known when it began: alarms and what the gate says. Pure.

An alarm has one of three reasons: `rate` (a release is flagged more than the one before), `recurrence` (a solved issue
has returned) or `escalation` (an issue shows far more often than is usual). Whether it was right is for outcome.py.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from evalpipe.backtest.known import Known, start_of
from evalpipe.backtest.traffic import Seen, newest_release
from evalpipe.gate.decide import EvaluatorRun, GatePolicy, decide, role_of
from evalpipe.issues.evidence import by_newest_version, hours_of, whole_hours
from evalpipe.issues.exposure import READINGS, Exposure
from evalpipe.issues.lifecycle import since_resolved
from evalpipe.issues.recurrence import recurrence
from evalpipe.issues.replay import IssueState
from evalpipe.quality.confusion import Confusion
from evalpipe.quality.intervals import difference_interval
from evalpipe.quality.prevalence import Judged, corrected_prevalence
from evalpipe.quality.surges import turns
from evalpipe.settings import Settings
from evalpipe.tables import SETTLED, TRACKED, UTC

ALARMS = pl.Schema(
    {
        "issue_id": pl.String,
        "service_name": pl.String,
        "release": pl.String,
        "at": UTC,
        "how": pl.String,  # rate, recurrence or escalation
        "evaluator_id": pl.String,
        "version": pl.Int32,
        "role": pl.String,  # blocking or monitoring
        "mcc": pl.Float64,
        "detail": pl.String,  # what was seen, in words
    }
)

GATES = pl.Schema({"issue_id": pl.String, "service_name": pl.String, "release": pl.String, "gate": pl.String})
"""What the gate says of a release: blocked, warned, passed, abstained or skipped, by the evaluator of each issue."""

_RELEASE = ["service_name", "release"]


def alarms_of_week(known: Known, seen: Seen, monday: date, last: date, settings: Settings) -> pl.DataFrame:
    """ALARMS raised from `monday` to the end of its week, or of `last` where that comes first, the earliest first.

    `known` is what was known when the week began. Of `seen` only what its evaluators say of days up to then counts.
    """
    until = min(monday + timedelta(days=7), last + timedelta(days=1))
    counts = known.counts(seen.counts, until, settings.monitor.window_days)
    roles = {row["evaluator_id"]: _role(known, row, settings) for row in known.trusted.iter_rows(named=True)}
    rows = [
        *_rate_alarms(known, counts, seen.releases, monday, until, settings),
        *_production_alarms(known, counts, seen, monday, until, settings),
    ]
    told = [row | {"role": roles[row["evaluator_id"]]} for row in rows]
    return pl.DataFrame(told, schema=ALARMS).sort("at", "issue_id", *_RELEASE, "how")


def gates_of_week(known: Known, seen: Seen, monday: date, last: date, settings: Settings) -> pl.DataFrame:
    """GATES of the releases first seen in the week: the gate asked of all their traces of it (`gate --release`)."""
    until = min(monday + timedelta(days=7), last + timedelta(days=1))
    counts = known.counts(seen.counts, until, settings.monitor.window_days)
    policy = GatePolicy(gate=settings.gate, quality=settings.quality)
    figures = ("n_judged", "n_flagged", "n_faults")
    rows: list[dict[str, str]] = []
    new = seen.releases.filter(pl.col("first_seen").is_between(start_of(monday), start_of(until), closed="left"))
    for service_name, release in new.select(_RELEASE).iter_rows():
        mine = counts.filter(pl.col("service_name") == service_name, pl.col("service_version") == release)
        counted = {
            (evaluator_id, version): numbers
            for evaluator_id, version, *numbers in mine.group_by("evaluator_id", "version")
            .agg(pl.col(figures).sum())
            .iter_rows()
        }
        runs = [
            _run(known, row, counted.get((row["evaluator_id"], row["version"]), (0, 0, 0)))
            for row in known.suite.iter_rows(named=True)
        ]
        rows += [
            {
                "issue_id": str(result.run.issue_id),
                "service_name": service_name,
                "release": release,
                "gate": "blocked" if result.reason in blocking else _GATE[result.outcome],
            }
            for decision in [decide(runs, policy)]
            for blocking in [set(decision.blocking_reasons)]
            for result in decision.results
        ]
    return pl.DataFrame(rows, schema=GATES)


_GATE = {"failed": "warned", "passed": "passed", "abstained": "abstained", "skipped": "skipped"}


def _run(known: Known, row: dict[str, Any], counted: Iterable[int]) -> EvaluatorRun:
    n_judged, n_flagged, n_faults = counted
    return EvaluatorRun(
        evaluator_id=row["evaluator_id"],
        version=row["version"],
        issue_id=row["issue_id"],
        failure_mode=row["failure_mode"],
        kind=row["kind"],
        issue_state=known.issues[row["issue_id"]].state,
        mcc=row["mcc"],
        mcc_lower=row["mcc_lower"],
        n_positives=(row["tp"] or 0) + (row["fn"] or 0),
        n_pass=n_judged - n_flagged,
        n_fail=n_flagged,
        n_fault=n_faults,
    )


def _role(known: Known, row: dict[str, Any], settings: Settings) -> str:
    role = role_of(_run(known, row, (0, 0, 0)), GatePolicy(gate=settings.gate, quality=settings.quality))
    return "blocking" if role == "blocking" else "monitoring"


def _rate_alarms(
    known: Known, counts: pl.DataFrame, releases: pl.DataFrame, monday: date, until: date, settings: Settings
) -> list[dict[str, Any]]:
    """The first day's end of the week at which a release is flagged more, beyond noise, than the one before it.

    Releases first seen within the last `window_days` are looked at. The k-th day's end may be wrong with a chance of
    recurrence_error / (k (k + 1)), so that all looks at one issue and release together are with recurrence_error.

    Measured on independent traces, 20 to 1,000 a day, after 14 days of the release before, 28 looks at an error of 5 %:
    3 to 6 % of releases without a change raise an alarm, for shares of 0.5 to 10 %. A share of 3 % that doubles is
    caught in 28 % of releases at 20 traces a day, 86 % at 100 and all at 1,000; one that trebles in 62 %, all and all.
    """
    recent = start_of(monday - timedelta(days=settings.monitor.window_days))
    watched = releases.filter(pl.col("before").is_not_null(), pl.col("first_seen") >= recent)
    days = pl.DataFrame({"until_day": pl.date_range(monday, until, closed="left", eager=True)})
    names = ("judged_weight", "flagged_weight", "judged_weight_sq", "n_judged", "n_flagged")
    daily = (
        counts.join(known.trusted.select("evaluator_id", "version", "mcc"), on=["evaluator_id", "version"])
        .rename({"service_version": "release"})
        .group_by("issue_id", "evaluator_id", "version", "mcc", *_RELEASE, "day")
        .agg(pl.col(names).sum())
        .join(days, how="cross")
        .filter(pl.col("day") <= pl.col("until_day"))
        .group_by("issue_id", "evaluator_id", "version", "mcc", *_RELEASE, "until_day")
        .agg(pl.col(names).sum())
        .filter(pl.col("judged_weight") > 0)
    )
    same = ["issue_id", "evaluator_id", "version", "service_name", "until_day"]
    looks = (
        daily.join(watched, on=_RELEASE)
        .join(daily.drop("mcc").rename({"release": "before"}), on=[*same, "before"], suffix="_before")
        .with_columns(look=(pl.col("until_day") - pl.col("first_seen").dt.date()).dt.total_days() + 1)
        .filter(pl.col("look") >= 1)
        .sort("issue_id", *_RELEASE, "until_day")
    )
    error = settings.verification.recurrence_error
    is_more = [
        share_difference(now, before, 1 - 2 * error / (k * (k + 1))).lower > 0
        for k, *weights in looks.select("look", *names[:3], *(f"{name}_before" for name in names[:3])).iter_rows()
        for now, before in [(weights[:3], weights[3:])]
    ]
    found = looks.filter(pl.Series(is_more, dtype=pl.Boolean)).unique(
        ["issue_id", *_RELEASE], keep="first", maintain_order=True
    )
    return [
        {name: row[name] for name in ("issue_id", "service_name", "release", "evaluator_id", "version", "mcc")}
        | {
            "at": start_of(row["until_day"] + timedelta(days=1)),
            "how": "rate",
            "detail": f"{row['n_flagged']} of {row['n_judged']} traces of {named(row['release'])} flagged, against "
            f"{row['n_flagged_before']} of {row['n_judged_before']} of {named(row['before'])}",
        }
        for row in found.iter_rows(named=True)
    ]


def share_difference(now: list[float], before: list[float], confidence: float) -> Any:
    """Interval of one flagged share minus another, each from (judged_weight, flagged_weight, judged_weight_sq).

    Unequal weights count as the number of equal ones with the same variance (Kish 1965).
    """
    shares = [(flagged / judged, judged**2 / judged_sq) for judged, flagged, judged_sq in (now, before)]
    return difference_interval(*shares[0], *shares[1], confidence)


def named(release: str) -> str:
    """The release in words."""
    return release or "traffic that names no release"


def _production_alarms(
    known: Known, counts: pl.DataFrame, seen: Seen, monday: date, until: date, settings: Settings
) -> list[dict[str, Any]]:
    """What the tests of traffic say that run all the time: returns of solved issues, escalations of the others."""
    found: list[dict[str, Any]] = []
    for row in known.trusted.iter_rows(named=True):
        issue = known.issues[row["issue_id"]]
        mine = by_newest_version(counts.filter(pl.col("issue_id") == issue.issue_id))
        if mine.is_empty():
            continue
        by = {name: row[name] for name in ("issue_id", "evaluator_id", "version", "mcc")}
        if issue.state == "resolved":
            found += _recurred(issue, mine, known, seen, row, by, monday, until, settings)
        elif issue.state in TRACKED:
            found += _escalated(mine, seen, by, monday, until, settings)
    return found


def _recurred(
    issue: IssueState,
    counts: pl.DataFrame,
    known: Known,
    seen: Seen,
    row: dict[str, Any],
    by: dict[str, Any],
    monday: date,
    until: date,
    settings: Settings,
) -> list[dict[str, Any]]:
    errors = None if row["tp"] is None else Confusion(*(row[name] for name in Confusion._fields))
    exposure = Exposure(
        hours=hours_of(counts),
        readings=_readings(known, seen.said, issue.issue_id),
        agreement=errors,
        rate_before=_rate_before(issue, counts, errors, settings),
    )
    said = recurrence(*since_resolved(issue, exposure), settings.verification)
    if said.at is None or said.at >= start_of(until):
        return []
    at = max(said.at, start_of(monday))  # what follows from labels of last week is told when they are known
    services = counts["service_name"].unique().to_list()
    there = seen.releases.filter(pl.col("release") == (said.release or ""), pl.col("service_name").is_in(services))
    return [
        by | {"service_name": service, "release": release, "at": at, "how": "recurrence", "detail": said.reason}
        for service, release in there.sort("first_seen").select(_RELEASE).head(1).iter_rows()
    ]


def _escalated(
    counts: pl.DataFrame, seen: Seen, by: dict[str, Any], monday: date, until: date, settings: Settings
) -> list[dict[str, Any]]:
    services = counts["service_name"].unique().to_list()
    for turn in turns(whole_hours(counts), settings.verification):
        where = newest_release(seen.releases, services, turn.at)
        if turn.is_escalating and start_of(monday) <= turn.at < start_of(until) and where is not None:
            usual = f"where {turn.expected:.1f} are usual"
            detail = f"{turn.observed} flagged traces in {settings.verification.escalation_hours} hours, {usual}"
            how = {"at": turn.at, "how": "escalation", "detail": detail}
            return [by | how | {"service_name": where[0], "release": where[1]}]
    return []


def _readings(known: Known, said: pl.DataFrame, issue_id: str) -> pl.DataFrame:
    """READINGS as they were: labels of then beside what the newest version of then says of the same traces."""
    labels = known.labels.filter(SETTLED, pl.col("issue_id") == issue_id)
    version = ["evaluator_id", "version"]
    newest = (
        said.filter(pl.col("issue_id") == issue_id)
        .join(known.versions, on=version, how="semi")
        .sort("version")
        .unique("trace_id", keep="last")
    )
    return (
        newest.join(labels.select("trace_id", "is_failure", read_at="labelled_at"), on="trace_id")
        .with_columns(is_random=pl.lit(False))  # a return is told by any reading
        .select(READINGS.names())
        .sort("at")
    )


def _rate_before(issue: IssueState, counts: pl.DataFrame, errors: Confusion | None, settings: Settings) -> float | None:
    """The share of traffic that showed it in the weeks before its fix; None when the evaluator cannot tell."""
    fixed: datetime | None = issue.deployed_at or issue.resolved_at
    if fixed is None or errors is None:
        return None
    days = pl.col("day").is_between(fixed.date() - timedelta(days=settings.monitor.window_days), fixed.date(), "left")
    judged = Judged(*(float(counts.filter(days)[name].sum()) for name in Judged._fields))
    found = corrected_prevalence(judged, errors, confidence=settings.monitor.confidence, seed=0)
    return None if found is None else found.value
