"""The dialects of tracing conventions -> one vocabulary: raw attributes in, the columns of SPANS that they fill out.

A dialect is data: which attribute keys fill a column, in order of precedence, and which keys betray it. Decoding is
otlp/wire.py's; times, rejections and the rest of a SPANS row are spans.py's; reading messages is messages.py's.

Sources: OpenTelemetry semantic conventions v1.27 to v1.41 (docs/gen-ai), OpenInference spec/semantic_conventions.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import orjson
import polars as pl

from evalpipe.otlp.columns import Promotion, column_of
from evalpipe.traces.families import messages_of_events, unflattened

LLM, TOOL, EMBEDDING = "llm", "tool", "embedding"
OPERATIONS = ("agent", LLM, TOOL, "retriever", EMBEDDING, "chain", "guardrail", "other")

_KINDS = {
    "openinference.span.kind": {
        "llm": LLM,
        "embedding": EMBEDDING,
        "chain": "chain",
        "retriever": "retriever",
        "reranker": "retriever",
        "tool": TOOL,
        "agent": "agent",
        "guardrail": "guardrail",
        "evaluator": "other",
        "prompt": "other",
    },
    "gen_ai.operation.name": {
        "chat": LLM,
        "text_completion": LLM,
        "generate_content": LLM,
        "embeddings": EMBEDDING,
        "execute_tool": TOOL,
        "invoke_agent": "agent",
        "create_agent": "agent",
        "invoke_workflow": "chain",
        "retrieval": "retriever",
    },
}
"""What a dialect's own word for the kind of a span means here; the first key with a known word decides."""

_INFERRED = (
    (("tool.name", "gen_ai.tool.name", "gen_ai.tool.call.id"), TOOL),
    (("embedding.model_name",), EMBEDDING),
    (("gen_ai.request.model", "gen_ai.response.model", "llm.model_name", "gen_ai.system"), LLM),
)
"""A span that does not say its kind has it by what it carries; the first match decides."""


def _text(value: pl.Expr) -> pl.Expr:
    return value


def _word(value: pl.Expr) -> pl.Expr:
    """A name or an id. Some exporters JSON-encode every value, so quotes round it are no part of it."""
    bare = value.str.strip_chars(' "')
    return pl.when(bare != "").then(bare)


def _integer(value: pl.Expr) -> pl.Expr:
    return _number(value).round().cast(pl.Int64, strict=False)


def _number(value: pl.Expr) -> pl.Expr:
    number = value.str.strip_chars(' "').cast(pl.Float64, strict=False)
    return pl.when(number.is_finite() & (number >= 0)).then(number)


def _boolean(value: pl.Expr) -> pl.Expr:
    word = value.str.strip_chars(' "').str.to_lowercase()
    return pl.when(word.is_in(["true", "1"])).then(True).when(word.is_in(["false", "0"])).then(False)


def _words(value: pl.Expr) -> pl.Expr:
    """A list of words, which may come as a JSON array or alone, joined by commas."""
    joined = value.str.extract_all(r"[\w-]+").list.join(",")
    return pl.when(joined != "").then(joined)


@dataclass(frozen=True)
class Field:
    """A SPANS column and the attributes that fill it: the first key present wins.

    A key that ends in a dot is a family: `llm.input_messages.0.message.role` and its kin, put together again.
    `operations` are those whose spans may have the column; empty means all.
    """

    column: str
    keys: tuple[str, ...]
    read: Callable[[pl.Expr], pl.Expr] = _text
    operations: tuple[str, ...] = ()


FIELDS = (
    Field("session_id", ("session.id", "gen_ai.conversation.id"), _word),
    Field("user_id", ("user.id", "enduser.id"), _word),
    Field("provider", ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system"), _word),
    Field(
        "model",
        (
            "gen_ai.response.model",
            "llm.response.model_name",
            "gen_ai.request.model",
            "llm.model_name",
            "llm.request.model_name",
            "embedding.model_name",
            "reranker.model_name",
        ),
        _word,
    ),
    Field("tool_name", ("gen_ai.tool.name", "tool.name"), _word, (TOOL,)),
    Field("tool_call_id", ("gen_ai.tool.call.id", "tool_call.id", "tool.id"), _word, (TOOL,)),
    # OpenInference calls the definition of the parameters tool.parameters, so the span's input comes before it.
    Field("tool_input", ("gen_ai.tool.call.arguments", "tool.input", "input.value", "tool.parameters"), _text, (TOOL,)),
    Field("tool_output", ("gen_ai.tool.call.result", "tool.output", "output.value"), _text, (TOOL,)),
    Field("input", ("gen_ai.input.messages", "llm.input_messages.", "input.value", "gen_ai.prompt")),
    Field(
        "output",
        (
            "gen_ai.output.messages",
            "llm.output_messages.",
            "output.value",
            "gen_ai.completion",
            "gen_ai.retrieval.documents",
            "retrieval.documents.",
        ),
    ),
    Field("instructions", ("gen_ai.system_instructions",)),
    Field("finish_reason", ("gen_ai.response.finish_reasons", "llm.finish_reason"), _words),
    # Agents and chains repeat the usage and the cost of the calls they made: counting both would double them.
    Field(
        "n_input_tokens",
        ("gen_ai.usage.input_tokens", "llm.token_count.prompt", "gen_ai.usage.prompt_tokens"),
        _integer,
        (LLM, EMBEDDING),
    ),
    Field(
        "n_output_tokens",
        ("gen_ai.usage.output_tokens", "llm.token_count.completion", "gen_ai.usage.completion_tokens"),
        _integer,
        (LLM,),
    ),
    Field(
        "cost_usd",
        ("llm.cost.total", "gen_ai.usage.cost"),
        _number,
        (LLM, EMBEDDING, TOOL, "retriever", "guardrail", "other"),
    ),
    Field("is_tool_success", ("tool.success",), _boolean, (TOOL,)),
)


@dataclass(frozen=True)
class Dialect:
    """A convention and the attributes that only it has."""

    name: str
    keys: tuple[str, ...]


DIALECTS = (
    Dialect("openinference", ("openinference.span.kind", "llm.input_messages.", "llm.model_name")),
    Dialect("plain", ("input.value", "output.value", "tool.input", "tool.output", "tool.success", "tool.name")),
    Dialect(
        "gen_ai",
        (
            "gen_ai.provider.name",
            "gen_ai.input.messages",
            "gen_ai.output.messages",
            "gen_ai.system_instructions",
            "gen_ai.conversation.id",
            "gen_ai.tool.name",
            "gen_ai.tool.call.arguments",
            "gen_ai.tool.call.result",
        ),
    ),
    Dialect(
        "gen_ai_1_36",
        (
            "gen_ai.system",
            "gen_ai.prompt",
            "gen_ai.completion",
            "gen_ai.usage.prompt_tokens",
            "gen_ai.usage.completion_tokens",
            "gen_ai.operation.name",
            "gen_ai.request.model",
        ),
    ),
)
"""The first dialect with one of its keys names the span's; a span with none of them is of dialect `none`."""

_KEPT = (*_KINDS, "error.type")  # read here, but said whole by no column
_KEYS = {key for field in FIELDS for key in field.keys} | {key for dialect in DIALECTS for key in dialect.keys}
_ALL_KEYS = sorted(_KEYS | {key for keys, _ in _INFERRED for key in keys} | set(_KEPT))
_FAMILIES = tuple(key for key in _ALL_KEYS if key.endswith("."))

PROMOTION = Promotion(
    keys=frozenset(key for key in _ALL_KEYS if not key.endswith(".")), families=_FAMILIES, kept=frozenset(_KEPT)
)
"""The attributes that decoding lifts into columns of their own for `in_one_vocabulary`."""


def in_one_vocabulary(raw: pl.DataFrame) -> pl.DataFrame:
    """`raw` (decoded with PROMOTION) with the columns of FIELDS, `operation`, `status` and `dialect`.

    `attributes` regains every promoted attribute whose value no column says. The promoted columns are gone.
    """
    folded = raw.with_columns(
        pl.Series(column_of(family), [unflattened(text) for text in raw[column_of(family)]], dtype=pl.String)
        for family in _FAMILIES
        if raw[column_of(family)].null_count() < raw.height
    )
    named = folded.with_columns(operation=_operation(), status=_status(), dialect=_dialect())
    filled = named.with_columns(_value(field) for field in FIELDS).with_columns(
        # A tool's arguments and result have columns of their own.
        pl.when(pl.col("input") != pl.col("tool_input").fill_null("")).then("input"),
        pl.when(pl.col("output") != pl.col("tool_output").fill_null("")).then("output"),
        is_tool_success=pl.when(pl.col("operation") == TOOL).then(
            pl.coalesce(
                "is_tool_success",
                (pl.col("status") != "error") & pl.col(column_of("error.type")).is_null(),
            )
        ),
    )
    complete = _with_unsaid(_with_event_messages(filled), raw)
    return complete.drop(column_of(key) for key in _ALL_KEYS)


def _operation() -> pl.Expr:
    said = [
        _word(pl.col(column_of(key))).str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.String)
        for key, words in _KINDS.items()
    ]
    inferred = [pl.when(_any_present(keys)).then(pl.lit(operation)) for keys, operation in _INFERRED]
    return pl.coalesce(*said, *inferred, pl.lit("other"))


def _status() -> pl.Expr:
    return pl.col("status_code").replace_strict({1: "ok", 2: "error"}, default="unset", return_dtype=pl.String)


def _dialect() -> pl.Expr:
    found = [pl.when(_any_present(dialect.keys)).then(pl.lit(dialect.name)) for dialect in DIALECTS]
    return pl.coalesce(*found, pl.lit("none"))


def _any_present(keys: tuple[str, ...]) -> pl.Expr:
    return pl.any_horizontal(pl.col(column_of(key)).is_not_null() for key in keys)


def _value(field: Field) -> pl.Expr:
    value = pl.coalesce(field.read(pl.col(column_of(key))) for key in field.keys)
    if field.operations:
        value = pl.when(pl.col("operation").is_in(field.operations)).then(value)
    return value.alias(field.column)


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


def _with_unsaid(spans: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
    """Nothing is lost: an attribute that no column says (it came second, or not for this operation) stays one."""
    unsaid: dict[int, dict[str, str | float | bool]] = {}
    for key in _ALL_KEYS:
        if key in _KEPT:
            continue
        column = pl.col(column_of(key))
        fields = [field for field in FIELDS if key in field.keys]
        is_said = [(pl.col(field.column) == field.read(column)).fill_null(False) for field in fields]
        missed = spans.select(
            pl.arg_where(column.is_not_null() & ~pl.any_horizontal(is_said) if is_said else column.is_not_null())
        ).to_series()
        for row, text in zip(missed.to_list(), raw[column_of(key)].gather(missed).to_list(), strict=True):
            members = orjson.loads(text) if key.endswith(".") else {"": _typed(text, fields)}
            unsaid.setdefault(row, {}).update({key + name: value for name, value in members.items()})
    if not unsaid:
        return spans
    rows = sorted(unsaid)
    merged = [
        orjson.dumps({**(orjson.loads(rest) if rest else {}), **unsaid[row]}).decode()
        for row, rest in zip(rows, spans["attributes"].gather(rows), strict=True)
    ]
    return spans.with_columns(spans["attributes"].scatter(rows, merged))


def _typed(text: str, fields: list[Field]) -> str | float | bool:
    """A promoted value as it was sent: figures and truth values are no text."""
    if any(field.read in (_integer, _number, _boolean) for field in fields):
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        return value if isinstance(value, (int, float)) else text
    return text
