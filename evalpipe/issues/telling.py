"""What happened to an issue, for people: one sentence for each of its events.

Names and reasons come from people and traces: who shows a sentence escapes it.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from evalpipe.issues.events import PIPELINE

LIFE = (
    *("sighted", "promoted", "fix_claimed", "fix_withdrawn", "deployed", "verified", "refuted"),
    *("resolved", "reopened", "recurred", "escalated", "calmed", "ignored", "unignored"),
)
"""The kinds of events that move an issue or flag it; the others say what it is called and what belongs to it."""


class Told(NamedTuple):
    """An event in words."""

    at: datetime
    kind: str
    author: str
    what: str


def story(events: pl.DataFrame, issue_id: str) -> list[Told]:
    """What happened to the issue, in order of time. `events` are ISSUE_EVENTS rows."""
    mine = events.filter(pl.col("issue_id") == issue_id).unique("event_id").sort("at", "event_id")
    return [
        Told(at, kind, author, in_words(kind, author, json.loads(evidence)))
        for at, kind, author, evidence in mine.select("at", "kind", "author", "evidence").iter_rows()
    ]


def in_words(kind: str, author: str, evidence: Mapping[str, Any]) -> str:
    """One sentence; `why` of a person is added to it."""
    said = _sentence(kind, author, evidence)
    return f"{said}: {evidence['why']}" if evidence.get("why") else said


def _sentence(kind: str, author: str, evidence: Mapping[str, Any]) -> str:
    release = evidence.get("release")
    by = "" if author == PIPELINE else f" by {author}"
    match kind:
        case "sighted":
            return f"first seen, as “{evidence.get('failure_mode', '')}”"
        case "promoted":
            return f"became an issue: {evidence.get('n_failures', 0)} traces show it"
        case "renamed":
            return f"renamed{by} to “{evidence.get('name', '')}”"
        case "rated":
            return f"called {evidence.get('severity', '')}{by}"
        case "merged":
            return f"merged{by} into {evidence.get('into', '')}"
        case "split":
            return f"split{by}: {', '.join(evidence.get('modes', ()))} went to {evidence.get('into', '')}"
        case "kept_apart":
            return f"told apart{by} from {evidence.get('from', '')}"
        case "fix_claimed":
            where = f" in release {release}" if release else ""
            how = "a gate passed that had failed" if author == PIPELINE else f"{author} said so"
            return f"said to be fixed{where}: {how}"
        case "fix_withdrawn":
            why = "a gate failed again before it was deployed" if author == PIPELINE else f"{author} said so"
            return f"not fixed after all: {why}"
        case "deployed":
            return f"release {release} with the fix was seen in production" if release else "the fix was deployed"
        case "verified":
            return f"solved: {evidence.get('reason', '')}"
        case "refuted":
            return f"not solved: {evidence.get('reason', '')}"
        case "resolved":
            return f"called solved{by}, without verification"
        case "reopened":
            return f"reopened{by}"
        case "recurred":
            return f"came back{f' in release {release}' if release else ''}: {evidence.get('reason', '')}"
        case "escalated":
            usual = evidence.get("n_usual")
            return f"escalating: {evidence.get('n_flagged', 0)} traces flagged within hours where {usual} are usual"
        case "calmed":
            return "as frequent as usual again"
        case _:
            return f"{kind}{by}"
