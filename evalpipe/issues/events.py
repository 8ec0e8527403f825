"""ISSUE_EVENTS rows: how what happened to an issue is written down. What follows from them is in replay.py."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from evalpipe.ids import IssueId, content_hash
from evalpipe.issues.replay import IssueState
from evalpipe.tables import ISSUE_EVENTS

PIPELINE = "pipeline"
"""The author of what no person decided."""

TICK = timedelta(microseconds=1)


def event(issue: IssueState, kind: str, *, author: str, now: datetime, evidence: Mapping[str, Any]) -> pl.DataFrame:
    """The event that happens to the issue as it is: at `now`, or a tick after what happened to it last."""
    # Strictly after what it answers to: a clock that runs behind must not put a decision before its cause.
    return _row(issue.issue_id, kind, author, max(now, issue.updated_at + TICK), evidence)


def sighted(
    issue_id: IssueId, *, failure_mode: str, at: datetime, trace_id: str, service_name: str | None = None
) -> pl.DataFrame:
    """The event an issue begins with: the first annotation that names its failure mode."""
    evidence = {"failure_mode": failure_mode, "trace_id": trace_id}
    return _row(issue_id, "sighted", PIPELINE, at, evidence | ({"service_name": service_name} if service_name else {}))


def _row(issue_id: IssueId, kind: str, author: str, at: datetime, evidence: Mapping[str, Any]) -> pl.DataFrame:
    text = json.dumps(evidence, sort_keys=True, ensure_ascii=False)
    event_id = content_hash([issue_id, kind, at.isoformat(), author, text])
    row = {"event_id": event_id, "issue_id": issue_id, "kind": kind, "at": at, "author": author, "evidence": text}
    return ISSUE_EVENTS.conform(pl.DataFrame([row]))
