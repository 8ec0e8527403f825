"""Rows of a file that people or tools wrote, as text fields with the place of each: JSON lines, JSON, CSV.

What the records of other tools say is in a module each, what the fields mean in annotations.py. The spreadsheet guard
is here, because reading must undo what writing did.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from evalpipe.errors import InputError
from evalpipe.review.exchange import argilla, label_studio, langfuse, phoenix
from evalpipe.review.exchange.said import Format, Record

_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what a spreadsheet runs, or what the guard has made of it
_DELIMITERS = (",", ";", "\t")  # comma, the comma of other countries, and a paste from a spreadsheet
_FORMATS: tuple[Format, ...] = (label_studio, argilla, langfuse, phoenix)


class Row(NamedTuple):
    """One row: what it says, or why it cannot be read. `content` is the row itself, for the refusal.

    `location` is its line, counted from 1, or its place in a file that is one JSON value: 'task 12, annotation 2'.
    """

    location: str
    fields: dict[str, str | None]
    problem: str | None
    content: str


class _Found(NamedTuple):
    """One record of a file; `line` is None in a file that is one JSON value."""

    line: int | None
    record: Record
    problem: str | None
    content: str


def read_rows(path: Path, required: tuple[str, ...]) -> list[Row]:
    """The rows of a file of annotations; empty ones are left out. Values are stripped, empty text is None.

    It is JSON lines, a JSON array, a page of an API ({"data": [...]}), or CSV, of flat rows or of another tool's
    records: each record is known by its own keys, whatever the file is called. Raises InputError when it is none of
    these, or a CSV or array of other things.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name}: not UTF-8 text (byte {error.start}). Save it as UTF-8 CSV or JSON lines."
        ) from error
    if text.lstrip()[:1] in ("{", "[") or path.suffix.lower() in (".jsonl", ".ndjson"):
        found = _json(path.name, text, required)
    else:
        found = _csv(path.name, text, required)
    return _rows(found)


def guarded(cell: pl.Expr) -> pl.Expr:
    """`cell` as it may stand in a CSV: a spreadsheet shows it as text instead of running it as a formula."""
    return cell.str.replace(f"^({_FORMULA.pattern})", "'${1}")


def unguarded(cell: str) -> str:
    """The text that `guarded` made `cell` from."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _rows(found: Sequence[_Found]) -> list[Row]:
    """Each record read by the tool it is of, in the order of the file."""
    formats = [None if each.problem else _format_of(each.record) for each in found]
    placed = [
        (index, Row(_place(each, index, "record"), _texts(each.record), each.problem, each.content))
        for index, (each, format) in enumerate(zip(found, formats, strict=True))
        if format is None
    ]
    for format in _FORMATS:
        own = [index for index, other in enumerate(formats) if other is format]
        for said in format.said([found[index].record for index in own]):
            index = own[said.record]
            place = _place(found[index], index, format.NOUN)
            location = f"{place}, {said.part}" if said.part else place
            content = json.dumps(said.fields, ensure_ascii=False)
            placed.append((index, Row(location, _texts(said.fields), said.problem, content)))
    return [row for _, row in sorted(placed, key=lambda each: each[0])]


def _format_of(record: Record) -> Format | None:
    return next((format for format in _FORMATS if format.fits(record)), None)


def _place(found: _Found, index: int, noun: str) -> str:
    return str(found.line) if found.line is not None else f"{noun} {index + 1}"


def _texts(record: Record) -> dict[str, str | None]:
    return {str(name): _text(field) for name, field in record.items()}


def _text(field: Any) -> str | None:
    """`field` as stripped text; a number, list or object as its JSON."""
    if field is None:
        return None
    text = field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)
    return text.strip() or None


def _json(name: str, text: str, required: Iterable[str]) -> list[_Found]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _json_lines(name, text, error)
    if isinstance(value, dict) and not isinstance(value.get("data"), list):
        return _json_lines(name, text, None) if "\n" not in text.strip() else [_found(None, value)]
    found = [_found(None, each) for each in (value["data"] if isinstance(value, dict) else value)]
    if found and not any(_format_of(each.record) or each.record.keys() & set(required) for each in found):
        tools = ", ".join(format.TITLE for format in _FORMATS)
        raise InputError(
            f"{name}: JSON, but neither annotations (objects with {', '.join(required)}) nor an export of {tools}"
        )
    return found


def _json_lines(name: str, text: str, error: Exception | None) -> list[_Found]:
    found = [_line(line, content) for line, content in enumerate(text.split("\n"), 1) if content.strip()]
    # A broken file of one JSON value is one mistake, not one in each of its lines.
    if error and len(found) > 1 and all(each.problem for each in found):
        raise InputError(f"{name}: neither JSON ({error}) nor one JSON object a line. Repair it and drop it again.")
    return found


def _line(line: int, content: str) -> _Found:
    try:
        return _found(line, json.loads(content), content)
    except (ValueError, RecursionError):
        return _Found(line, {}, "not JSON", content)


def _found(line: int | None, value: Any, content: str | None = None) -> _Found:
    written = content or json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict):
        return _Found(line, {}, "not a JSON object", written)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair is no text, though JSON can spell it
        return _Found(line, {}, "not JSON", content or json.dumps(value))
    return _Found(line, value, None, written)


def _csv(name: str, text: str, required: tuple[str, ...]) -> list[_Found]:
    header_line = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header_line.count)
    # strict: a broken quote would otherwise swallow the rows after it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        if not _format_of(dict.fromkeys(header)):
            header = _flat_header(name, header, required)
        found, line = [], reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                found.append(_csv_row(line, header, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{name}: line {reader.line_num}: {error}. Repair the quotes and drop it again.") from error
    return found


def _flat_header(name: str, header: Sequence[str], required: tuple[str, ...]) -> list[str]:
    columns = [column.lower() for column in header]
    if missing := [column for column in required if column not in columns]:
        raise InputError(f"{name}: no column {', '.join(missing)}; found: {', '.join(columns)[:200] or 'nothing'}")
    if repeated := sorted({column for column in columns if column and columns.count(column) > 1}):
        raise InputError(f"{name}: column {', '.join(repeated)} appears twice. Keep one of them.")
    return columns


def _csv_row(line: int, header: Sequence[str], cells: Sequence[str]) -> _Found:
    content = json.dumps(dict(zip(header, cells, strict=False)), ensure_ascii=False)
    if len(cells) != len(header):
        return _Found(line, {}, f"{len(cells)} cells where the header has {len(header)}", content)
    record = {column: unguarded(cell) or None for column, cell in zip(header, cells, strict=True)}
    return _Found(line, record, None, content)
