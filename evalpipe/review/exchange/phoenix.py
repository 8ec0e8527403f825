"""Phoenix: the body of POST /v1/trace_annotations, and the pages of GET /v1/projects/PROJECT/trace_annotations.

Phoenix has no annotation queue to fill. An annotation of a span (GET /v1/projects/PROJECT/span_annotations) does not
say in which trace: it counts for the one that the span landed in.
Source: arize-phoenix 20.26.1, server/api/routers/v1/annotations.py and traces.py.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from evalpipe.review.exchange.said import Record, Said
from evalpipe.review.exchange.scores import Score, metadata_of, said_in_scores

TITLE: str = "Phoenix"
NOUN: str = "annotation"

_KINDS = {"human": "HUMAN", "programmatic": "CODE", "model": "LLM"}
_SCORES = {"good": 1.0, "partial": 0.5, "bad": 0.0}


def fits(record: Record) -> bool:
    return record.keys() >= {"name", "annotator_kind"}


def said(records: Sequence[Record]) -> Iterator[Said]:
    """The annotations in these, which Phoenix calls by the same name and uses as scores."""
    return said_in_scores([_score(record) for record in records])


def annotation_text(rows: Iterable[Record]) -> str:
    """One body for all; sent again, it changes nothing, because each is known there by its `identifier`."""
    data = [
        {
            "trace_id": row["trace_id"],
            "name": "verdict",
            "annotator_kind": _KINDS[row["label_source"]],
            "result": {
                "label": row["verdict"],
                "score": _SCORES.get(row["verdict"]),
                "explanation": row["comment"],
            },
            "metadata": metadata_of(row),
            "identifier": row["annotation_id"],
        }
        for row in rows
    ]
    return json.dumps({"data": data}, ensure_ascii=False, indent=1) + "\n"


def _score(record: Record) -> Score:
    result, kind = record.get("result"), record["annotator_kind"]
    values = result if isinstance(result, dict) else record
    return Score(
        trace_id=record.get("trace_id"),
        name=str(record["name"]),
        value=values.get("label"),
        comment=values.get("explanation"),
        author=record.get("user_id") or (None if kind == "HUMAN" else f"phoenix {kind}".lower()),
        at=record.get("updated_at") or record.get("created_at"),
        is_human=kind == "HUMAN",
        metadata=record.get("metadata"),
        span_id=record.get("span_id"),
    )
