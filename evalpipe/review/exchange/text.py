"""Queues and annotations as text: CSV, JSON lines, and the files of Label Studio, Argilla, Langfuse and Phoenix.

How an annotation looks in another tool is in that tool's module; reading annotations back is in annotations.py. A
filled-in CSV or JSON-lines queue is such a file.
"""

from collections.abc import Callable, Iterable, Mapping

import polars as pl
import polars.selectors as cs

from evalpipe.errors import InputError
from evalpipe.review.annotations import ANSWER_COLUMNS
from evalpipe.review.exchange import argilla, label_studio, langfuse, phoenix
from evalpipe.review.exchange.rows import guarded
from evalpipe.review.exchange.said import QUEUE_COLUMNS, Record, json_lines

LABEL_STUDIO_CONFIG = label_studio.LABEL_STUDIO_CONFIG
"""The labelling interface to which the exported Label Studio tasks fit."""

Writer = Callable[[pl.DataFrame], str]

_MAX_CELL = 32_000  # characters; a spreadsheet cell holds 32,767, and the guard and the mark need a few
_CUT = " [cut]"


def queue_rows(candidates: pl.DataFrame, traces: pl.DataFrame) -> pl.DataFrame:
    """The queued candidates in reading order with what a reviewer reads of the trace; those already read are left out.

    Columns: cycle, rank, reviewer, trace_id, session_id, service_name, queue, reasons, request, response, transcript.
    """
    texts = traces.select("trace_id", "request", "response", "transcript").unique("trace_id")
    return (
        candidates.filter(pl.col("status") == "queued")
        .join(texts, on="trace_id", how="left")
        .sort("cycle", "reviewer", "rank")
        .select(*QUEUE_COLUMNS, "request", "response", "transcript")
    )


def export_queue(rows: pl.DataFrame, format: str) -> str:
    """`queue_rows` as text. CSV and JSON lines have empty answer columns: filled in, they are imported as they are.

    What the records of a tool hold is said in its module beside this one. Raises InputError for a format not in
    QUEUE_FORMATS.
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


def _csv(frame: pl.DataFrame) -> str:
    return frame.with_columns(guarded(cs.string())).write_csv()


def _flat(annotations: pl.DataFrame) -> pl.DataFrame:
    return annotations.select("trace_id", *ANSWER_COLUMNS, "annotator", "label_source", "annotated_at", "cycle")


def _rows_to(write: Callable[[Iterable[Record]], str]) -> Writer:
    return lambda frame: write(frame.iter_rows(named=True))


def _writer(writers: Mapping[str, Writer], what: str, format: str) -> Writer:
    if format not in writers:
        raise InputError(f"no {what} format {format!r}. Choose one of: {', '.join(writers)}")
    return writers[format]


_QUEUE_WRITERS: dict[str, Writer] = {
    "csv": _csv_queue,
    "jsonl": _jsonl_queue,
    "labelstudio": _rows_to(label_studio.queue_text),
    "argilla": _rows_to(argilla.queue_text),
    "langfuse": _rows_to(langfuse.queue_text),
}
_ANNOTATION_WRITERS: dict[str, Writer] = {
    "csv": lambda annotations: _csv(_flat(annotations)),
    "jsonl": lambda annotations: json_lines(_flat(annotations).iter_rows(named=True)),
    "labelstudio": _rows_to(label_studio.annotation_text),
    "argilla": _rows_to(argilla.annotation_text),
    "langfuse": _rows_to(langfuse.annotation_text),
    "phoenix": _rows_to(phoenix.annotation_text),
}

QUEUE_FORMATS = tuple(_QUEUE_WRITERS)
"""What `export_queue` writes. Phoenix is not among them: it has no queue to fill."""

ANNOTATION_FORMATS = tuple(_ANNOTATION_WRITERS)
"""What `export_annotations` writes, and `read_annotations` reads without being told which it is."""
