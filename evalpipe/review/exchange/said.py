"""What a module of this package offers, and what its reading returns: flat fields, named as in a CSV of annotations.

Whether the fields make a sound annotation is judged in annotations.py, for every format alike.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

Record = dict[str, Any]
"""One JSON object of a file, or one row of a CSV."""


class Said(NamedTuple):
    """What one record, or one `part` of it ('annotation 2'), says. `record` counts from 0 in what was read."""

    record: int
    fields: Record
    part: str | None = None
    problem: str | None = None


class Format(Protocol):
    """A module of this package. `fits` tells its records by their own keys, never by the name of the file."""

    TITLE: str
    NOUN: str

    def fits(self, record: Record) -> bool: ...

    def said(self, records: Sequence[Record]) -> Iterator[Said]: ...


def parts(record: int, noun: str, all_fields: Sequence[Record]) -> Iterator[Said]:
    """One Said for each of `all_fields`, numbered from 1 where there are several."""
    for number, fields in enumerate(all_fields, 1):
        yield Said(record, fields, part=f"{noun} {number}" if len(all_fields) > 1 else None)


def picked(record: Any, names: Iterable[str]) -> Record:
    """Those `names` that have a value in `record`; none when it is no object."""
    return {name: record[name] for name in names if record.get(name) is not None} if isinstance(record, dict) else {}


QUEUE_COLUMNS = ("cycle", "rank", "reviewer", "trace_id", "session_id", "service_name", "queue", "reasons")
"""What a queued trace is known by; how it reads stands in request, response and transcript."""


def about(queued: Record) -> Record:
    """The QUEUE_COLUMNS of a queued trace, its reasons as one text."""
    return {**{name: queued[name] for name in QUEUE_COLUMNS}, "reasons": "; ".join(queued["reasons"])}


def conversation(queued: Record, speaker: str, text: str) -> list[Record]:
    """The transcript of a queued trace as messages with these two keys; a tool's name stands beside its role."""
    return [
        {speaker: f"{step['role']} {step['tool']}" if step["tool"] else step["role"], text: step["content"] or ""}
        for step in queued["transcript"] or []
    ]


def json_array(records: Iterable[Record]) -> str:
    """`records` as one JSON array, indented."""
    return json.dumps(list(records), ensure_ascii=False, indent=1) + "\n"


def json_lines(records: Iterable[Record]) -> str:
    """`records` as one JSON object a line."""
    return "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
