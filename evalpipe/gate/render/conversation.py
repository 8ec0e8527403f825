"""A failing case as a conversation for the page of a gate: its steps, with the evidence of the verdict marked.

Pairing calls with results and laying out JSON is review/desk/sheet.py, finding the evidence evaluators/evidence.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from evalpipe.evaluators.evidence import passages
from evalpipe.pages import shown
from evalpipe.review.desk.sheet import Mark, steps_of

_MAX_STEPS = 60  # of a conversation: its first third and its last two thirds
_HEAD_CHARS = 900  # of a text before it is folded
_MAX_CHARS = 8_000  # of a text, folded part and all


class Text(NamedTuple):
    """One text of a step. `rest` is folded away, open where it has evidence; `n_more` characters are left out."""

    title: str  # '' for what a person or the assistant says
    head: Markup
    rest: Markup | None
    n_rest: int
    is_open: bool
    n_more: int


class Step(NamedTuple):
    role: str  # system, user, assistant, tool; gap for steps that are left out
    name: str
    is_error: bool
    is_evidence: bool
    texts: list[Text]


class Conversation(NamedTuple):
    steps: list[Step]
    n_chars: int  # of what is shown
    has_evidence: bool


def conversation(transcript: Sequence[Mapping[str, Any]], explanation: str | None, kind: str) -> Conversation:
    """The steps of a TRACES transcript that a verdict with this explanation is about."""
    evidence = [
        {"signal": "evidence", "step": at, "text": text} for at, text in passages(explanation, kind, transcript)
    ]
    steps = steps_of(transcript, evidence)
    n_head = _MAX_STEPS // 3
    n_left_out = len(steps) - _MAX_STEPS
    made: list[Step] = []
    n_chars = 0
    for step in steps:
        if n_left_out > 0 and n_head <= step.index < n_head + n_left_out:
            if step.index == n_head:
                made.append(Step("gap", f"{n_left_out} steps are left out", False, False, []))
            continue
        fields = {"content": "", "arguments": "called with", "result": "answered"}
        texts = [
            _text(title, value, [mark for mark in step.marks if mark.field == name])
            for name, title in fields.items()
            if (value := getattr(step, name))
        ]
        n_chars += sum(min(len(getattr(step, name) or ""), _MAX_CHARS) for name in fields)
        name = (step.tool or "tool") if step.role == "tool" else _SPEAKERS.get(step.role, step.role)
        made.append(Step(step.role, name, step.is_error, bool(step.marks), texts))
    return Conversation(made, n_chars, any(step.is_evidence for step in made))


_SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System"}


def _text(title: str, text: str, marks: Sequence[Mark]) -> Text:
    n_more = max(0, len(text) - _MAX_CHARS)
    # A tail that is as short as what unfolds it is better shown.
    at = len(text) if len(text) <= _HEAD_CHARS * 1.2 else _HEAD_CHARS
    end = len(text) - n_more
    rest = _marked(text, marks, at, end) if at < end else None
    is_open = any(mark.end > at and mark.start < end for mark in marks)
    return Text(title, _marked(text, marks, 0, at), rest, end - at, is_open, n_more)


def _marked(text: str, marks: Sequence[Mark], start: int, end: int) -> Markup:
    """text[start:end] as `shown`, with the marks in it as <mark>."""
    html, at = Markup(), start
    for mark in marks:
        first, last = max(mark.start, start), min(mark.end, end)
        if first < last:
            html += shown(text[at:first]) + Markup("<mark>{}</mark>").format(shown(text[first:last]))
            at = last
    return html + shown(text[at:end])
