"""Nothing is lost: an attribute that no column says (it came second, or not for this operation) stays an attribute."""

from collections.abc import Iterable

import orjson
import polars as pl

from evalpipe.otlp.columns import column_of
from evalpipe.traces.fields import FIELDS, FIGURES, attribute_of, is_whole

_JSON_FIGURE = r"^(-?(0|[1-9]\d{0,18})(\.\d+)?([eE][+-]?\d{1,2})?|true|false)$"


def with_unsaid(spans: pl.DataFrame, raw: pl.DataFrame, attributes: Iterable[str]) -> pl.DataFrame:
    """`spans` whose `attributes` have regained those promoted ones whose value none of the row's columns says.

    `raw` are the same rows as they were decoded: in `spans` the families are put together already.
    """
    members = [
        _family_members(spans, raw, name) if name.endswith(".") else _member(name) for name in sorted(attributes)
    ]
    if not members:
        return spans
    unsaid = spans.select(pl.concat_str(members, separator=",", ignore_nulls=True)).to_series()
    rest = pl.col("attributes")
    before = pl.coalesce(rest.str.strip_suffix("}") + ",", pl.lit("{"))
    return spans.with_columns(
        attributes=pl.when(unsaid == "").then(rest).otherwise(pl.concat_str(before, unsaid, pl.lit("}")))
    )


def _is_missed(attribute: str) -> pl.Expr:
    """Whether a span has the attribute and none of its columns says the same."""
    said = [
        (pl.col(field.column) == field.read(pl.col(column_of(key)))).fill_null(False)
        for field in FIELDS
        for key in field.keys
        if attribute_of(key) == attribute and is_whole(key)
    ]
    is_there = pl.col(column_of(attribute)).is_not_null()
    return is_there & ~pl.any_horizontal(said) if said else is_there


def _member(attribute: str) -> pl.Expr:
    """`"key":"value"` where the attribute is missed, else null. Figures and truth values are no text."""
    value = pl.when(_is_missed(attribute)).then(pl.col(column_of(attribute)))
    text = _inside(pl.struct(value.alias(attribute)).struct.json_encode())
    if any(field.read in FIGURES and attribute in field.keys for field in FIELDS):
        bare = pl.concat_str(pl.lit(f"{orjson.dumps(attribute).decode()}:"), value)
        text = pl.when(value.str.contains(_JSON_FIGURE)).then(bare).otherwise(text)
    return pl.when(value.is_not_null()).then(text)


def _family_members(spans: pl.DataFrame, raw: pl.DataFrame, family: str) -> pl.Series:
    """The same of a family, whose members regain their own names."""
    rows = spans.select(pl.arg_where(_is_missed(family))).to_series()
    found = [
        orjson.dumps({family + name: value for name, value in orjson.loads(text).items()}).decode()[1:-1]
        for text in raw[column_of(family)].gather(rows)
    ]
    return pl.repeat(None, spans.height, dtype=pl.String, eager=True).scatter(rows, found)


def _inside(json_object: pl.Expr) -> pl.Expr:
    return json_object.str.strip_prefix("{").str.strip_suffix("}")
