"""Lines of JSON and rows of CSV -> documents with the line on which they end, read as a stream.

What a document must say to be a case is case_json.py.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evalpipe.errors import InputError
from evalpipe.gate.case_json import METADATA, NUMBERS, NoCaseError
from evalpipe.otlp.files import Stream

_CSV_COLUMNS = ("input", "output")
_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 20  # bytes of an overlong line that are passed over at once


class Numbered(NamedTuple):
    """A document, or why there is none, and where it stands."""

    line: int  # from 1
    document: Any  # NoCaseError where there is none
    text: bytes  # as it stands in the file


def json_lines(stream: Stream, max_bytes: int) -> Iterator[Numbered]:
    """One JSON document a line; blank lines are none. A line longer than `max_bytes` is refused unread."""
    number = 0
    while line := stream.readline(max_bytes + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) > max_bytes and not line.endswith(b"\n"):
            while (rest := stream.readline(_CHUNK)) and not rest.endswith(b"\n"):
                pass
            reason = f"is longer than {max_bytes} bytes; EVALPIPE_OBSERVE__MAX_PAYLOAD_BYTES sets the limit"
            yield Numbered(number, NoCaseError(reason), line)
            continue
        text = line.strip()
        if text:
            yield Numbered(number, _parsed(text), text)
    if stream.damage:
        yield Numbered(number + 1, NoCaseError(stream.damage), b"")


def csv_rows(stream: Stream, path: Path) -> Iterator[Numbered]:
    """One document a row; the first line names the columns. Raises InputError for a file that is no CSV of cases."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = csv.DictReader(text, strict=True, restkey="")
    try:
        if reader.fieldnames and (missing := [name for name in _CSV_COLUMNS if name not in reader.fieldnames]):
            raise InputError(f"{path}: no column {' and no column '.join(missing)}. The first line names the columns.")
        for cells in reader:
            yield Numbered(reader.line_num, _document_of(cells), orjson.dumps(cells, option=orjson.OPT_NON_STR_KEYS))
    except csv.Error as error:
        raise InputError(
            f"{path}: line {reader.reader.line_num}: {error}. Quote the cell, or give JSON Lines."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: after line {reader.reader.line_num}: is not UTF-8 text. Save it as UTF-8, or give JSON Lines."
        ) from error
    finally:
        text.detach()
    if stream.damage:
        yield Numbered(reader.line_num + 1, NoCaseError(stream.damage), b"")


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return NoCaseError(f"is not JSON ({error.msg} at column {error.colno})")


def _document_of(cells: dict[str, Any]) -> Any:
    if "" in cells or None in cells.values():
        return NoCaseError("has more or fewer cells than the first line")
    metadata: dict[str, Any] = {name: cells[name] for name in METADATA if cells.get(name)}
    for name in metadata.keys() & NUMBERS:
        try:
            metadata[name] = orjson.loads(metadata[name])
        except orjson.JSONDecodeError:
            return NoCaseError(f"{name} is {metadata[name]!r}, not a number")
    return {"id": cells.get("id") or None, "input": cells["input"], "output": cells["output"], "metadata": metadata}
