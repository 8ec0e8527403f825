"""The columns of SPANS that attributes fill: how each is read, for which operations, and from which keys.

The keys are the dialects'; how a column is read is the same in all of them and is decided here. What more a span is
(its operation, status and dialect) is conventions.py's.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

from evalpipe.otlp.columns import column_of
from evalpipe.traces.dialects import DIALECTS

LLM, TOOL, EMBEDDING = "llm", "tool", "embedding"
OPERATIONS = ("agent", LLM, TOOL, "retriever", EMBEDDING, "chain", "guardrail", "other")


@dataclass(frozen=True)
class Field:
    """A column and how it is read. `operations` are those whose spans may have it; empty means all."""

    column: str
    read: Callable[[pl.Expr], pl.Expr]
    operations: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all dialects that fill the column, in order of precedence."""
        return tuple(dict.fromkeys(key for dialect in DIALECTS for key in dialect.fields.get(self.column, ())))

    def value(self, present: Set[str]) -> pl.Expr:
        """What the first readable key says, of those that have a column with anything in it."""
        found = [self.read(pl.col(column_of(key))) for key in self.keys if key in present]
        if not found:
            return pl.lit(None)
        if self.read is _text:
            # The text of an answer that is a call of tools is empty: another key says more. Else it stays empty.
            is_empty = pl.any_horizontal(text == "" for text in found)
            found = [*(pl.when(text != "").then(text) for text in found), pl.when(is_empty).then(pl.lit(""))]
        return for_operations(pl.coalesce(found), self.operations)


def attribute_of(key: str) -> str:
    """The attribute or family that a key reads: `cost#total` reads `cost`."""
    return key.partition("#")[0]


def is_whole(key: str) -> bool:
    """Whether a key reads all of its attribute, not a member of it."""
    return not key.partition("#")[2]


def parsed(key: str) -> pl.Expr:
    """What a key with a # says, as text, before its column reads it. The forms of keys are Dialect's."""
    attribute, _, path = key.partition("#")
    said = pl.col(column_of(attribute))
    if path:
        return said.str.json_path_match(f"${path}" if path.startswith("[") else f"$.{path}")
    is_text = said.str.starts_with('"')
    text = pl.when(is_text).then(said).str.json_path_match("$")  # texts alone are parsed, objects may be large
    return pl.coalesce(text, pl.when(said != "null").then(said))  # a text that was cut off is no JSON


def for_operations(value: pl.Expr, operations: tuple[str, ...]) -> pl.Expr:
    """`value` where the span's operation is one of these; empty means all."""
    return pl.when(pl.col("operation").is_in(operations)).then(value) if operations else value


def word(value: pl.Expr) -> pl.Expr:
    """A name or an id. Some exporters JSON-encode every value, so quotes round it are no part of it.

    Logfire blanks out what might be a secret, session ids too: what stands in their place would join all traces.
    """
    bare = value.str.strip_chars(' "')
    return pl.when((bare != "") & ~bare.str.starts_with("[Scrubbed due to ")).then(bare)


def number(value: pl.Expr) -> pl.Expr:
    """A figure that cannot be negative; null when it is none."""
    figure = value.str.strip_chars(' "').cast(pl.Float64, strict=False)
    return pl.when(figure.is_finite() & (figure >= 0)).then(figure)


def integer(value: pl.Expr) -> pl.Expr:
    """A count; null when it is none."""
    return number(value).round().cast(pl.Int64, strict=False)


def boolean(value: pl.Expr) -> pl.Expr:
    """A truth value; null when it is none."""
    said = value.str.strip_chars(' "').str.to_lowercase()
    return pl.when(said.is_in(["true", "1"])).then(True).when(said.is_in(["false", "0"])).then(False)


def _text(value: pl.Expr) -> pl.Expr:
    return value


def _words(value: pl.Expr) -> pl.Expr:
    """A list of words, which may come as a JSON array or alone, joined by commas."""
    joined = value.str.extract_all(r"[\w-]+").list.join(",")
    return pl.when(joined != "").then(joined)


FIELDS = (
    Field("session_id", word),
    Field("user_id", word),
    Field("provider", word),
    Field("model", word),
    Field("tool_name", word, (TOOL,)),
    Field("tool_call_id", word, (TOOL,)),
    Field("tool_input", _text, (TOOL,)),
    Field("tool_output", _text, (TOOL,)),
    Field("input", _text),
    Field("output", _text),
    Field("instructions", _text),
    Field("finish_reason", _words),
    # Agents and chains repeat the usage and the cost of the calls they made: counting both would double them.
    Field("n_input_tokens", integer, (LLM, EMBEDDING)),
    Field("n_output_tokens", integer, (LLM,)),
    Field("n_cached_tokens", integer, (LLM, EMBEDDING)),
    Field("n_cache_write_tokens", integer, (LLM, EMBEDDING)),
    Field("cost_usd", number, (LLM, EMBEDDING, TOOL, "retriever", "guardrail", "other")),
    Field("is_tool_success", boolean, (TOOL,)),
    Field("service_version", word),
    Field("environment", word),
    Field("status_message", _text),
)
FIGURES = (number, integer, boolean)
"""Readings of what is no text in JSON."""


def figure_in(attributes: Mapping[str, Any], column: str) -> float | None:
    """What a span's other attributes say for a column of figures: the first that is one, None when none is."""
    (field,) = (field for field in FIELDS if field.column == column)
    for key in field.keys:
        attribute, mark, path = key.partition("#")
        value = attributes.get(attribute)
        if mark:
            value = _at(value, path.split("."))
        if isinstance(value, (int, float)):
            return value
    return None


def _at(text: Any, path: list[str]) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:  # or no text at all
        return None
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
