"""Langfuse: annotation-queue items, bodies of POST /api/public/scores, and scores from its API and its exports.

Read are the pages of GET /api/public/v2/scores and /v3/scores, and the CSV, JSON and JSON lines of the scores table.
Sources: langfuse 5.0.4 (Python), api/scores/types; github.com/langfuse/langfuse,
worker/src/features/database-read-stream/getDatabaseReadStream.ts (the columns of the export) and issue 8362.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from evalpipe.review.exchange.said import Record, Said, json_lines
from evalpipe.review.exchange.scores import Score, metadata_of, said_in_scores

TITLE: str = "Langfuse"
NOUN: str = "score"


def fits(record: Record) -> bool:
    return record.keys() >= {"name", "dataType"}


def said(records: Sequence[Record]) -> Iterator[Said]:
    """The annotations in these scores; one on an observation counts for its trace."""
    return said_in_scores([_score(_unquoted(record)) for record in records])


def queue_text(rows: Iterable[Record]) -> str:
    """A line a trace, whoever should read it: the body of POST /api/public/annotation-queues/QUEUE/items."""
    trace_ids = dict.fromkeys(row["trace_id"] for row in rows)
    return json_lines({"objectId": trace_id, "objectType": "TRACE"} for trace_id in trace_ids)


def annotation_text(rows: Iterable[Record]) -> str:
    """A line an annotation: the body of POST /api/public/scores. Sent again, it changes nothing: id and time are its
    own."""
    return json_lines(
        {
            "id": row["annotation_id"],
            "traceId": row["trace_id"],
            "name": "verdict",
            "value": row["verdict"],
            "dataType": "CATEGORICAL",
            "comment": row["comment"],
            "timestamp": row["annotated_at"],
            "metadata": metadata_of(row),
        }
        for row in rows
    )


def _score(record: Record) -> Score:
    is_correction = record["dataType"] == "CORRECTION"  # always named "output" there
    text, source = record.get("stringValue"), record.get("source") or "API"
    return Score(
        trace_id=_trace_id(record),
        name="correction" if is_correction else str(record["name"]),
        value=record.get("value") if text in (None, "") else text,
        comment=record.get("comment"),
        author=record.get("authorUserName")
        or record.get("authorUserId")
        or (None if source == "ANNOTATION" else f"langfuse {source}".lower()),
        at=record.get("updatedAt") or record.get("timestamp"),
        is_human=source == "ANNOTATION",
        metadata=record.get("metadata"),
    )


def _unquoted(record: Record) -> Record:
    """The row of a CSV as older versions wrote it, with each text as JSON, read as the text."""
    if not str(record.get("traceId")).startswith('"'):
        return record
    return {name: _unquoted_text(cell) for name, cell in record.items()}


def _unquoted_text(cell: Any) -> Any:
    try:
        return json.loads(cell) if isinstance(cell, str) and cell.startswith('"') else cell
    except ValueError:
        return cell


def _trace_id(record: Record) -> Any:
    subject = record.get("subject")  # of the v3 API
    if isinstance(subject, dict):
        return subject.get("id") if subject.get("kind") == "trace" else subject.get("traceId")
    return record.get("traceId")
