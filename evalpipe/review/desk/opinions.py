"""What reviewers say of the traces in their queue: how their opinions stand, and the rows that change them.

The rules of an annotation are in annotations.py; when a row is written, in desk.py. Every act is later than what the
reviewer said of the trace before, whatever the clocks of two servers say: order is what makes an opinion stand.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

from evalpipe.ids import content_hash, normalised_failure_mode
from evalpipe.review.annotations import annotation, effective_annotations
from evalpipe.tables import REVIEW_EVENTS

SOURCE = "review page"
"""The `source` of annotations that were made here."""

_TICK = timedelta(microseconds=1)  # the resolution of the tables


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reviewer hands in. A failure_mode belongs to bad and partial."""

    verdict: str  # good, bad or partial
    failure_mode: str | None = None
    correction: str | None = None
    comment: str | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a reviewer last said of a trace, where it still stands."""

    verdict: str
    failure_mode: str | None
    correction: str | None
    comment: str | None
    evidence: str | None
    annotated_at: datetime


class Stance(NamedTuple):
    """All that one reviewer's annotations say of a trace. `seen` and `said_at` are of the newest, withdrawn or not."""

    seen: str
    said_at: datetime
    standing: list[dict[str, Any]]  # ANNOTATIONS rows, the newest last; a file may name several failures

    @property
    def opinion(self) -> Opinion | None:
        return Opinion(**{name: self.standing[-1][name] for name in Opinion.__slots__}) if self.standing else None


class Skip(NamedTuple):
    """The newest review event of a trace in a queue: why it is skipped, or None since it no longer is."""

    reason: str | None
    at: datetime


def stances(annotations: pl.DataFrame, reviewer: str) -> dict[str, Stance]:
    """For each trace that the reviewer ever annotated, as a person, what they say of it."""
    said = annotations.filter(pl.col("annotator") == reviewer, pl.col("label_source") == "human")
    standing: dict[str, list[dict[str, Any]]] = {}
    for row in effective_annotations(said).iter_rows(named=True):
        standing.setdefault(row["trace_id"], []).append(row)
    newest = said.sort("annotated_at", "annotation_id").unique("trace_id", keep="last")
    return {
        trace_id: Stance(seen, said_at, standing.get(trace_id, []))
        for trace_id, seen, said_at in newest.select("trace_id", "annotation_id", "annotated_at").iter_rows()
    }


def stance_on(annotations: pl.DataFrame, reviewer: str, trace_id: str) -> Stance | None:
    """What the reviewer says of one trace; None when that never was anything."""
    return stances(annotations.filter(pl.col("trace_id") == trace_id), reviewer).get(trace_id)


def skips(events: pl.DataFrame, reviewer: str, cycle: str) -> dict[str, Skip]:
    """For each trace of the queue that was ever skipped, the newest that was done about it."""
    ours = events.filter(pl.col("reviewer") == reviewer, pl.col("cycle") == cycle)
    newest = ours.sort("at", "event_id").unique("trace_id", keep="last")
    return {
        trace_id: Skip(reason if kind == "skipped" else None, at)
        for trace_id, kind, reason, at in newest.select("trace_id", "kind", "reason", "at").iter_rows()
    }


def is_same(answer: Answer, opinion: Opinion | None) -> bool:
    """Whether the answer says what already stands: a submit that came twice."""
    said = None if opinion is None else {name: getattr(opinion, name) for name in Answer.__slots__}
    return said == _cleaned(answer)


def answer_rows(
    answer: Answer, stance: Stance | None, *, reviewer: str, cycle: str, trace_id: str, now: datetime
) -> pl.DataFrame:
    """ANNOTATIONS that make `answer` all that the reviewer says of the trace; the last row is the answer.

    A failure does not take back another failure by itself, since a file may name several; so a withdrawal goes before.
    Raises InputError when the answer cannot be taken.
    """
    at = _after(now, stance.said_at if stance else None)
    mode = normalised_failure_mode(answer.failure_mode or "")
    others = [row for row in (stance.standing if stance else []) if row["verdict"] != "good"]
    is_other = any(normalised_failure_mode(row["failure_mode"]) != mode for row in others)
    withdrawal = []
    if is_other and answer.verdict != "good":
        withdrawal = [withdrawal_rows(stance, reviewer=reviewer, cycle=cycle, trace_id=trace_id, now=at)]
        at += _TICK
    said = annotation(trace_id, _cleaned(answer), annotator=reviewer, cycle=cycle, source=SOURCE, now=at)
    return pl.concat([*withdrawal, said])


def withdrawal_rows(stance: Stance | None, *, reviewer: str, cycle: str, trace_id: str, now: datetime) -> pl.DataFrame:
    """ANNOTATIONS, one row, that takes back all the reviewer said of the trace."""
    at = _after(now, stance.said_at if stance else None)
    return annotation(trace_id, {"verdict": "withdrawn"}, annotator=reviewer, cycle=cycle, source=SOURCE, now=at)


def skip_rows(
    reason: str | None, skip: Skip | None, *, reviewer: str, cycle: str, trace_id: str, now: datetime
) -> pl.DataFrame:
    """REVIEW_EVENTS: the trace is skipped for this reason, or (None) no longer. None where that is so already."""
    if reason == (skip.reason if skip else None):
        return REVIEW_EVENTS.empty()
    at = _after(now, skip.at if skip else None)
    kind = "unskipped" if reason is None else "skipped"
    row = {"kind": kind, "cycle": cycle, "trace_id": trace_id, "reviewer": reviewer, "reason": reason or ""}
    event_id = content_hash([*row.values(), at.isoformat()])
    return REVIEW_EVENTS.conform(pl.DataFrame([{"event_id": event_id, **row, "at": at}]))


def _after(now: datetime, last: datetime | None) -> datetime:
    return now.astimezone(UTC) if last is None else max(now.astimezone(UTC), last + _TICK)


def _cleaned(answer: Answer) -> dict[str, str | None]:
    """As it is written: without white space around it, lines ending as everywhere, empty text as none."""
    texts = {name: (text or "").replace("\r\n", "\n").strip() for name, text in asdict(answer).items()}
    return {name: text or None for name, text in texts.items()}
