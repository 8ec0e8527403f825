"""The annotations in a file that a tool wrote, or in records as it would write them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalpipe.review.annotations import AnnotationFile, read_annotations

NOW = datetime(2026, 12, 1, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden"
BAD = ("bad", "made up a price", "12 EUR", 'said "twice"\nby the shop')
GOOD = ("good", None, None, None)


def golden(name: str) -> AnnotationFile:
    return read_annotations(GOLDEN / name, known_traces=set, now=NOW)


def read(folder: Path, content: Any) -> AnnotationFile:
    path = folder / "export.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
    return read_annotations(path, known_traces=set, now=NOW)


def who_said_what(file: AnnotationFile) -> list[tuple[Any, ...]]:
    """trace number, verdict, failure_mode, correction, comment, annotator of each annotation, sorted."""
    columns = ("trace_id", "verdict", "failure_mode", "correction", "comment", "annotator")
    rows = file.rows.select(columns).rows()
    return sorted((int(trace_id, 16), *rest) for trace_id, *rest in rows)
