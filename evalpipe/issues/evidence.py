"""The evidence on each issue, gathered from the lake: gates, hours of verdicts, traces that people have read.

Reads small tables whole, and of the large ones only the days and traces that people have annotated.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from evalpipe.issues.exposure import HOURS, READINGS, Exposure
from evalpipe.issues.lifecycle import Evidence, GateSaid
from evalpipe.issues.replay import IssueState
from evalpipe.lake.store import Lake
from evalpipe.quality.confusion import Confusion
from evalpipe.quality.coverage import latest_quality
from evalpipe.quality.surges import turns
from evalpipe.settings import VerificationSettings
from evalpipe.tables import (
    CANDIDATES,
    EVALUATOR_QUALITY,
    GATE_RESULTS,
    GATE_RUNS,
    ISSUE_RATES,
    LABELS,
    PREVALENCE,
    SETTLED,
    TRACES,
    UTC,
    VERDICT_COUNTS,
    VERDICTS,
)

_RATE_WEEKS = 4  # before a fix: what is usual, not what was last
_RANDOM_ARMS = ("control", "verification")


@dataclass(frozen=True)
class Gathered:
    """Everything that speaks of some issues, read once; `evidence_on` takes one issue's part."""

    counts: pl.DataFrame  # VERDICT_COUNTS, of each hour and release the newest version that judged it
    readings: pl.DataFrame  # READINGS with issue_id
    quality: pl.DataFrame  # EVALUATOR_QUALITY, the latest held-out row of each version
    rates: pl.DataFrame  # ISSUE_RATES
    prevalence: pl.DataFrame  # PREVALENCE
    gates: Mapping[str, list[GateSaid]]  # by issue, in order of time


def gather(lake: Lake, issue_ids: Collection[str]) -> Gathered:
    """All that the lake knows of these issues."""
    of_issues = pl.col("issue_id").is_in(sorted(issue_ids))
    return Gathered(
        counts=by_newest_version(lake.read(VERDICT_COUNTS, of_issues)),
        readings=_readings(lake, of_issues),
        quality=latest_quality(lake.read(EVALUATOR_QUALITY, of_issues), "held_out"),
        rates=lake.read(ISSUE_RATES, of_issues),
        prevalence=lake.read(PREVALENCE, of_issues),
        gates=_gates(lake, of_issues),
    )


def evidence_on(issue: IssueState, gathered: Gathered, settings: VerificationSettings) -> Evidence:
    """What is known of one issue as it is now."""
    hourly = whole_hours(gathered.counts.filter(pl.col("issue_id") == issue.issue_id))
    gates = gathered.gates.get(issue.issue_id, [])
    return Evidence(exposure_on(issue, gathered), gates, turns(hourly, settings))


def exposure_on(issue: IssueState, gathered: Gathered) -> Exposure:
    """The part of it that is traffic and reading: all that a fix is verified by."""
    mine = pl.col("issue_id") == issue.issue_id
    return Exposure(
        hours=hours_of(gathered.counts.filter(mine)),
        readings=gathered.readings.filter(mine).select(READINGS.names()),
        agreement=_agreement(gathered.quality.filter(mine)),
        rate_before=_rate_before(issue, gathered),
    )


def utc_of(unix_ns: pl.Expr) -> pl.Expr:
    """The time of nanoseconds since 1970, as the tables write times."""
    return pl.from_epoch(unix_ns, time_unit="ns").dt.cast_time_unit("us").dt.replace_time_zone("UTC")


def by_newest_version(counts: pl.DataFrame) -> pl.DataFrame:
    """Of VERDICT_COUNTS, for each hour and release of an issue, the row of the newest version that judged it."""
    place = ["issue_id", "day", "hour", "service_name", "service_version"]
    return counts.filter(pl.col("version") == pl.col("version").max().over(place))


def hours_of(counts: pl.DataFrame) -> pl.DataFrame:
    """HOURS of VERDICT_COUNTS rows of one issue, each hour and release from one version."""
    figures = ("n_judged", "n_flagged", "judged_weight", "flagged_weight", "judged_weight_sq")
    return (
        counts.filter(pl.col("n_judged") > 0)
        .select(
            *figures,
            at=utc_of(pl.col("first_start_unix_ns")),
            release="service_version",
        )
        .sort("at", "release")
        .select(HOURS.names())
    )


def whole_hours(counts: pl.DataFrame) -> pl.DataFrame:
    """hour (its start, UTC), n_judged, n_flagged of all releases together, without the last, which may go on.

    Sessions are counted: somebody who asks ten times and is failed ten times is one sign that failures are rising.
    """
    hour = pl.col("day").cast(UTC) + pl.duration(hours=pl.col("hour"))
    sums = {name: pl.col(f"{name}_sessions").sum() for name in ("n_judged", "n_flagged")}
    hours = counts.group_by(hour.alias("hour")).agg(**sums).sort("hour")
    return hours.head(max(0, hours.height - 1))


def _readings(lake: Lake, of_issues: pl.Expr) -> pl.DataFrame:
    labels = lake.read(LABELS, of_issues, SETTLED).select("issue_id", "trace_id", "day", "is_failure", "labelled_at")
    days, ids = labels["day"].unique().implode(), labels["trace_id"].unique().implode()
    on_traces = (pl.col("day").is_in(days), pl.col("trace_id").is_in(ids))
    traces = lake.scan(TRACES).filter(*on_traces).select("trace_id", "service_version", "start_unix_ns").collect()
    judged = (
        lake.scan(VERDICTS)
        .filter(*on_traces, of_issues, pl.col("outcome") != "fault")
        .select("issue_id", "trace_id", "version", "outcome")
        .collect()
        .sort("version")
        .unique(["issue_id", "trace_id"], keep="last")
    )
    drawn = lake.scan(CANDIDATES).filter(
        pl.col("arm").is_in(_RANDOM_ARMS), ~pl.col("is_second_opinion").fill_null(False)
    )
    random = drawn.select("trace_id").unique().collect().with_columns(is_random=pl.lit(True))
    return (
        labels.join(judged, on=["issue_id", "trace_id"])
        .join(traces, on="trace_id")
        .join(random, on="trace_id", how="left")
        .select(
            "issue_id",
            at=utc_of(pl.col("start_unix_ns")),
            read_at="labelled_at",
            release=pl.col("service_version").fill_null(""),
            is_flagged=pl.col("outcome") == "fail",
            is_failure="is_failure",
            is_random=pl.col("is_random").fill_null(False),
        )
        .sort("issue_id", "at")
    )


def _gates(lake: Lake, of_issues: pl.Expr) -> dict[str, list[GateSaid]]:
    runs = lake.read(GATE_RUNS).select("gate_id", "decided_at", "release")
    results = lake.read(GATE_RESULTS, of_issues, pl.col("outcome").is_in(["passed", "failed"]))
    said: dict[str, list[GateSaid]] = {}
    rows = results.join(runs, on="gate_id").sort("decided_at", "gate_id")
    for issue_id, *row in rows.select(
        "issue_id", "gate_id", "decided_at", "release", pl.col("outcome") == "passed"
    ).iter_rows():
        said.setdefault(issue_id, []).append(GateSaid(*row))
    return said


def _agreement(quality: pl.DataFrame) -> Confusion | None:
    rows = quality.sort("version").select("tp", "fp", "tn", "fn").tail(1).rows()
    return Confusion(*rows[0]) if rows else None


def _rate_before(issue: IssueState, gathered: Gathered) -> float | None:
    """The share of traffic that showed the issue in the weeks before its fix, else as the queues found it."""
    mine = pl.col("issue_id") == issue.issue_id
    weeks = gathered.rates.filter(mine, pl.col("prevalence").is_not_null()).sort("first_day")
    if issue.deployed_at is not None:
        whole = weeks.filter(pl.col("first_day").dt.offset_by("6d") < issue.deployed_at.date())
        weeks = whole if whole.height else weeks.head(1)
    last = weeks.tail(_RATE_WEEKS)
    n_judged = int(last["n_judged"].sum())
    if n_judged:
        return float((last["prevalence"] * last["n_judged"]).sum()) / n_judged
    return next(iter(gathered.prevalence.filter(mine)["prevalence"].drop_nulls().to_list()), None)
