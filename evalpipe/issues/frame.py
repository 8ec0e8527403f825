"""The table of issues: what became of each, and what the labels say of it. States are in replay.py."""

from datetime import datetime, timedelta

import polars as pl

from evalpipe.issues.replay import Issues, replay
from evalpipe.settings import VerificationSettings
from evalpipe.tables import ISSUES

_OF_LABELS = ("services", "n_failures", "last_seen_at")
_STATED = {name: dtype for name, dtype in ISSUES.schema.items() if name not in _OF_LABELS} | {
    "seen_in": ISSUES.schema["services"]
}


def new_issues(issues: Issues, now: datetime, settings: VerificationSettings) -> list[str]:
    """The ids of the issues that are flagged new at `now`, in order: the one flag that changes without an event."""
    new_for = timedelta(days=settings.new_days)
    return sorted(issue.issue_id for issue in issues.values() if "new" in issue.flags(now, new_for))


def issue_frame(
    events: pl.DataFrame, labels: pl.DataFrame, *, now: datetime, settings: VerificationSettings
) -> pl.DataFrame:
    """ISSUES: the replayed state of every issue with what LABELS rows say of it, sorted by id.

    `now` decides nothing but which issues are still new.
    """
    issues = replay(events)
    new_for = timedelta(days=settings.new_days)
    states = pl.DataFrame(
        [
            {
                "issue_id": issue.issue_id,
                "name": issue.name,
                "state": issue.state,
                "flags": issue.flags(now, new_for),
                "severity": issue.severity,
                "merged_into": issue.merged_into,
                "fixed_in": issue.fixed_in,
                "fix_claimed_at": issue.fix_claimed_at,
                "deployed_at": issue.deployed_at,
                "resolved_at": issue.resolved_at,
                "returned_in": issue.returned_in,
                "seen_in": list(issue.services),
                "first_seen_at": issue.first_seen_at,
                "updated_at": issue.updated_at,
            }
            for issue in issues.values()
        ],
        schema=_STATED,
    )
    failures = (
        labels.filter("is_failure")
        .group_by("issue_id")
        .agg(
            n_failures=pl.len(),
            failing=pl.col("service_name").unique(),
            first_label_at=pl.col("labelled_at").min(),
            last_label_at=pl.col("labelled_at").max(),
        )
    )
    return ISSUES.conform(
        states.join(failures, on="issue_id", how="left")
        .with_columns(
            pl.col("n_failures").fill_null(0),
            services=pl.col("seen_in").list.set_union(pl.col("failing").fill_null([])).list.sort(),
            last_seen_at=pl.max_horizontal("first_seen_at", "last_label_at"),
            first_seen_at=pl.min_horizontal("first_seen_at", "first_label_at"),
        )
        .sort("issue_id")
    )
