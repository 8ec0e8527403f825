"""Texts as people read them: JSON laid out over lines, long texts cut, and where a passage of the original then stands.

Only white space and the spelling of letters change, never a value: what is judged is what the application said.
"""

import json
import re
from collections.abc import Iterable

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)
_ESCAPES = re.compile(r"((?:\\u[0-9a-fA-F]{4})+)|\\.", re.DOTALL)
_INDENT = "  "
_MAX_DEPTH = 24  # beyond it indentation helps nobody, and hostile nesting would multiply the text
_MAX_CHARS = 100_000  # some thirty pages; a browser still scrolls it smoothly


def laid_out(text: str) -> str:
    """`text`, on indented lines when it is a JSON object or array; at most some thirty pages of it."""
    if not text.lstrip().startswith(("{", "[")) or len(text) > _MAX_CHARS:
        return _cut(text)
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return _cut(text)
    return _cut(_spelt_out(_on_lines(_TOKEN.findall(text)) or text))


def place_of(passage: str, shown: str) -> tuple[int, int] | None:
    """Start and end of the first place in `shown` = laid_out(text) where a passage of `text` stands; None without one.

    White space does not count: laying out moves it.
    """
    letters = "".join(_spelt_out(passage).split())
    if not letters:
        return None
    start = shown.find(passage)
    if start >= 0:
        return start, start + len(passage)
    start = "".join(shown.split()).find(letters)
    if start < 0:
        return None
    places = [place for place, letter in enumerate(shown) if not letter.isspace()]
    return places[start], places[start + len(letters) - 1] + 1


def _on_lines(tokens: Iterable[str]) -> str | None:
    """JSON tokens, one member a line; None when they nest too deep. Empty brackets stay together."""
    lines, line, depth = [], "", 0
    for token in tokens:
        if token in "}]":
            depth -= 1
            if not line.endswith(("{", "[")):
                lines.append(line)
                line = _INDENT * depth
            line += token
        elif line.endswith(("{", "[")) or line.endswith(","):
            lines.append(line)
            line = _INDENT * depth + token
        else:
            line += " " + token if line.endswith(":") else token
        if token in "{[":
            depth += 1
            if depth > _MAX_DEPTH:
                return None
    return "\n".join([*lines, line])


def _spelt_out(text: str) -> str:
    r"""Letters for their JSON escapes: é for \u00e9. What is invisible, or would end a string, stays escaped."""

    def spelt(match: re.Match[str]) -> str:
        if match[1] is None:  # another escape, or one that a passage cuts off
            return match[0]
        letters = json.loads(f'"{match[1]}"')
        return letters if letters.isprintable() and not set(letters) & {'"', "\\"} else match[0]

    return _ESCAPES.sub(spelt, text)


def _cut(text: str) -> str:
    n_more = len(text) - _MAX_CHARS
    return text if n_more <= 0 else f"{text[:_MAX_CHARS]}\n[{n_more:,} more characters]"
