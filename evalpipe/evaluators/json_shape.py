"""The part of JSON Schema that a rule may use, and which texts satisfy such a schema.

It is closed: no reference that could be fetched, no pattern, no combination that takes more than linear time.
"""

from functools import partial
from typing import Annotated, Any, Literal

import orjson
import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from evalpipe.traces.view import MESSAGE_SEPARATOR

MAX_PARTS = 64
MAX_DEPTH = 6
_MAX_LISTED = 64
_BOUND = 2**53  # whole numbers above it are not all of JSON

_JsonType = Literal["object", "array", "string", "number", "integer", "boolean", "null"]
_Key = Annotated[str, Field(max_length=256)]
_Count = Annotated[int, Field(ge=0, le=_BOUND)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """Keywords as JSON Schema 2020-12 has them."""

    model_config = ConfigDict(extra="forbid", strict=True, title="JsonSchema")

    type: _JsonType | Annotated[list[_JsonType], Field(min_length=1)] | None = None
    enum: Annotated[list[_Key | bool | _Number | None], Field(min_length=1, max_length=_MAX_LISTED)] | None = None
    properties: dict[_Key, "_Part"] | None = None
    required: Annotated[list[_Key], Field(max_length=_MAX_LISTED)] | None = None
    additionalProperties: "bool | _Part | None" = None  # noqa: N815
    items: "_Part | None" = None
    minItems: _Count | None = None  # noqa: N815
    maxItems: _Count | None = None  # noqa: N815
    minLength: _Count | None = None  # noqa: N815
    maxLength: _Count | None = None  # noqa: N815
    minimum: _Number | None = None
    maximum: _Number | None = None


def _bounded(shape: Any) -> Any:
    """`shape`, which may be anything, if it is neither deep nor large: looked at without recursion."""
    n, depth, level = 0, 0, [shape]
    while level := [part for part in level if isinstance(part, dict)]:
        n, depth = n + len(level), depth + 1
        if n > MAX_PARTS or depth > MAX_DEPTH:
            raise ValueError(f"a JSON schema has at most {MAX_PARTS} parts, nested at most {MAX_DEPTH} deep")
        level = [child for part in level for child in _children(part)]
    return shape


def _children(part: dict[Any, Any]) -> list[Any]:
    properties = part.get("properties")
    named = list(properties.values()) if isinstance(properties, dict) else []
    return [part.get("items"), part.get("additionalProperties"), *named]


JsonShape = Annotated[
    _Part,
    BeforeValidator(_bounded),
    PlainSerializer(lambda part: part.model_dump(exclude_unset=True)),
]
"""A schema of the closed part, for a pydantic model; it is dumped as it was written."""


def satisfies(texts: pl.Series, shape: dict[str, Any] | None) -> pl.Series:
    """Whether each message of a text field is a JSON object or array that satisfies the schema, if there is one.

    False where there is no message. Equal texts are looked at once.
    """
    from jsonschema import Draft202012Validator

    validator = None if shape is None else Draft202012Validator(shape)
    distinct = texts.drop_nulls().unique()
    answers = [all(map(partial(_is_valid, validator=validator), text.split(MESSAGE_SEPARATOR))) for text in distinct]
    return texts.replace_strict(distinct, pl.Series(answers, dtype=pl.Boolean), default=False, return_dtype=pl.Boolean)


def _is_valid(text: str, validator: Any) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return validator is None or validator.is_valid(value)
