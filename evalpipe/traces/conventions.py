"""The dialects of tracing conventions -> one vocabulary: raw attributes in, the columns of SPANS that they fill out.

What a dialect means is data, in dialects/; how a column is read is fields.py's. Decoding is otlp/wire.py's; times,
rejections and the rest of a SPANS row are spans.py's; reading messages is messages.py's.
"""

from collections.abc import Iterable, Mapping, Set

import polars as pl

from evalpipe.otlp.columns import RAW_SCHEMA, Promotion, column_of
from evalpipe.tables import SPANS
from evalpipe.traces.dialects import DIALECTS
from evalpipe.traces.families import messages_of_events, unflattened
from evalpipe.traces.fields import FIELDS, LLM, TOOL, attribute_of, for_operations, integer, is_whole, parsed, word
from evalpipe.traces.unsaid import with_unsaid

_ERROR_TYPE = "error.type"  # a tool whose span has one has failed, though its status may be unset
# A framework may add words to a general attribute: it stays as general as the last dialect that has it.
_KIND_ATTRIBUTES = [attribute for dialect in DIALECTS for attribute in dialect.kinds]
_KINDS = {
    attribute: {said: operation for dialect in DIALECTS for said, operation in dialect.kinds.get(attribute, {}).items()}
    for attribute in reversed(dict.fromkeys(reversed(_KIND_ATTRIBUTES)))
}
# A model's name says least of what a span is: tools and retrievers repeat it.
_INFERRED = sorted((pair for dialect in DIALECTS for pair in dialect.infers), key=lambda pair: pair[1] == LLM)
_TOTALS = tuple(key for dialect in DIALECTS for key in dialect.totals)
_LEAVES_OUT_CACHED = {key for dialect in DIALECTS for key in dialect.leaves_out_cached}
_KEYS = {key for field in FIELDS for key in field.keys}
_SAID = {attribute_of(key) for key in _KEYS if is_whole(key)}
_ASKED = {
    *_KINDS,
    _ERROR_TYPE,
    *(attribute for attributes, _ in _INFERRED for attribute in attributes),
    *(attribute for dialect in DIALECTS for attribute in (*dialect.betrays, *dialect.fails, *dialect.drops)),
    *(attribute_of(key) for key in (*_KEYS, *_TOTALS)),
}
_FAMILIES = tuple(sorted(name for name in _SAID | _ASKED if name.endswith(".")))
_ALONE = (_SAID | _ASKED).difference(_FAMILIES)
_PARSED = tuple(sorted(key for key in _KEYS.union(_TOTALS) if "#" in key))

PROMOTION = Promotion(keys=frozenset(_ALONE), families=_FAMILIES, kept=frozenset(_ALONE - _SAID))
"""The attributes that decoding lifts into columns of their own for `in_one_vocabulary`.

Kept are those that are asked for here but said whole by no column.
"""


def in_one_vocabulary(raw: pl.DataFrame) -> pl.DataFrame:
    """`raw` (decoded with PROMOTION) with the columns of FIELDS, `operation`, `status` and `dialect`.

    `attributes` regains every promoted attribute whose value no column says. The promoted columns are gone, and so
    are the rows that only repeat another span.
    """
    # Of all attributes that are known a batch has a few: the others must cost nothing.
    present = _present(raw, *_ALONE, *_FAMILIES)
    repeats = [_says(dialect.drops, present) for dialect in DIALECTS if present & dialect.drops.keys()]
    if repeats:  # polars fails to filter a large frame by literals alone
        raw = raw.filter(~pl.any_horizontal(repeats))
    read = raw.with_columns(_put_together(raw[column_of(name)]) for name in _FAMILIES if name in present).with_columns(
        parsed(key).alias(column_of(key)) for key in _PARSED if attribute_of(key) in present
    )
    present |= _present(read, *_PARSED)
    filled = (
        read.with_columns(operation=_operation(present), status=_status(present), dialect=_dialect(present))
        .with_columns(_filled(field.column, field.value(present)) for field in FIELDS)
        .with_columns(
            # A tool's arguments and result have columns of their own.
            pl.when(pl.col("input") != pl.col("tool_input").fill_null("")).then("input"),
            pl.when(pl.col("output") != pl.col("tool_output").fill_null("")).then("output"),
            n_input_tokens=_with_cached(present),
            tool_name=pl.coalesce("tool_name", for_operations(_tool_that_names_its_span(), (TOOL,))),
            is_tool_success=for_operations(pl.coalesce("is_tool_success", _is_sound(present)), (TOOL,)),
        )
    )
    complete = with_unsaid(_with_event_messages(filled), raw, present & {*_SAID, *_FAMILIES})
    return complete.drop((column_of(key) for key in (*_ALONE, *_FAMILIES, *_PARSED)), strict=False)


def _present(frame: pl.DataFrame, *keys: str) -> set[str]:
    """Those keys that have a column with anything in it."""
    return {
        key for key in keys if (column := column_of(key)) in frame.columns and frame[column].null_count() < frame.height
    }


def _filled(column: str, value: pl.Expr) -> pl.Expr:
    """What a span's resource or status says of a column stands before what its attributes say."""
    return (pl.coalesce(column, value) if column in RAW_SCHEMA else value).cast(SPANS.schema[column]).alias(column)


def _put_together(family: pl.Series) -> pl.Series:
    rows = family.is_not_null().arg_true()
    return family.scatter(rows, [unflattened(text) for text in family.gather(rows)])


def _operation(present: Set[str]) -> pl.Expr:
    said = [
        word(pl.col(column_of(key))).str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.String)
        for key, words in _KINDS.items()
        if key in present
    ]
    inferred = [pl.when(_has_any(keys, present)).then(pl.lit(operation)) for keys, operation in _INFERRED]
    return pl.coalesce(*said, *inferred, pl.lit("other"))


def _status(present: Set[str]) -> pl.Expr:
    has_failed = pl.any_horizontal(_says(dialect.fails, present) for dialect in DIALECTS)
    said = pl.col("status_code").replace_strict({1: "ok", 2: "error"}, default="unset", return_dtype=pl.String)
    return pl.when(has_failed).then(pl.lit("error")).otherwise(said)


def _dialect(present: Set[str]) -> pl.Expr:
    found = [
        pl.when(_has_any(dialect.betrays, present) | _is_of_scope(dialect.scopes)).then(pl.lit(dialect.name))
        for dialect in DIALECTS
    ]
    return pl.coalesce(*found, pl.lit("none"))


def _is_of_scope(scopes: tuple[str, ...]) -> pl.Expr:
    """Whether the instrumentation scope is one of these; a name that ends in a dot is that of all under it."""
    if not scopes:
        return pl.lit(False)
    ends = ["" if scope.endswith(".") else '"' for scope in scopes]
    said = [f'"otel.scope.name":"{scope}{end}' for scope, end in zip(scopes, ends, strict=True)]
    return pl.col("resource").str.contains_any(said).fill_null(False)


def _has_any(names: Iterable[str], present: Set[str]) -> pl.Expr:
    found = [pl.col(column_of(name)).is_not_null() for name in names if name in present]
    return pl.any_horizontal(found) if found else pl.lit(False)


def _says(words_of: Mapping[str, tuple[str, ...]], present: Set[str]) -> pl.Expr:
    """Whether one of the attributes has one of its words."""
    found = [
        word(pl.col(column_of(name))).str.to_lowercase().is_in(words).fill_null(False)
        for name, words in words_of.items()
        if name in present
    ]
    return pl.any_horizontal(found) if found else pl.lit(False)


def _is_sound(present: Set[str]) -> pl.Expr:
    has_error_type = _has_any((_ERROR_TYPE,), present)
    return (pl.col("status") != "error") & ~has_error_type


def _tool_that_names_its_span() -> pl.Expr:
    named = [dialect.name for dialect in DIALECTS if dialect.names_tools]
    return pl.when(pl.col("dialect").is_in(named)).then("name")


def _with_cached(present: Set[str]) -> pl.Expr:
    """n_input_tokens with the cached tokens in it, as OpenTelemetry has it, whatever the provider counts.

    A total that was sent decides, else the habit of the key that the figure came from. More cached tokens than
    input tokens cannot be inside.
    """
    n_input, n_output = pl.col("n_input_tokens"), pl.col("n_output_tokens").fill_null(0)
    n_cached = pl.col("n_cached_tokens").fill_null(0) + pl.col("n_cache_write_tokens").fill_null(0)
    totals = [integer(pl.col(column_of(key))) for key in _TOTALS if key in present]
    total = pl.coalesce(totals) if totals else pl.lit(None, pl.Int64)
    (field,) = (field for field in FIELDS if field.column == "n_input_tokens")
    habits = [
        pl.when(integer(pl.col(column_of(key))).is_not_null()).then(pl.lit(key in _LEAVES_OUT_CACHED))
        for key in field.keys
        if key in present
    ]
    is_beside = (
        pl.when(total == n_input + n_output)
        .then(False)
        .when(total == n_input + n_output + n_cached)
        .then(True)
        .otherwise(pl.coalesce(*habits, pl.lit(False)) | (n_cached > n_input))
    )
    return pl.when(is_beside).then(n_input + n_cached).otherwise(n_input)


def _with_event_messages(spans: pl.DataFrame) -> pl.DataFrame:
    """Conventions up to v1.36 put messages into span events; they fill what the attributes leave empty."""
    if not spans.height:
        return spans
    rows = spans.select(
        pl.arg_where(
            pl.col("events").str.contains('"gen_ai.', literal=True)
            & pl.any_horizontal(pl.col("input").is_null(), pl.col("output").is_null())
        )
    ).to_series()
    if rows.is_empty():
        return spans
    found = [messages_of_events(text) for text in spans["events"].gather(rows)]
    columns = ("input", "output", "instructions", "finish_reason")
    from_events = pl.DataFrame(
        [pl.Series("_row", rows, dtype=pl.UInt32)]
        + [pl.Series(f"_{name}", [getattr(item, name) for item in found], dtype=pl.String) for name in columns]
    )
    return (
        spans.with_row_index("_row")
        .join(from_events, on="_row", how="left", maintain_order="left")
        .with_columns(pl.coalesce(name, f"_{name}").alias(name) for name in columns)
        .drop("_row", *(f"_{name}" for name in columns))
    )
