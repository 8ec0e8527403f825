"""The templates of the review page and the words they say numbers in. What a page is made of is review_pages.py's."""

import json
from functools import cache
from typing import Any

from jinja2 import Environment
from starlette.responses import HTMLResponse

from evalpipe.issues.board import shared_places
from evalpipe.pages import shown, templates
from evalpipe.review.desk.desk import Mark, SheetStep
from evalpipe.web.review_text import emphasised, first_line, label, marked

_LONG_CHARACTERS = 1_800  # about 25 lines: more is folded, so that the next step is in sight
_LONG_LINES = 28


def page(name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The template `name` of templates/review, filled in."""
    return HTMLResponse(_environment().get_template(f"{name}.html").render(**values), status)


@cache
def _environment() -> Environment:
    filters = {
        "shown": shown,
        "marked": marked,
        "sharing": lambda text, words: emphasised(text, shared_places(text, words)),
        "first_line": first_line,
        "label": label,
        "seconds": _seconds,
        "dollars": _dollars,
        "thousands": _thousands,
        "is_long": _is_long,
        "marks_of": _marks_of,
        "signals": _signals,
        "tojson_lines": _json_lines,
    }
    return templates("evalpipe.web", "templates/review", filters)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _dollars(dollars: float) -> str:
    return f"${dollars:.2f}" if dollars >= 0.1 or dollars == 0 else f"${dollars:.2g}"


def _thousands(n: int) -> str:
    return f"{n:,}"


def _json_lines(value: Any) -> str:
    """As JSON that people read. It is text, still to be escaped: the filter of jinja2 would call it safe."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _is_long(text: str) -> bool:
    return len(text) > _LONG_CHARACTERS or text.count("\n") > _LONG_LINES


def _marks_of(step: SheetStep, field: str) -> list[Mark]:
    return [mark for mark in step.marks if mark.field == field]


def _signals(steps: list[SheetStep]) -> list[tuple[str, int]]:
    """Each signal that left a mark in these steps and in how many places, as they come."""
    counts: dict[str, int] = {}
    for step in steps:
        for mark in step.marks:
            counts[mark.signal] = counts.get(mark.signal, 0) + 1
    return list(counts.items())
