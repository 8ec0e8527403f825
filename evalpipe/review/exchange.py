"""Queues and annotations as text that other tools read: CSV, JSON lines, Label Studio tasks, Argilla records.

Reading annotations back is in annotations.py. A filled-in CSV or JSON-lines queue is such a file.
"""

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import polars.selectors as cs

from evalpipe.errors import InputError
from evalpipe.review.annotations import ANSWER_COLUMNS
from evalpipe.review.rows import guarded

LABEL_STUDIO_CONFIG = """\
<View>
  <Header value="$reasons"/>
  <Paragraphs name="conversation" value="$conversation" layout="dialogue"/>
  <Choices name="verdict" toName="conversation" choice="single" required="true">
    <Choice value="good"/><Choice value="bad"/><Choice value="partial"/>
  </Choices>
  <TextArea name="failure_mode" toName="conversation" placeholder="What went wrong, in your words" maxSubmissions="1"/>
  <TextArea name="correction" toName="conversation" placeholder="What it should have been" maxSubmissions="1"/>
  <TextArea name="comment" toName="conversation" placeholder="Anything else" maxSubmissions="1"/>
</View>
"""
"""The labelling interface to which the exported Label Studio tasks fit."""

_MAX_CELL = 32_000  # characters; a spreadsheet cell holds 32,767, and the guard and the mark need a few
_CUT = " [cut]"
_ABOUT = ("cycle", "rank", "reviewer", "trace_id", "session_id", "service_name", "queue", "reasons")


def queue_rows(candidates: pl.DataFrame, traces: pl.DataFrame) -> pl.DataFrame:
    """The queued candidates in reading order with what a reviewer reads of the trace; those already read are left out.

    Columns: cycle, rank, reviewer, trace_id, session_id, service_name, queue, reasons, request, response, transcript.
    """
    texts = traces.select("trace_id", "request", "response", "transcript").unique("trace_id")
    return (
        candidates.filter(pl.col("status") == "queued")
        .join(texts, on="trace_id", how="left")
        .sort("cycle", "reviewer", "rank")
        .select(*_ABOUT, "request", "response", "transcript")
    )


def export_queue(rows: pl.DataFrame, format: str) -> str:
    """`queue_rows` as text. CSV and JSON lines have empty answer columns: filled in, they are imported as they are.

    Label Studio tasks go with LABEL_STUDIO_CONFIG; Argilla records with text fields request and response, a chat field
    conversation, and the rest as metadata. Raises InputError for another format.
    """
    writers: dict[str, Callable[[pl.DataFrame], str]] = {
        "csv": _csv_queue,
        "jsonl": _jsonl_queue,
        "labelstudio": _label_studio_tasks,
        "argilla": _argilla_records,
    }
    if format not in writers:
        raise InputError(f"no queue format {format!r}. Choose one of: {', '.join(writers)}")
    return writers[format](rows)


def export_annotations(annotations: pl.DataFrame, format: str) -> str:
    """ANNOTATIONS rows as CSV or JSON lines, sorted by time; importing them gives the same annotations.

    Raises InputError for another format.
    """
    stamped = annotations.sort("annotated_at", "annotation_id").select(
        "trace_id",
        *ANSWER_COLUMNS,
        "annotator",
        "label_source",
        pl.col("annotated_at").dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ"),
        "cycle",
    )
    if format == "csv":
        return _csv(stamped)
    if format == "jsonl":
        return _lines(stamped.iter_rows(named=True))
    raise InputError(f"no annotation format {format!r}. Choose one of: csv, jsonl")


def _csv_queue(rows: pl.DataFrame) -> str:
    part = pl.element().struct.field
    speaker = pl.concat_str(part("role"), part("tool"), separator=" ", ignore_nulls=True)
    spoken = pl.format("{}: {}", speaker, part("content").fill_null(""))
    text = cs.string()
    cut = pl.when(text.str.len_chars() > _MAX_CELL).then(text.str.head(_MAX_CELL) + _CUT).otherwise(text)
    return _csv(
        rows.with_columns(
            reasons=pl.col("reasons").list.join("; "),
            conversation=pl.col("transcript").list.eval(spoken).list.join("\n\n"),
            **dict.fromkeys((*ANSWER_COLUMNS, "annotator"), pl.lit(None, pl.String)),
        )
        .drop("transcript")
        .with_columns(cut)
    )


def _jsonl_queue(rows: pl.DataFrame) -> str:
    blank = dict.fromkeys((*ANSWER_COLUMNS, "annotator"))
    return _lines(row | blank for row in rows.iter_rows(named=True))


def _label_studio_tasks(rows: pl.DataFrame) -> str:
    tasks = [
        {
            "data": {
                **{name: row[name] for name in _ABOUT},
                "reasons": "; ".join(row["reasons"]),
                "conversation": [{"author": _speaker(step), "text": step["content"] or ""} for step in _steps(row)],
            }
        }
        for row in rows.iter_rows(named=True)
    ]
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def _argilla_records(rows: pl.DataFrame) -> str:
    records = [
        {
            "id": f"{row['cycle']}/{row['reviewer']}/{row['trace_id']}",
            "fields": {
                "request": row["request"] or "",
                "response": row["response"] or "",
                "conversation": [{"role": _speaker(step), "content": step["content"] or ""} for step in _steps(row)],
            },
            "metadata": {
                **{name: row[name] for name in _ABOUT if row[name] is not None},
                "reasons": "; ".join(row["reasons"]),
            },
            "suggestions": {},
            "responses": {},
            "vectors": {},
        }
        for row in rows.iter_rows(named=True)
    ]
    return json.dumps(records, ensure_ascii=False, indent=1) + "\n"


def _steps(row: dict[str, Any]) -> list[dict[str, Any]]:
    return row["transcript"] or []


def _speaker(step: dict[str, Any]) -> str:
    return f"{step['role']} {step['tool']}" if step["tool"] else step["role"]


def _csv(frame: pl.DataFrame) -> str:
    return frame.with_columns(guarded(cs.string())).write_csv()


def _lines(rows: Any) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
