"""Rows of a file that people or tools wrote, JSON lines or CSV, as text fields with their line numbers.

What the fields mean is in annotations.py. The spreadsheet guard is here, because reading must undo what writing did.
"""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from evalpipe.errors import InputError

_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what a spreadsheet runs, or what the guard has made of it
_DELIMITERS = (",", ";", "\t")  # comma, the comma of other countries, and a paste from a spreadsheet


class Row(NamedTuple):
    """One row: where it stood, what it says, or why it cannot be read. `content` is the row itself, for the refusal."""

    line: int
    fields: dict[str, str | None]
    problem: str | None
    content: str


def read_rows(path: Path, required: tuple[str, ...]) -> list[Row]:
    """The rows of a JSON-lines or CSV file; empty ones are left out. Values are stripped, empty text is None.

    Raises InputError when the file is neither, or is CSV without a required column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name}: not UTF-8 text (byte {error.start}). Save it as UTF-8 CSV or JSON lines."
        ) from error
    start = text.lstrip()[:1]
    if start == "[":
        raise InputError(f"{path.name}: one JSON array. Write one object a line, for example with: jq -c '.[]'")
    if start == "{" or path.suffix.lower() in (".jsonl", ".ndjson"):
        return _json_rows(text)
    return _csv_rows(path.name, text, required)


def guarded(cell: pl.Expr) -> pl.Expr:
    """`cell` as it may stand in a CSV: a spreadsheet shows it as text instead of running it as a formula."""
    return cell.str.replace(f"^({_FORMULA.pattern})", "'${1}")


def unguarded(cell: str) -> str:
    """The text that `guarded` made `cell` from."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _json_rows(text: str) -> list[Row]:
    return [_json_row(line, content) for line, content in enumerate(text.split("\n"), 1) if content.strip()]


def _json_row(line: int, content: str) -> Row:
    try:
        value = json.loads(content)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text, though JSON can spell it
    except (ValueError, RecursionError):
        return Row(line, {}, "not JSON", content)
    if not isinstance(value, dict):
        return Row(line, {}, "not a JSON object", content)
    return Row(line, {str(name): _text(field) for name, field in value.items()}, None, content)


def _text(field: Any) -> str | None:
    """`field` as stripped text; a number, list or object as its JSON."""
    if field is None:
        return None
    text = field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)
    return text.strip() or None


def _csv_rows(name: str, text: str, required: tuple[str, ...]) -> list[Row]:
    header_line = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header_line.count)
    # strict: a broken quote would otherwise swallow the rows after it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [column.strip().lower() for column in next(reader, [])]
        if missing := [column for column in required if column not in header]:
            raise InputError(f"{name}: no column {', '.join(missing)}; found: {', '.join(header)[:200] or 'nothing'}")
        if repeated := sorted({column for column in header if column and header.count(column) > 1}):
            raise InputError(f"{name}: column {', '.join(repeated)} appears twice. Keep one of them.")
        rows, line = [], reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(_csv_row(line, header, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{name}: line {reader.line_num}: {error}. Repair the quotes and drop it again.") from error
    return rows


def _csv_row(line: int, header: list[str], cells: list[str]) -> Row:
    content = json.dumps(dict(zip(header, cells, strict=False)), ensure_ascii=False)
    if len(cells) != len(header):
        return Row(line, {}, f"{len(cells)} cells where the header has {len(header)}", content)
    return Row(
        line, {column: _text(unguarded(cell)) for column, cell in zip(header, cells, strict=True)}, None, content
    )
