"""HTML pages from templates: the one place where escaping is switched on, and how they say texts, numbers and times."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from jinja2 import Environment

# Controls but tab and newline, what changes direction, and what has no width. Joiners and the marks of one direction
# stay: Persian, Hindi and emoji are spelled with them, and an isolated block keeps them from reaching further.
_INVISIBLE = re.compile(
    "([\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u180e\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f])"
)


def templates(package: str, folder: str, filters: Mapping[str, Callable[..., Any]]) -> "Environment":
    """The templates in `folder` of a package, with these filters and those of this file.

    What is filled in is escaped always, and a name that nobody filled in is an error, never an empty text.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"counted": counted, "day": _day, "minute": _minute, **filters}
    return environment


def shown(text: str) -> Markup:
    """`text` escaped, with every character that would not be seen as its code point in a box."""
    visible, *rest = _INVISIBLE.split(text)
    html = escape(visible)
    for hidden, visible in zip(rest[::2], rest[1::2], strict=True):
        html += Markup('<span class="invisible">U+{:04X}</span>').format(ord(hidden)) + visible
    return html


def counted(n: int, noun: str, nouns: str | None = None) -> str:
    """'1 issue', '2 issues'."""
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b %Y}"


def _minute(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"
