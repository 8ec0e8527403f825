"""Argilla 2: records to label, and what `Dataset.records.to_json` writes, responses by user.

Argilla knows users by id, and exports no times: a response of somebody else than the annotator in the record's
metadata is by that id, and dated by its import. Source: argilla 2.8.0, records/_resource.py (Record.to_dict).
"""

from collections.abc import Iterable, Iterator, Sequence
from uuid import NAMESPACE_URL, uuid5

from evalpipe.review.exchange.said import QUEUE_COLUMNS, Record, Said, about, conversation, json_array, parts, picked

TITLE: str = "Argilla"
NOUN: str = "record"

_QUESTIONS = ("verdict", "failure_mode", "correction", "comment", "evidence")
_METADATA = ("trace_id", "reviewer", "cycle")
_STAMP = ("annotator", "annotated_at", "label_source")


def fits(record: Record) -> bool:
    return isinstance(record.get("fields"), dict) and isinstance(record.get("responses"), dict)


def said(records: Sequence[Record]) -> Iterator[Said]:
    """Each user's responses to each record. A record without any is an unanswered row of the queue it came from."""
    for index, record in enumerate(records):
        known, stamp = picked(record.get("metadata"), _METADATA), picked(record.get("metadata"), _STAMP)
        own = _user_id(str(stamp.get("annotator")))
        answers = [
            known | (stamp if user == own else {"annotator": user}) | values
            for user, values in _by_user(record["responses"]).items()
        ]
        if answers:
            yield from parts(index, "response", answers)
        elif "reviewer" in known:
            yield Said(index, known)


def queue_text(rows: Iterable[Record]) -> str:
    """One record a queued trace: text fields request and response, a chat field conversation, the rest as metadata."""
    return json_array(
        {
            "id": f"{row['cycle']}/{row['reviewer']}/{row['trace_id']}",
            "fields": {
                "request": row["request"] or "",
                "response": row["response"] or "",
                "conversation": conversation(row, "role", "content"),
            },
            "metadata": picked(about(row), QUEUE_COLUMNS),
            "suggestions": {},
            "responses": {},
            "vectors": {},
        }
        for row in rows
    )


def annotation_text(rows: Iterable[Record]) -> str:
    """One record an annotation, with a response to each question that it answers."""
    return json_array(
        {
            "id": row["annotation_id"],
            "fields": {"request": f"trace {row['trace_id']}"},
            "metadata": picked(row, ("trace_id", *_STAMP, "cycle")),
            "suggestions": {},
            "responses": {
                question: [{"value": value, "user_id": _user_id(row["annotator"])}]
                for question, value in picked(row, _QUESTIONS).items()
            },
            "vectors": {},
        }
        for row in rows
    )


def _by_user(responses: Record) -> dict[str | None, Record]:
    by_user: dict[str | None, Record] = {}
    for question in _QUESTIONS:
        answers = responses.get(question)
        for answer in answers if isinstance(answers, list) else []:
            if isinstance(answer, dict):
                user = str(answer["user_id"]) if answer.get("user_id") else None
                by_user.setdefault(user, {})[question] = answer.get("value")
    return by_user


def _user_id(annotator: str) -> str:
    """Argilla takes nothing but UUIDs; equal names have equal ones."""
    return str(uuid5(NAMESPACE_URL, f"evalpipe:annotator:{annotator}"))
