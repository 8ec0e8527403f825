"""Issues as people look at them together: what each is called in whose words, and which of them may be one.

It is worked out from what people wrote until now, so a decision shows at once; the pipeline's own count follows with
its next run. What a decision does is in decisions.py, how it is taken back in undo.py.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from evalpipe.issues.claims import claims_of
from evalpipe.issues.replay import OPEN, Issues, pairs_kept_apart, root_of
from evalpipe.issues.wording import telling_words

_MAX_EXAMPLES = 30  # of an issue: some of them the reader may not see yet
_MAX_PHRASE = 3  # words: the longest that wording.py knows as one
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Wording:
    """A failure mode of an issue, as people mostly spell it."""

    mode: str  # normalised
    text: str
    n_traces: int  # for which it was written; 0 for a name that came otherwise


@dataclass(frozen=True, slots=True)
class Example:
    """What somebody wrote of a trace that shows the issue."""

    trace_id: str
    said_at: datetime
    comment: str | None
    evidence: str | None


@dataclass(frozen=True, slots=True)
class Card:
    """One issue that is not merged."""

    issue_id: str
    name: str
    state: str
    has_returned: bool  # open again after it was resolved
    services: list[str]
    n_failures: int  # traces that people say show it, whatever others say of them
    n_people: int
    last_seen_at: datetime
    wordings: list[Wording]  # the most frequent first
    examples: list[Example]  # the newest first; none outside a pair

    @property
    def is_open(self) -> bool:
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class Pair:
    """Two issues that may be one: `issue` would go, and `into` take it over."""

    issue: Card
    into: Card
    shared_words: list[str]
    reason: str


@dataclass(frozen=True, slots=True)
class Board:
    """Everything that there is to decide on: pairs in the order proposed; cards open first, then the frequent."""

    pairs: list[Pair]
    cards: list[Card]


class OpenPair(NamedTuple):
    """A proposal that nobody has decided on yet, by the ids that its issues go by now."""

    issue_id: str
    into_issue_id: str
    shared_words: list[str]
    reason: str


def open_pairs(proposals: pl.DataFrame, issues: Issues) -> list[OpenPair]:
    """The ISSUE_PROPOSALS that are still to be decided on: proposals are older than the newest decisions."""
    decided = pairs_kept_apart(issues)
    found: dict[frozenset[str], OpenPair] = {}
    for row in proposals.sort("similarity", "issue_id", descending=[True, False]).iter_rows(named=True):
        if row["issue_id"] not in issues or row["into_issue_id"] not in issues:
            continue
        issue, into = root_of(issues, row["issue_id"]), root_of(issues, row["into_issue_id"])
        pair = frozenset((issue.issue_id, into.issue_id))
        if len(pair) == 2 and pair not in decided and (issue.state in OPEN or into.state in OPEN):
            found.setdefault(pair, OpenPair(issue.issue_id, into.issue_id, row["shared_words"], row["reason"]))
    return list(found.values())


def board_of(issues: Issues, pairs: Sequence[OpenPair], annotations: pl.DataFrame, table: pl.DataFrame) -> Board:
    """The board of these issues. `annotations` are effective ones; of `table` (ISSUES) the services are taken."""
    claims = claims_of(annotations, issues).filter(pl.col("issue_id").is_not_null())
    services = _services(issues, table)
    in_a_pair = [issue_id for pair in pairs for issue_id in (pair.issue_id, pair.into_issue_id)]
    said, wordings = _by_issue(_sums(claims)), _by_issue(_wordings(claims))
    examples = _by_issue(_examples(claims.filter(pl.col("issue_id").is_in(in_a_pair))))
    cards: dict[str, Card] = {}
    for issue in issues.values():
        if issue.merged_into is not None:
            continue
        written = {row["mode"]: Wording(**row) for row in wordings.get(issue.issue_id, ())}
        unwritten = [Wording(mode, mode, 0) for mode in issue.modes if mode not in written]
        (sums,) = said.get(issue.issue_id, [{"n_failures": 0, "n_people": 0, "last_seen_at": issue.first_seen_at}])
        cards[issue.issue_id] = Card(
            issue_id=issue.issue_id,
            name=issue.name,
            state=issue.state,
            has_returned=issue.has_returned and issue.state in OPEN,
            services=services[issue.issue_id],
            wordings=[*written.values(), *unwritten],
            examples=[Example(**row) for row in examples.get(issue.issue_id, ())],
            **sums,
        )
    return Board(
        pairs=[Pair(cards[pair.issue_id], cards[pair.into_issue_id], pair.shared_words, pair.reason) for pair in pairs],
        cards=sorted(cards.values(), key=lambda card: (not card.is_open, -card.n_failures, card.name, card.issue_id)),
    )


def examples_of(issue_id: str, issues: Issues, annotations: pl.DataFrame) -> list[Example]:
    """What people wrote of traces that show the issue, the newest first. `annotations` are effective ones."""
    claims = claims_of(annotations, issues).filter(pl.col("issue_id") == issue_id)
    return [Example(**row) for row in _by_issue(_examples(claims)).get(issue_id, ())]


def shared_places(text: str, shared_words: Sequence[str]) -> list[tuple[int, int]]:
    """Where `text` says one of these words, in whatever form: [start, end) in order, without overlap."""
    words = [match.span() for match in _WORD.finditer(text)]
    taken: dict[int, tuple[int, int]] = {}  # by the place of each word
    for n_words in range(1, _MAX_PHRASE + 1):
        for first in range(len(words) - n_words + 1):
            places = range(first, first + n_words)
            span = (words[first][0], words[first + n_words - 1][1])
            said = telling_words(text[slice(*span)])
            if len(said) == 1 and said[0] in shared_words and not any(place in taken for place in places):
                taken |= dict.fromkeys(places, span)
    return sorted(set(taken.values()))


def _services(issues: Issues, table: pl.DataFrame) -> dict[str, list[str]]:
    """By the issue that is not merged, those of what was merged into it included."""
    counted = dict(table.select("issue_id", "services").iter_rows())
    found: dict[str, set[str]] = {}
    for issue in issues.values():
        names = found.setdefault(root_of(issues, issue.issue_id).issue_id, set())
        names.update(issue.services, counted.get(issue.issue_id, ()))
    return {issue_id: sorted(names) for issue_id, names in found.items()}


def _sums(claims: pl.DataFrame) -> pl.DataFrame:
    return claims.group_by("issue_id").agg(
        n_failures=pl.col("trace_id").n_unique(),
        n_people=pl.col("annotator").n_unique(),
        last_seen_at=pl.col("annotated_at").max(),
    )


def _wordings(claims: pl.DataFrame) -> pl.DataFrame:
    """Of each mode the commonest spelling, of equally common ones the newest."""
    spelling = claims.group_by("issue_id", "mode_key", "failure_mode").agg(n=pl.len(), at=pl.col("annotated_at").max())
    commonest = spelling.sort("n", "at", "failure_mode", descending=True).unique(
        ["issue_id", "mode_key"], keep="first", maintain_order=True
    )
    n_traces = claims.group_by("issue_id", "mode_key").agg(n_traces=pl.col("trace_id").n_unique())
    return (
        commonest.join(n_traces, on=["issue_id", "mode_key"])
        .select("issue_id", mode="mode_key", text="failure_mode", n_traces="n_traces")
        .sort("n_traces", "mode", descending=[True, False])
    )


def _examples(claims: pl.DataFrame) -> pl.DataFrame:
    return (
        claims.sort("annotated_at", "annotation_id", descending=True)
        .unique(["issue_id", "trace_id"], keep="first", maintain_order=True)
        .group_by("issue_id", maintain_order=True)
        .head(_MAX_EXAMPLES)
        .select("issue_id", "trace_id", "comment", "evidence", said_at="annotated_at")
    )


def _by_issue(frame: pl.DataFrame) -> Mapping[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        rows.setdefault(row.pop("issue_id"), []).append(row)
    return rows
