"""The trace view: one row a trace, in the columns that evaluators judge and patterns are mined from.

Everything here is derived from TRACES rows alone, and mostly from the transcript, so that what a rule says of a
trace can be found again by reading it. Features that need other traces (signals, anomaly) are not here.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import polars as pl

from evalpipe.tables import TRACES
from evalpipe.traces.words import ROW, grounding, tokens_of, user_similarity

TEXT_FIELDS: tuple[str, ...] = ("request", "user", "final", "assistant", "tool_input", "tool_output")
"""Text, '' when there is none. request is the first user message, final the last assistant message; the others are
all messages of their kind joined by MESSAGE_SEPARATOR."""

NUMBER_FIELDS: tuple[str, ...] = (
    "n_user_messages",
    "n_assistant_messages",
    "n_tool_calls",
    "n_tool_errors",
    "n_distinct_tools",
    "max_identical_calls",
    "max_user_similarity",
    "n_input_tokens",
    "n_output_tokens",
    "duration_s",
    "cost_usd",
    "turn_index",
    "n_request_words",
    "n_final_words",
    "n_assistant_words",
    "answer_novelty",
    "answer_pair_novelty",
    "n_novel_numbers",
    "final_is_json",
    "final_request_overlap",
)
"""Float64, null where the question makes no sense (the novelty of an answer that was never given)."""

NUMBER_MEANINGS: Mapping[str, str] = {
    "n_user_messages": "user messages",
    "n_assistant_messages": "assistant messages",
    "n_tool_calls": "tool calls",
    "n_tool_errors": "tool calls that failed",
    "n_distinct_tools": "different tools called",
    "max_identical_calls": "times the most repeated call (same tool, same arguments) was made",
    "max_user_similarity": "word overlap of the two most alike user messages",
    "n_input_tokens": "input tokens",
    "n_output_tokens": "output tokens",
    "duration_s": "duration in seconds",
    "cost_usd": "cost in US dollars",
    "turn_index": "position in the session, from 0",
    "n_request_words": "words in the request",
    "n_final_words": "words in the final answer",
    "n_assistant_words": "words in all assistant messages",
    "answer_novelty": "share of the final answer's content words found in no tool output or user message",
    "answer_pair_novelty": "share of the final answer's word pairs found in no tool output or user message",
    "n_novel_numbers": "numbers in the final answer found in no tool output or user message",
    "final_is_json": "1 when the final answer is a JSON object or array, else 0",
    "final_request_overlap": "share of the request's content words that the final answer takes up",
}
"""Each number field in words, for explanations."""

TEXT_MEANINGS: Mapping[str, str] = {
    "request": "the request",
    "user": "what the user says",
    "final": "the final answer",
    "assistant": "what the assistant says",
    "tool_input": "a tool's arguments",
    "tool_output": "a tool's result",
}
"""Each text field in words."""

SEQUENCE_FIELDS: tuple[str, ...] = ("tool_sequence", "dialogue")
"""Text for predicates of order.

tool_sequence: the calls as '\\x1fNAME:ok\\x1fNAME:err\\x1f', '' without calls.
dialogue: who spoke between which calls, as '\\x1eUtext of the user\\x1eAtext of the assistant\\x1fNAME\\x1f'. A call
and its result are such a mark each; FAILURE_MARK follows that of a result which is an error."""

MESSAGE_SEPARATOR = "\x1e"
CALL_SEPARATOR = "\x1f"
FAILURE_MARK = "\x1d"
UNNAMED_TOOL = "unknown"
SPEAKERS: Mapping[str, str] = {"user": "U", "assistant": "A"}
"""How the roles that speak are marked in the dialogue."""
_MARKS = r"[\x1d-\x1f]"

_CHUNK = 10_000  # traces looked at together: a word costs some 100 bytes while it is compared
_CARRIED = ("trace_id", "session_id", "service_name", "day")
_COUNTS = (
    "n_user_messages",
    "n_assistant_messages",
    "n_tool_calls",
    "n_tool_errors",
    "n_distinct_tools",
    "max_identical_calls",
)


def view_frame(traces: pl.DataFrame, *, fields: Collection[str] | None = None) -> pl.DataFrame:
    """The view of TRACES rows: the same rows in the same order.

    Columns: trace_id, session_id, service_name, day; those of TEXT_FIELDS, SEQUENCE_FIELDS and NUMBER_FIELDS that are
    in `fields`, all for None; and the transcript itself, for evaluators that read it whole. Words are compared in lower
    case; content words are those left after a short list of English function words. The text of system messages is
    not in the view: it is the same in every trace of a release.
    """
    parts = [_view(some, fields) for some in traces.iter_slices(_CHUNK)]
    return pl.concat(parts) if parts else _view(traces, fields)


def _view(traces: pl.DataFrame, fields: Collection[str] | None) -> pl.DataFrame:
    texts, numbers = (
        [name for name in names if fields is None or name in fields]
        for names in ((*TEXT_FIELDS, *SEQUENCE_FIELDS), NUMBER_FIELDS)
    )
    rows = traces.with_columns(_transcript()).with_row_index(ROW)
    view = rows.select(
        ROW,
        *_CARRIED,
        "transcript",
        pl.col("n_input_tokens", "n_output_tokens", "cost_usd", "turn_index").cast(pl.Float64),
        duration_s=pl.col("duration_ns") / 1e9,
    )
    for part in _parts(_messages(rows), {*texts, *numbers}):
        view = view.join(part, on=ROW, how="left", maintain_order="left")
    counts = [name for name in numbers if name in _COUNTS]
    return view.with_columns(pl.col(texts).fill_null(""), pl.col(counts).fill_null(0)).select(
        *_CARRIED, *texts, pl.col(numbers).cast(pl.Float64), "transcript"
    )


def tool_name_in_sequence(name: str) -> str:
    """A tool's name as it stands in the SEQUENCE_FIELDS: it cannot hold a separator."""
    return re.sub(_MARKS, "", name)


def _transcript() -> pl.Expr:
    """The transcript; of a trace without one, its request and response."""
    spoken = pl.concat_list(
        pl.struct(
            role=pl.lit(role),
            content=pl.col(column),
            tool=pl.lit(None, pl.String),
            is_error=pl.lit(False),
        )
        for role, column in (("user", "request"), ("assistant", "response"))
    ).cast(TRACES.schema["transcript"])
    has_none = pl.col("transcript").list.len().fill_null(0) == 0
    return pl.when(has_none).then(spoken).otherwise("transcript").alias("transcript")


def _messages(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a message that says something: ROW, _message (its number), role, content, tool, is_error, in order."""
    is_call = pl.col("role").is_in(["tool_call", "tool_result"])
    is_speech = pl.col("role").is_in(["user", "assistant"]) & pl.col("content").str.contains(r"\S")
    return (
        rows.select(ROW, "transcript")
        .explode("transcript")
        .unnest("transcript")
        .filter(is_call | is_speech)
        .with_columns(pl.col("content").fill_null(""), pl.col("is_error").fill_null(False))
        .with_row_index("_message")
    )


def _parts(messages: pl.DataFrame, wanted: set[str]) -> list[pl.DataFrame]:
    """The frames, by ROW, that hold the wanted columns; words are not even split when no wanted column needs them."""
    parts = [part(messages) for part, names in _FROM_MESSAGES.items() if wanted & names]
    if asked := [part for part, names in _FROM_WORDS.items() if wanted & names]:
        tokens = tokens_of(messages)
        parts += [part(tokens) for part in asked]
    return parts


def _spoken(messages: pl.DataFrame) -> pl.DataFrame:
    """What user and assistant said."""
    texts = [
        messages.filter(pl.col("role") == role)
        .group_by(ROW)
        .agg(
            pl.col("content").str.join(MESSAGE_SEPARATOR).alias(role),
            pl.len().alias(f"n_{role}_messages"),
            one,
        )
        for role, one in (
            ("user", pl.col("content").first().alias("request")),
            ("assistant", pl.col("content").last().alias("final")),
        )
    ]
    return texts[0].join(texts[1], on=ROW, how="full", coalesce=True)


def _form(messages: pl.DataFrame) -> pl.DataFrame:
    """Whether the final answer is JSON."""
    final = messages.filter(pl.col("role") == "assistant").group_by(ROW).agg(pl.col("content").last())
    return final.select(ROW, final_is_json=_is_json(final["content"]))


def _dialogue(messages: pl.DataFrame) -> pl.DataFrame:
    """Who spoke between which calls."""
    speaker = pl.col("role").replace_strict(SPEAKERS, default="")
    speech = pl.concat_str(pl.lit(MESSAGE_SEPARATOR), speaker, pl.col("content").str.replace_all(_MARKS, " "))
    has_failed = (pl.col("role") == "tool_result") & pl.col("is_error")
    mark = pl.when(has_failed).then(pl.lit(FAILURE_MARK)).otherwise(pl.lit(""))
    event = pl.concat_str(pl.lit(CALL_SEPARATOR), _tool(), pl.lit(CALL_SEPARATOR), mark)
    is_speech = pl.col("role").is_in(SPEAKERS)
    return messages.group_by(ROW).agg(dialogue=pl.when(is_speech).then(speech).otherwise(event).str.join(""))


def _lengths(tokens: pl.DataFrame) -> pl.DataFrame:
    """How many words user and assistant used."""
    n_words = pl.col("words").list.len()
    of_assistant = pl.col("role") == "assistant"
    return (
        tokens.filter(pl.col("role") != "tool_result")
        .group_by(ROW)
        .agg(
            n_request_words=n_words.filter(~of_assistant & pl.col("is_first")).first(),
            n_final_words=n_words.filter(of_assistant & pl.col("is_last")).first(),
            n_assistant_words=pl.when(of_assistant.any()).then(n_words.filter(of_assistant).sum()),
        )
    )


def _called(messages: pl.DataFrame) -> pl.DataFrame:
    """The tool calls: in sequence, counted, and their arguments and results as text."""
    of_tools = messages.filter(pl.col("role").is_in(["tool_call", "tool_result"])).with_columns(tool=_tool())
    is_call = pl.col("role") == "tool_call"
    texts = of_tools.group_by(ROW).agg(
        tool_input=pl.col("content").filter(is_call).str.join(MESSAGE_SEPARATOR),
        tool_output=pl.col("content").filter(~is_call).str.join(MESSAGE_SEPARATOR),
    )
    # Calls may run side by side, so the k-th result of a tool belongs to its k-th call. A result whose call was
    # not recorded is a call too.
    calls = (
        of_tools.with_columns(k=pl.col("_message").cum_count().over(ROW, "tool", "role"))
        .group_by(ROW, "tool", "k", maintain_order=True)
        .agg(pl.col("is_error").any(), arguments=pl.col("content").filter(is_call).first())
    )
    counts = calls.group_by(ROW, maintain_order=True).agg(
        (pl.col("tool") + pl.when("is_error").then(pl.lit(":err")).otherwise(pl.lit(":ok")))
        .str.join(CALL_SEPARATOR)
        .alias("tool_sequence"),
        n_tool_calls=pl.len(),
        n_tool_errors=pl.col("is_error").sum(),
        n_distinct_tools=pl.col("tool").n_unique(),
    )
    repeats = (
        calls.filter(pl.col("arguments").is_not_null())
        .group_by(ROW, "tool", "arguments")
        .len()
        .group_by(ROW)
        .agg(max_identical_calls=pl.col("len").max())
    )
    return (
        counts.with_columns(
            tool_sequence=pl.concat_str(pl.lit(CALL_SEPARATOR), "tool_sequence", pl.lit(CALL_SEPARATOR))
        )
        .join(repeats, on=ROW, how="left")
        .join(texts, on=ROW, how="left")
    )


def _tool() -> pl.Expr:
    """The tool's name as `tool_name_in_sequence` has it."""
    return pl.col("tool").fill_null(UNNAMED_TOOL).str.replace_all(_MARKS, "")


def _is_json(texts: pl.Series) -> pl.Series:
    """1 where the text is a JSON object or array, else 0, null where there is no text.

    Only texts with the right first and last character are parsed; there is no expression for it.
    """
    candidates = texts.str.strip_chars().str.contains(r"(?s)^(?:\{.*\}|\[.*\])$")
    parsed = [
        None if is_candidate is None else is_candidate and _parses(text)
        for text, is_candidate in zip(texts, candidates, strict=True)
    ]
    return pl.Series("final_is_json", parsed, dtype=pl.Boolean).cast(pl.Float64)


def _parses(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


_Part = Callable[[pl.DataFrame], pl.DataFrame]
_FROM_MESSAGES: Mapping[_Part, set[str]] = {
    _spoken: {"request", "user", "final", "assistant", "n_user_messages", "n_assistant_messages"},
    _form: {"final_is_json"},
    _dialogue: {"dialogue"},
    _called: {
        *("tool_input", "tool_output", "tool_sequence"),
        *("n_tool_calls", "n_tool_errors", "n_distinct_tools", "max_identical_calls"),
    },
}
_FROM_WORDS: Mapping[_Part, set[str]] = {
    _lengths: {"n_request_words", "n_final_words", "n_assistant_words"},
    user_similarity: {"max_user_similarity"},
    grounding: {"answer_novelty", "answer_pair_novelty", "n_novel_numbers", "final_request_overlap"},
}
