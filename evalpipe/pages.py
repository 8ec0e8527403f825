"""HTML pages from templates: the one place where escaping is switched on, and how they say numbers and times."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


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


def counted(n: int, noun: str, nouns: str | None = None) -> str:
    """'1 issue', '2 issues'."""
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b %Y}"


def _minute(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"
