"""Which issues stand alarming now, escalating or returned, with the figures of the event that says so. Pure."""

from datetime import datetime, timedelta

import polars as pl

from evalpipe.issues.replay import replay

ALARMS = pl.Schema(
    {
        "issue_id": pl.String,
        "name": pl.String,
        "flag": pl.String,  # escalating or regressed
        "at": pl.Datetime("us", "UTC"),  # of the event, null for one that a person gave the flag
        "evidence": pl.String,  # JSON of the event
    }
)
"""One row an issue and flag."""

_SAID_BY = {"escalating": "escalated", "regressed": "recurred"}


def alarms(events: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """ALARMS, by issue_id and flag, of the issues that ISSUE_EVENTS give."""
    flagged = [
        (issue.issue_id, issue.name, flag, _SAID_BY[flag])
        for issue in replay(events).values()
        for flag in issue.flags(now, timedelta())
        if flag in _SAID_BY and issue.merged_into is None
    ]
    rows = pl.DataFrame(flagged, schema=dict.fromkeys(("issue_id", "name", "flag", "kind"), pl.String), orient="row")
    newest = (
        events.sort("at", "event_id").group_by("issue_id", "kind").last().select("issue_id", "kind", "at", "evidence")
    )
    return rows.join(newest, on=["issue_id", "kind"], how="left").sort("issue_id", "flag").select(ALARMS.names())
