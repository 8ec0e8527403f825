"""Issues that seem to be one failure in two wordings, for a person to merge or to keep apart.

Words are compared, not meanings: a proposal is often right and never carried out without a person. How alike two issues
are is measured in likeness.py, what a person's decision does is in decisions.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from evalpipe.issues.claims import claims_of
from evalpipe.issues.likeness import likenesses
from evalpipe.issues.replay import OPEN, Issues, owners_of, pairs_kept_apart, replay
from evalpipe.settings import IssueSettings
from evalpipe.tables import ISSUE_PROPOSALS

Row = Mapping[str, Any]


def proposals(
    issues: pl.DataFrame, events: pl.DataFrame, annotations: pl.DataFrame, settings: IssueSettings
) -> pl.DataFrame:
    """ISSUE_PROPOSALS: issues at least `propose_similarity` like a more frequent one, the likest first.

    `issues` are ISSUES, `events` ISSUE_EVENTS, `annotations` effective ones, all in any order. Of equally frequent
    issues the older takes over. One that would go takes no other in, so a cluster is a star around its most frequent
    issue. Issues of different services may be one failure: the reason says so. Not proposed are pairs that a person
    kept apart, split among them, and pairs of which neither is open.
    """
    states = replay(events)
    ranked = issues.filter(pl.col("issue_id").is_in(sorted(set(owners_of(states).values())))).sort(
        "n_failures", "first_seen_at", "issue_id", descending=[True, False, False]
    )
    known = {row["issue_id"]: row for row in ranked.iter_rows(named=True)}
    neighbours: dict[str, dict[str, Row]] = {issue_id: {} for issue_id in known}
    for pair in _candidates(states, list(known), annotations, settings).iter_rows(named=True):
        neighbours[pair["issue_id"]][pair["into_issue_id"]] = pair
    rows = [
        {
            **pair,
            "name": states[pair["issue_id"]].name,
            "into_name": states[pair["into_issue_id"]].name,
            "reason": _reason(pair, known, states),
        }
        for pair in _stars(list(known), neighbours)
    ]
    return ISSUE_PROPOSALS.conform(pl.DataFrame(rows) if rows else ISSUE_PROPOSALS.empty()).sort(
        "similarity", "issue_id", descending=[True, False]
    )


def _candidates(
    states: Issues, issue_ids: Sequence[str], annotations: pl.DataFrame, settings: IssueSettings
) -> pl.DataFrame:
    modes = [(issue_id, mode) for issue_id in issue_ids for mode in states[issue_id].modes]
    alike = likenesses(
        pl.DataFrame(modes, schema={"issue_id": pl.String, "mode_key": pl.String}, orient="row"),
        claims_of(annotations, states)
        .filter(pl.col("issue_id").is_in(issue_ids))
        .unpivot(["comment", "evidence"], index="issue_id", value_name="text"),
        settings.propose_similarity,
    )
    is_open = pl.col("issue_id", "into_issue_id").is_in([each for each in issue_ids if states[each].state in OPEN])
    apart = sorted((one, other) for pair in pairs_kept_apart(states) for one in pair for other in pair - {one})
    kept_apart = pl.DataFrame(apart, schema={"issue_id": pl.String, "into_issue_id": pl.String}, orient="row")
    return alike.filter(pl.any_horizontal(is_open)).join(kept_apart, on=["issue_id", "into_issue_id"], how="anti")


def _stars(ranked: Sequence[str], neighbours: Mapping[str, Mapping[str, Row]]) -> Iterator[Row]:
    """One pair for each issue that is near a centre; an issue that is near none of those before it becomes one."""
    centres: dict[str, int] = {}  # with their rank
    for issue_id in ranked:
        near = [pair for into_id, pair in neighbours[issue_id].items() if into_id in centres]
        if near:
            yield min(near, key=lambda pair: (-pair["similarity"], centres[pair["into_issue_id"]]))
        else:
            centres[issue_id] = len(centres)


def _reason(pair: Row, known: Mapping[str, Row], states: Issues) -> str:
    issue, into = known[pair["issue_id"]], known[pair["into_issue_id"]]
    words = ", ".join(repr(word) for word in pair["shared_words"])
    parts = [f"both say {words}" if words else "they are spelt alike"]
    if pair["is_by_comments"]:
        parts.append("their comments are alike")
    parts.append(f"annotated failures: {issue['n_failures']} and {into['n_failures']}")
    if issue["services"] and into["services"] and not set(issue["services"]) & set(into["services"]):
        parts.append(f"in different services ({', '.join(issue['services'])}; {', '.join(into['services'])})")
    parts.extend(
        f"{states[each].name!r} is {states[each].state}"
        for each in (pair["issue_id"], pair["into_issue_id"])
        if states[each].state not in OPEN
    )
    return "; ".join(parts)
