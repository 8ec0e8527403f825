"""Queues and annotations as text: CSV, JSON lines, and the files of Label Studio, Argilla, Langfuse and Phoenix.

How an annotation looks in another tool is in formats/; reading annotations back is in annotations.py. A filled-in CSV
or JSON-lines queue is such a file.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import polars as pl
import polars.selectors as cs

from evalpipe.errors import InputError
from evalpipe.review.annotations import ANSWER_COLUMNS
from evalpipe.review.formats import argilla, label_studio, langfuse, phoenix
from evalpipe.review.formats.said import Record, json_array, json_lines
from evalpipe.review.rows import guarded

LABEL_STUDIO_CONFIG = label_studio.LABEL_STUDIO_CONFIG
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
    conversation, and the rest as metadata; Langfuse's items name traces that Langfuse has. Raises InputError for a
    format not in QUEUE_FORMATS.
    """
    return _writer(_QUEUE_WRITERS, "queue", format)(rows)


def export_annotations(annotations: pl.DataFrame, format: str) -> str:
    """ANNOTATIONS rows as text, sorted by time; importing it gives the same annotations, whatever the format.

    Raises InputError for a format not in ANNOTATION_FORMATS.
    """
    stamp = pl.col("annotated_at").dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
    stamped = annotations.sort("annotated_at", "annotation_id").with_columns(stamp)
    return _writer(_ANNOTATION_WRITERS, "annotation", format)(stamped)


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
    return json_lines(row | blank for row in rows.iter_rows(named=True))


def _label_studio_tasks(rows: pl.DataFrame) -> str:
    return json_array(
        {
            "data": {
                **{name: row[name] for name in _ABOUT},
                "reasons": "; ".join(row["reasons"]),
                "conversation": [{"author": _speaker(step), "text": step["content"] or ""} for step in _steps(row)],
            }
        }
        for row in rows.iter_rows(named=True)
    )


def _argilla_records(rows: pl.DataFrame) -> str:
    return json_array(
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
    )


def _langfuse_items(rows: pl.DataFrame) -> str:
    """A trace that two reviewers have is one item: in Langfuse a queue has no reviewers."""
    return langfuse.queue_text({"trace_id": trace_id} for trace_id in rows["trace_id"].unique(maintain_order=True))


def _steps(row: Record) -> list[Record]:
    return row["transcript"] or []


def _speaker(step: Record) -> str:
    return f"{step['role']} {step['tool']}" if step["tool"] else step["role"]


def _csv(frame: pl.DataFrame) -> str:
    return frame.with_columns(guarded(cs.string())).write_csv()


def _flat(annotations: pl.DataFrame) -> pl.DataFrame:
    return annotations.select("trace_id", *ANSWER_COLUMNS, "annotator", "label_source", "annotated_at", "cycle")


def _records(write: Callable[[Iterable[Record]], str]) -> Callable[[pl.DataFrame], str]:
    return lambda annotations: write(annotations.iter_rows(named=True))


def _by_trace(annotations: pl.DataFrame) -> pl.DataFrame:
    return annotations.sort("trace_id", maintain_order=True)


def _writer(writers: Mapping[str, Callable[[pl.DataFrame], str]], what: str, format: str) -> Callable[..., str]:
    if format not in writers:
        raise InputError(f"no {what} format {format!r}. Choose one of: {', '.join(writers)}")
    return writers[format]


_QUEUE_WRITERS: Mapping[str, Callable[[pl.DataFrame], str]] = MappingProxyType(
    {
        "csv": _csv_queue,
        "jsonl": _jsonl_queue,
        "labelstudio": _label_studio_tasks,
        "argilla": _argilla_records,
        "langfuse": _langfuse_items,
    }
)
_ANNOTATION_WRITERS: Mapping[str, Callable[[pl.DataFrame], str]] = MappingProxyType(
    {
        "csv": lambda annotations: _csv(_flat(annotations)),
        "jsonl": lambda annotations: json_lines(_flat(annotations).iter_rows(named=True)),
        "labelstudio": lambda annotations: label_studio.annotation_text(_by_trace(annotations).iter_rows(named=True)),
        "argilla": _records(argilla.annotation_text),
        "langfuse": _records(langfuse.annotation_text),
        "phoenix": _records(phoenix.annotation_text),
    }
)

QUEUE_FORMATS = tuple(_QUEUE_WRITERS)
"""What `export_queue` writes. Phoenix is not among them: it has no queue to fill."""

ANNOTATION_FORMATS = tuple(_ANNOTATION_WRITERS)
"""What `export_annotations` writes, and `read_annotations` reads without being told which it is."""
