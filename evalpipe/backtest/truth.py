"""What counts as a regression in history, by what is known today. Pure.

A *regression* is an issue in a release (of one service) in which its failure is known today to have been there more
than before, for one of these reasons:

- rate: today's evaluator of the issue, if it is trusted, flags a larger share of the release's traffic than of that of
  the release before it, beyond noise (the interval of the difference at settings.monitor.confidence lies above 0).
  Both shares are corrected by the same errors (Rogan-Gladen), which neither makes nor hides a difference. Where no
  trusted evaluator checks the issue today, the traces that people read of both releases count instead, of those that
  the queue drew at random.
- recurred, reopened or escalated: an event of the issue says so. It is of the release that the event names, else of the
  one that was seen last before it.

It begins with the release, one of an event no earlier than the issue was solved, an escalation with the hours that
showed it. What is known today may be wrong: a rise that is not beyond noise in the traffic there was is none, one in
forty releases without one may look so by chance at 95 %, and an evaluator that a new release fools misleads the truth
as well. An event of the pipeline comes from the very test that would have told of it: it shows when an evaluator was
there to tell, not how good the test is. Traces of one session fail together more often than the intervals know.
"""

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

from evalpipe.backtest.alarms import share_difference
from evalpipe.backtest.known import Known, start_of
from evalpipe.backtest.traffic import Seen, newest_release
from evalpipe.issues.replay import Issues, IssueState, replay, root_of
from evalpipe.quality.confusion import Confusion
from evalpipe.quality.intervals import difference_interval, wilson_of_share
from evalpipe.quality.prevalence import Judged, corrected_prevalence
from evalpipe.quality.sampling import Estimate
from evalpipe.settings import Settings, VerificationSettings
from evalpipe.tables import SETTLED, UTC

REGRESSIONS = pl.Schema(
    {
        "issue_id": pl.String,
        "service_name": pl.String,
        "release": pl.String,
        "regressed_at": UTC,
        "known_by": pl.List(pl.String),  # rate, recurred, reopened, escalated
    }
)

RATES = pl.Schema(
    {
        "issue_id": pl.String,
        "service_name": pl.String,
        "release": pl.String,
        "before": pl.String,
        "first_seen": UTC,
        "is_more": pl.Boolean,
        **dict.fromkeys(
            (f"rate_{when}{end}" for when in ("before", "after") for end in ("", "_lower", "_upper")), pl.Float64
        ),
    }
)
"""How much of each release's traffic shows an issue, beside the release before; is_more: beyond noise."""

_KINDS = ("recurred", "reopened", "escalated")
_SEED = 0  # of the draws of an interval: the same counts give the same table


def rates_by_release(today: Known, seen: Seen, read: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """RATES of every issue and release with a release before it, as far as both have traffic in `seen`.

    `read` are ANNOTATED rows of that traffic.
    """
    rows = [*_rates_by_evaluators(today, seen, settings), *_rates_by_people(today, seen, read, settings)]
    return pl.DataFrame(rows, schema=RATES).sort("issue_id", "service_name", "first_seen")


def regressions(
    today: Known,
    rates: pl.DataFrame,
    events: pl.DataFrame,
    releases: pl.DataFrame,
    first: date,
    last: date,
    settings: VerificationSettings,
) -> pl.DataFrame:
    """REGRESSIONS that began with a release first seen, or an event, from `first` to `last`, in order of time."""
    inside = pl.col("first_seen").is_between(start_of(first), start_of(last + timedelta(days=1)), closed="left")
    by_rate = rates.filter("is_more", inside).select(
        "issue_id", "service_name", "release", regressed_at="first_seen", kind=pl.lit("rate")
    )
    told = events.filter(
        pl.col("kind").is_in(_KINDS), pl.col("at") >= start_of(first), pl.col("at") < start_of(last + timedelta(days=1))
    )
    by_event = [
        row
        for issue_id, kind, at, evidence in told.sort("at", "event_id")
        .select("issue_id", "kind", "at", "evidence")
        .iter_rows()
        if (
            row := _of_event(_Event(issue_id, kind, at, json.loads(evidence)), events, today.issues, releases, settings)
        )
    ]
    schema = {name: REGRESSIONS[name] for name in ("issue_id", "service_name", "release", "regressed_at")}
    return (
        pl.concat([by_rate, pl.DataFrame(by_event, schema={**schema, "kind": pl.String})])
        .group_by("issue_id", "service_name", "release")
        .agg(pl.col("regressed_at").min(), known_by=pl.col("kind").unique().sort())
        .sort("regressed_at", "issue_id", "service_name", "release")
    )


class _Event(NamedTuple):
    issue_id: str
    kind: str
    at: datetime
    evidence: Mapping[str, Any]


def _of_event(
    event: _Event, events: pl.DataFrame, issues: Issues, releases: pl.DataFrame, settings: VerificationSettings
) -> dict[str, Any] | None:
    """The regression that an event tells of; None for a void event, or of an issue that is nobody's concern today."""
    issue = issues.get(event.issue_id)
    if issue is None or root_of(issues, event.issue_id).state == "ignored":
        return None
    mine = events.filter(pl.col("at") <= event.at)
    after = replay(mine)[event.issue_id]
    before = replay(mine.filter(~((pl.col("issue_id") == event.issue_id) & (pl.col("at") == event.at))))
    if after.updated_at != event.at or event.issue_id not in before:
        return None
    named = event.evidence.get("release")
    services = list(root_of(issues, event.issue_id).services)
    of_services = pl.col("service_name").is_in(services) if services else pl.lit(True)
    there = releases.filter(of_services, pl.col("first_seen") <= event.at)
    if named:
        where = (
            there.filter(pl.col("release") == named).sort("first_seen").head(1).select("service_name", "release").rows()
        )
    else:
        newest = newest_release(there, there["service_name"].unique().to_list(), event.at)
        where = [newest] if newest is not None else []
    if not where:
        return None
    return {
        "issue_id": root_of(issues, event.issue_id).issue_id,
        "service_name": where[0][0],
        "release": where[0][1],
        "regressed_at": _began(event, before[event.issue_id], there, where[0], settings),
        "kind": event.kind,
    }


def _began(
    event: _Event, before: IssueState, releases: pl.DataFrame, where: tuple[str, str], settings: VerificationSettings
) -> datetime:
    if event.kind == "escalated":
        return event.at - timedelta(hours=settings.escalation_hours)
    this = releases.filter(pl.col("service_name") == where[0], pl.col("release") == where[1])
    first_seen: datetime = this["first_seen"].item()
    return first_seen if before.resolved_at is None else min(event.at, max(first_seen, before.resolved_at))


def _rates_by_evaluators(today: Known, seen: Seen, settings: Settings) -> list[dict[str, Any]]:
    measured = today.trusted.select("issue_id", "evaluator_id", "version", *Confusion._fields)
    totals = (
        seen.counts.rename({"service_version": "release"})
        .join(measured.drop("issue_id"), on=["evaluator_id", "version"])
        .group_by("issue_id", "service_name", "release", *Confusion._fields)
        .agg(pl.col(Judged._fields).sum())
        .filter(pl.col("judged_weight") > 0)
    )
    same = ["issue_id", "service_name"]
    pairs = totals.join(seen.releases, on=["service_name", "release"]).join(
        totals.drop(Confusion._fields).rename({"release": "before"}), on=[*same, "before"], suffix="_before"
    )
    rows = []
    for row in pairs.iter_rows(named=True):
        errors = Confusion(*(row[name] for name in Confusion._fields))
        after, before = (Judged(*(row[f"{name}{of}"] for name in Judged._fields)) for of in ("", "_before"))
        confidence = settings.monitor.confidence
        rates = (corrected_prevalence(each, errors, confidence=confidence, seed=_SEED) for each in (before, after))
        is_more = share_difference(list(after[:3]), list(before[:3]), confidence).lower > 0
        rows.append(_row(row, is_more=is_more, rates=dict(zip(("before", "after"), rates, strict=True))))
    return rows


def _rates_by_people(today: Known, seen: Seen, read: pl.DataFrame, settings: Settings) -> list[dict[str, Any]]:
    """Of the issues without a trusted evaluator: the traces read of those that were drawn at random."""
    drawn = read.filter("is_random").select("trace_id", "release")
    totals = (
        today.labels.filter(SETTLED, ~pl.col("issue_id").is_in(today.trusted["issue_id"].implode()))
        .join(drawn, on="trace_id")
        .group_by("issue_id", "service_name", "release")
        .agg(n=pl.len(), n_failing=pl.col("is_failure").sum())
    )
    pairs = totals.join(seen.releases, on=["service_name", "release"]).join(
        totals.rename({"release": "before"}), on=["issue_id", "service_name", "before"], suffix="_before"
    )
    confidence, rows = settings.monitor.confidence, []
    for row in pairs.iter_rows(named=True):
        (n, k), (n_before, k_before) = ((row[f"n{of}"], row[f"n_failing{of}"]) for of in ("", "_before"))
        is_more = difference_interval(k / n, n, k_before / n_before, n_before, confidence).lower > 0
        rates = {"before": _read_share(k_before, n_before, confidence), "after": _read_share(k, n, confidence)}
        rows.append(_row(row, is_more=is_more, rates=rates))
    return rows


def _read_share(n_failing: int, n: int, confidence: float) -> Estimate:
    return Estimate(n_failing / n, *wilson_of_share(n_failing / n, n, confidence))


def _row(row: Mapping[str, Any], *, is_more: bool, rates: Mapping[str, Estimate | None]) -> dict[str, Any]:
    bounds = {
        f"rate_{when}{end}": None if found is None else found[place]
        for when, found in rates.items()
        for place, end in enumerate(("", "_lower", "_upper"))
    }
    names = ("issue_id", "service_name", "release", "before", "first_seen")
    return {name: row[name] for name in names} | {"is_more": is_more} | bounds
