"""Scripted domain experts for the demo: each reads their review queue, and nothing else, and says what is wrong.

The only readers of the planted truth. They are human in what matters to the pipeline: they stop when their time is
up, slip now and then, call half-failures partial, and never spell a failure mode the same way twice.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import polars as pl

from evalpipe.demo.plan import DemoPlan, FailureMode

REVIEWERS = {"dana": 100, "eli": 20}
"""Traces that each reads a week. Eli has little time: half of it goes to what Dana reads too."""

_CARELESS_SHARE = 0.03  # of judgements are wrong: labels are never perfect
_PARTIAL_SHARE = 0.1  # of failures are called partial: the answer was of some use
_COMMENT_SHARE = 0.5  # of failures get a word of explanation
_SECONDS_PER_TRACE = 72  # 100 traces in two hours


class _Opinion(NamedTuple):
    correction: str
    comments: tuple[str, ...]


def review(
    queue: pl.DataFrame,
    truth: Mapping[str, str | None],
    *,
    week_end: datetime,
    plan: DemoPlan,
    seed: int,
    annotator: str = "dana",
    capacity: int = 100,
) -> list[dict[str, Any]]:
    """Annotate the CANDIDATES rows that are still queued, in reading order, at most `capacity` traces.

    `truth` may know more traces than the queue shows; a queued trace that it does not know is left unread.
    Each judgement depends on its trace and the seed alone, so a longer queue changes none of them.
    """
    waiting = queue.filter(pl.col("status") == "queued").sort("rank", "trace_id")
    readable = [trace_id for trace_id in waiting["trace_id"].unique(maintain_order=True) if trace_id in truth]
    return [
        _judgement(
            plan.chance("review", seed, annotator, trace_id),
            annotator,
            trace_id,
            truth[trace_id],
            week_end + timedelta(seconds=_SECONDS_PER_TRACE * (n + 1)),
        )
        for n, trace_id in enumerate(readable[:capacity])
    ]


def write_annotations(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """One annotation a line, JSON, as `evalpipe annotations import` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def _judgement(chance: Random, annotator: str, trace_id: str, planted: str | None, at: datetime) -> dict[str, Any]:
    mode = None if planted is None else FailureMode(planted)
    if chance.random() < _CARELESS_SHARE:
        mode = _slip(chance, mode)
    row: dict[str, Any] = {
        "trace_id": trace_id,
        "verdict": "good",
        "failure_mode": None,
        "correction": None,
        "comment": None,
        "annotator": annotator,
        "annotated_at": at.isoformat(),
        "label_source": "human",
    }
    if mode is not None:
        opinion = _OPINIONS[mode]
        row["verdict"] = "partial" if chance.random() < _PARTIAL_SHARE else "bad"
        row["failure_mode"] = _spelled(chance, mode)
        row["correction"] = opinion.correction
        row["comment"] = chance.choice(opinion.comments) if chance.random() < _COMMENT_SHARE else None
    return row


def _slip(chance: Random, mode: FailureMode | None) -> FailureMode | None:
    """A careless mistake: a failure overlooked, confused with another, or seen where there is none."""
    others: list[FailureMode | None] = [other for other in FailureMode if other != mode]
    if mode is not None and chance.random() < 0.6:
        return None
    return chance.choice(others)


def _spelled(chance: Random, mode: FailureMode) -> str:
    """The mode's name as typed this time; case and punctuation vary, words do not, so that it stays one issue."""
    words = mode.value.replace("_", " ")
    return chance.choice((mode.value, words, words.capitalize(), f"{words}.", words.replace(" ", "-"), f" {words} "))


_OPINIONS: dict[FailureMode, _Opinion] = {
    FailureMode.REFUND_WITHOUT_POLICY_CHECK: _Opinion(
        "Call check_refund_policy before issue_refund.",
        ("Money went out before anyone looked at the policy.", "The check is missing or came too late."),
    ),
    FailureMode.REPEATED_IDENTICAL_TOOL_CALL: _Opinion(
        "Use the first result instead of asking for it again.",
        ("Same call over and over.", "Stuck in a loop, slow and expensive."),
    ),
    FailureMode.IGNORED_TOOL_ERROR: _Opinion(
        "Say that the change did not go through and hand over.",
        ("The tool failed, the customer was told it worked.", "Nothing was changed in the end."),
    ),
    FailureMode.PROMISED_REFUND_NOT_ISSUED: _Opinion(
        "Issue the refund before saying so.",
        ("No refund was ever made.", "The customer will wait for money that nobody sent."),
    ),
    FailureMode.INVENTED_POLICY: _Opinion(
        "Say only what the help pages say.",
        ("We have no such rule.", "Made up; the help pages say nothing like it."),
    ),
    FailureMode.UNHELPFUL_DEFLECTION: _Opinion(
        "Look it up and answer, or hand over to a colleague.",
        ("Says nothing at all.", "The customer is no wiser than before."),
    ),
    FailureMode.ASKED_AGAIN_FOR_ORDER_NUMBER: _Opinion(
        "Use the order number from the message.",
        ("It is right there in the request.", "Customer already gave the number."),
    ),
}
