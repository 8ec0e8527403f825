"""What a reviewer sees of one trace: its conversation with the passages that made it unusual, its facts, its session.

What reviewers say of it is in opinions.py; reading it all from the tables is in reading.py.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from evalpipe.review.desk.layout import laid_out, place_of


@dataclass(frozen=True, slots=True)
class Mark:
    """A passage that made a signal flag the trace: characters [start, end) of a field of its step."""

    field: str  # content, arguments or result
    start: int
    end: int
    signal: str


@dataclass(frozen=True, slots=True)
class SheetStep:
    """One step of the conversation. A tool call and its result are one; JSON is laid out for reading."""

    index: int  # from 0, in the order shown
    role: str  # system, user, assistant or tool
    content: str  # '' for a tool
    tool: str | None = None
    arguments: str | None = None
    result: str | None = None  # null when none was recorded
    is_error: bool = False
    marks: list[Mark] = field(default_factory=list)  # by field and start, without overlap


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured of a trace."""

    started_at: datetime
    duration_s: float
    n_tokens: int | None  # read and written; null when none were reported
    cost_usd: float | None
    is_cost_estimated: bool
    models: list[str]
    service_name: str
    service_version: str | None
    environment: str | None
    user_id: str | None
    session_id: str | None
    status: str
    status_message: str | None
    is_complete: bool
    defects: list[str]
    n_tool_calls: int
    n_tool_errors: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One trace of a session, in brief."""

    trace_id: str
    started_at: datetime
    request: str | None
    response: str | None
    is_current: bool
    verdict: str | None  # the reviewer's own


def steps_of(transcript: Sequence[Mapping[str, Any]], evidence: Iterable[Mapping[str, Any]]) -> list[SheetStep]:
    """The steps of a TRACES transcript, with the marks of TRACE_SIGNALS evidence on it.

    A result belongs to the earliest call of its tool that has none yet. Evidence without a step speaks of the whole
    trace and marks nothing, nor does a passage that is not shown. Where passages overlap the shorter one is seen.
    """
    shown = _paired(transcript)
    step_of = {place: (index, name) for index, one in enumerate(shown) for name, place in one.places.items()}
    found: dict[int, list[Mark]] = {}
    for piece in evidence:
        if piece["step"] in step_of:
            index, name = step_of[piece["step"]]
            text = shown[index].texts[name]
            place = place_of(piece["text"], text) if piece["text"] else (0, len(text))
            if place is not None:
                found.setdefault(index, []).append(Mark(name, *place, piece["signal"]))
    return [
        SheetStep(
            index=index,
            role=one.role,
            content=one.texts.get("content", ""),
            tool=one.tool,
            arguments=one.texts.get("arguments"),
            result=one.texts.get("result"),
            is_error=one.is_error,
            marks=_apart(found.get(index, [])),
        )
        for index, one in enumerate(shown)
    ]


class _Shown(NamedTuple):
    role: str
    tool: str | None
    is_error: bool
    texts: dict[str, str]  # by field
    places: dict[str, int]  # by field, the step of the transcript that it shows


def _paired(transcript: Sequence[Mapping[str, Any]]) -> list[_Shown]:
    shown: list[_Shown] = []
    waiting: dict[str | None, deque[int]] = {}
    for place, message in enumerate(transcript):
        role, tool = message["role"], message["tool"]
        text, is_error = laid_out(message["content"] or ""), bool(message["is_error"])
        if role == "tool_call":
            waiting.setdefault(tool, deque()).append(len(shown))
            shown.append(_Shown("tool", tool, is_error, {"arguments": text}, {"arguments": place}))
        elif role == "tool_result" and waiting.get(tool):
            index = waiting[tool].popleft()
            call = shown[index]
            texts, places = call.texts | {"result": text}, call.places | {"result": place}
            shown[index] = call._replace(is_error=call.is_error or is_error, texts=texts, places=places)
        elif role == "tool_result":
            shown.append(_Shown("tool", tool, is_error, {"result": text}, {"result": place}))
        else:
            shown.append(_Shown(role, tool, is_error, {"content": text}, {"content": place}))
    return shown


def _apart(marks: Iterable[Mark]) -> list[Mark]:
    """The marks without overlap: a longer one gives way to those within it and may come in several pieces."""
    taken: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.end - mark.start, mark.field, mark.start, mark.signal)):
        start = mark.start
        pieces = []
        for other in (*taken, Mark(mark.field, mark.end, mark.end, "")):
            if other.field == mark.field and other.end > start and other.start <= mark.end:
                pieces.append(Mark(mark.field, start, min(other.start, mark.end), mark.signal))
                start = other.end
        taken = sorted([*taken, *(piece for piece in pieces if piece.start < piece.end)], key=_by_place)
    return taken


def _by_place(mark: Mark) -> tuple[str, int]:
    return mark.field, mark.start
