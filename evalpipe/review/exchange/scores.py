"""Named scores on traces, as Langfuse and Phoenix have them, made into annotations. What a score is there, they say.

A score named verdict is an annotation. Whatever its metadata leaves open is filled from scores named failure_mode,
correction, comment and evidence by the same author on the same trace, one score a question, as a person gives them in
the tools' own pages. Scores of other names are no answers and are left out, as unknown columns of a CSV are.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from evalpipe.review.exchange.said import Record, Said, picked

ANSWERS = ("verdict", "failure_mode", "correction", "comment", "evidence")
"""The names of scores that are read."""

_METADATA = ("failure_mode", "correction", "evidence", "annotator", "annotated_at", "label_source", "cycle")


class Score(NamedTuple):
    """One score. `is_human` is false where the tool calls it a machine's or does not know; `span_id` is read where
    there is no `trace_id`."""

    trace_id: Any
    name: str
    value: Any
    comment: Any
    author: Any
    at: Any
    is_human: bool
    metadata: Any
    span_id: Any = None


def said_in_scores(scores: Sequence[Score]) -> Iterator[Said]:
    """The annotations in `scores`; also answers without a verdict, and scores of which none is an answer: to refuse."""
    named = [(i, score, _question(score.name)) for i, score in enumerate(scores)]
    answers = [(i, score, question) for i, score, question in named if question in ANSWERS]
    if not answers:
        for i, score in enumerate(scores):
            yield Said(i, _fields(score), problem=f"score '{score.name[:60]}' is none of {', '.join(ANSWERS)}")
        return
    beside: dict[tuple[str, ...], Record] = {}
    for _, score, question in answers:
        if question != "verdict":
            known = beside.setdefault(_who(score), {})
            remark = score.value if question == "comment" else score.comment
            known |= {question: score.value, "comment": _joined(known.get("comment"), remark)}
    judged = {_who(score) for _, score, question in answers if question == "verdict"}
    for i, score, question in answers:
        who, fields = _who(score), _fields(score)
        known = beside.get(who, {})
        if question == "verdict":
            comment = _joined(fields.get("comment"), known.get("comment"))
            yield Said(i, known | fields | {"verdict": score.value, "comment": comment})
        elif who not in judged:
            judged.add(who)
            yield Said(i, fields | known)


def metadata_of(row: Record) -> Record:
    """The parts of an annotation for which a score has no place of its own."""
    return picked(row, _METADATA)


def _question(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _who(score: Score) -> tuple[str, ...]:
    return tuple(map(str, (score.trace_id, score.span_id, _fields(score).get("annotator"), score.is_human)))


def _fields(score: Score) -> Record:
    own = {
        "trace_id": score.trace_id,
        "span_id": score.span_id,
        "annotator": score.author,
        "annotated_at": score.at,
        "comment": score.comment,
    }
    # What a machine says is truth only where it is called so: people's outcomes and judges both come by the API.
    source = {} if score.is_human else {"label_source": "model"}
    return picked(own, own) | source | picked(_object(score.metadata), _METADATA)


def _joined(*remarks: Any) -> str | None:
    return "\n".join(str(remark) for remark in remarks if remark) or None


def _object(metadata: Any) -> Any:
    """Metadata as an object; a CSV holds it as JSON."""
    if not isinstance(metadata, str):
        return metadata
    try:
        return json.loads(metadata)
    except (ValueError, RecursionError):
        return None
