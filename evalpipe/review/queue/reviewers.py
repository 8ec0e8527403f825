"""Who reviews: reviewers.yaml, and which traces are somebody's to read. How traces are dealt out is in dealing.py."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from evalpipe.errors import InputError
from evalpipe.settings import ReviewSettings

_KINDS = ("services", "tools", "words")


class Reviewer(NamedTuple):
    """Who reads, how many traces a cycle, and which ones: a trace must fit every filter that is given, none fit all.

    `services` and `tools` are patterns (* stands for any text, ? for one character) of the service and of a tool that
    the trace calls; `words` stand, in either case, in the request or the answer.
    """

    name: str
    capacity: int
    services: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def specificity(self) -> int:
        """How many kinds of filter narrow the domain; 0 for who reads everything."""
        return sum(bool(patterns) for patterns in (self.services, self.tools, self.words))


def load_reviewers(path: Path | None, settings: ReviewSettings) -> list[Reviewer]:
    """The reviewers of a YAML file, a list of {name, capacity, services, tools, words}; without it the default one.

    A missing capacity is `settings.capacity`. Raises InputError, naming the file and the entry.
    """
    if path is None or not path.exists():
        return [Reviewer(settings.default_reviewer, settings.capacity)]
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {error}") from error
    entries = content.get("reviewers") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: no list of reviewers. Write one entry a line: - {{name: ada, capacity: 100}}")
    reviewers = [_reviewer(entry, f"{path}, reviewer {place}", settings) for place, entry in enumerate(entries, 1)]
    require_distinct(reviewers, f"{path}: ")
    return reviewers


def require_distinct(reviewers: Sequence[Reviewer], where: str = "") -> None:
    """Raises InputError when two reviewers have one name: each must be told which traces are theirs."""
    names = [reviewer.name for reviewer in reviewers]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{where}reviewer {', '.join(repeated)} is listed twice. Give each reviewer one entry.")


def fitting(reviewers: Sequence[Reviewer]) -> pl.Expr:
    """The positions of the reviewers in whose domain a trace lies: columns service_name, tools, request, response."""
    positions = [pl.when(_domain(reviewer)).then(pl.lit(place, pl.UInt32)) for place, reviewer in enumerate(reviewers)]
    return pl.concat_list(positions).list.drop_nulls() if positions else pl.lit([], pl.List(pl.UInt32))


def _domain(reviewer: Reviewer) -> pl.Expr:
    said = pl.concat_str("request", "response", separator="\n", ignore_nulls=True).str.to_lowercase()
    fits = [
        pl.col("service_name").str.contains(_regex(reviewer.services)) if reviewer.services else None,
        pl.col("tools").list.eval(pl.element().str.contains(_regex(reviewer.tools))).list.any()
        if reviewer.tools
        else None,
        said.str.contains_any([word.lower() for word in reviewer.words]) if reviewer.words else None,
    ]
    return pl.all_horizontal(pl.lit(True), *(fit.fill_null(False) for fit in fits if fit is not None))


def _regex(patterns: Sequence[str]) -> str:
    """One regular expression, in the dialect of polars, for names that match any of the patterns as a whole."""
    parts = (re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns)
    return f"(?s)^(?:{'|'.join(parts)})$"


def _reviewer(entry: Any, where: str, settings: ReviewSettings) -> Reviewer:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise InputError(f"{where}: needs a name, as in {{name: ada, capacity: 100}}")
    if unknown := sorted(str(key) for key in entry if key not in Reviewer._fields):
        raise InputError(f"{where}: unknown {', '.join(unknown)}. Known: {', '.join(Reviewer._fields)}")
    capacity = entry.get("capacity", settings.capacity)
    if not isinstance(capacity, int) or isinstance(capacity, bool) or capacity < 0:
        raise InputError(f"{where}: capacity must be a whole number of traces a week, it is {capacity!r}")
    return Reviewer(entry["name"].strip(), capacity, **{kind: _filter(entry, kind, where) for kind in _KINDS})


def _filter(entry: dict[Any, Any], kind: str, where: str) -> tuple[str, ...]:
    if kind not in entry:
        return ()
    texts = entry[kind]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(f"{where}: {kind} must be a list of texts, as in {kind}: [refund]; it is {texts!r}")
    return tuple(text.strip() for text in texts)
