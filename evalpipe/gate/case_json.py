"""One case as JSON -> one TRACES row: what a case may say, and what makes it none.

Where cases stand in a file is case_lines.py; which files there are is cases.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Any, NamedTuple

import orjson
import polars as pl

from evalpipe.ids import canonical_json
from evalpipe.tables import MESSAGE, TRACES

_NO_DAY = date(1970, 1, 1)  # a case happened on no day
_COLUMN_OF = {
    **{name: name for name in ("session_id", "user_id", "environment", "model", "cost_usd", "turn_index")},
    **{name: name for name in ("n_input_tokens", "n_output_tokens")},
    "service": "service_name",
    "version": "service_version",
    "duration_s": "duration_ns",
}
COUNTS = frozenset(("n_input_tokens", "n_output_tokens", "turn_index"))
NUMBERS = COUNTS | {"cost_usd", "duration_s"}
METADATA = tuple(_COLUMN_OF)
"""What `metadata` may say; of it NUMBERS are numbers, and of these COUNTS whole ones."""
_MAX_COUNT = {"turn_index": 2**31 - 1, "n_input_tokens": 2**63 - 1, "n_output_tokens": 2**63 - 1}  # as in TRACES
_MAX_DURATION_S = 9e9  # in nanoseconds it must fit 63 bits


class NoCaseError(Exception):
    """What is wrong with one case, in words that follow "line 3: "."""


class Message(NamedTuple):
    """One step of a transcript, as in TRACES."""

    role: str
    content: str
    tool: str | None = None
    is_error: bool | None = None


class Case(NamedTuple):
    """One case, checked."""

    transcript: list[Message]  # of them one at least is the user's; the last is the answer
    metadata: Mapping[str, Any]  # by TRACES column
    issue_ids: list[str]


def case_of(document: Any) -> Case:
    """The case that a JSON value is. Raises NoCaseError."""
    if isinstance(document, list):
        raise NoCaseError("is a JSON array; put one case on a line: jq -c '.[]' FILE")
    if not isinstance(document, dict):
        raise NoCaseError("is not a JSON object")
    if "resourceSpans" in document:
        raise NoCaseError("is an OTLP payload among cases; put traces and cases in files of their own")
    return Case(_transcript(document), _metadata(document), _issue_ids(document))


def sorted_json(value: Any) -> bytes:
    """A value that orjson read, as JSON with sorted keys and no white space. Raises NoCaseError when it is too deep."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # It nests deeper than orjson writes.
        try:
            return canonical_json(value).encode()
        except RecursionError as error:
            raise NoCaseError("nests too deeply") from error


def trace_rows(cases: Sequence[Case], trace_ids: Sequence[str]) -> pl.DataFrame:
    """TRACES rows of cases, in order, under these ids."""
    said = [case.metadata for case in cases]
    columns: dict[str, Any] = {name: [one.get(name) for one in said] for name in _COLUMN_OF.values()}
    transcripts = [case.transcript for case in cases]
    messages = pl.DataFrame(
        list(zip(*chain.from_iterable(transcripts), strict=True)),
        schema={field.name: field.dtype for field in MESSAGE.fields},
        orient="col",
    )
    of_case = pl.Series("case", range(len(cases)), dtype=pl.UInt32)
    owner = of_case.repeat_by(pl.Series([len(steps) for steps in transcripts])).explode()
    role, is_error = pl.col("role"), pl.col("is_error")
    # A failed call and its failed result are one error.
    n_errors = pl.max_horizontal(*((is_error & (role == kind)).sum() for kind in ("tool_call", "tool_result")))
    told = (
        messages.with_columns(owner)
        .group_by("case", maintain_order=True)
        .agg(
            transcript=pl.struct([field.name for field in MESSAGE.fields]),
            request=pl.col("content").filter(role == "user").first(),
            response=pl.col("content").last(),
            n_tool_calls=(role == "tool_call").sum(),
            n_tool_errors=n_errors,
            n_user_messages=(role == "user").sum(),
        )
    )
    schema = {name: TRACES.schema[name] for name in columns}
    rows = pl.DataFrame({"trace_id": trace_ids, **columns}, schema={"trace_id": pl.String, **schema}).hstack(
        told.drop("case")
    )
    none = pl.lit(0)
    return TRACES.conform(
        rows.with_columns(
            pl.col("service_name").fill_null("unknown_service"),
            pl.col("duration_ns").fill_null(0),
            day=pl.lit(_NO_DAY),
            name=pl.lit("case"),
            n_spans=none,
            n_llm_calls=none,
            start_unix_ns=none,
            end_unix_ns=pl.col("duration_ns").fill_null(0),
            status=pl.lit("unset"),
            is_complete=pl.lit(True),
            defects=pl.lit([], pl.List(pl.String)),
        )
    )


def _issue_ids(case: dict[str, Any]) -> list[str]:
    """The issues that an exported case names."""
    if "issues" not in case:
        return []
    named = [issue.get("issue_id") if isinstance(issue, dict) else issue for issue in _list_of(case, "issues")]
    if any(not isinstance(issue_id, str) for issue_id in named):
        raise NoCaseError("issues holds something that names no issue; give a list of ids")
    return sorted({str(issue_id) for issue_id in named})


def _transcript(case: dict[str, Any]) -> list[Message]:
    messages: list[Message] = []
    if "messages" in case:
        tool_of_call: dict[str, str] = {}
        for message in _list_of(case, "messages"):
            messages += _messages_of(message, tool_of_call)
    question, answer = case.get("input"), case.get("output")
    if messages and messages[-1].role == "assistant" and (answer is None or messages[-1].content == _text(answer)):
        answer = messages.pop().content
    if question is not None and not _is_asked(messages, _text(question)):
        messages.append(Message("user", _text(question)))
    if not any(message.role == "user" for message in messages):
        raise NoCaseError("has no input")
    if answer is None:
        raise NoCaseError("has no output")
    if "tool_calls" in case:
        for call in _list_of(case, "tool_calls"):
            messages += _tool_call_of(call)
    messages.append(Message("assistant", _text(answer)))
    return messages


def _is_asked(messages: list[Message], question: str) -> bool:
    """Whether the conversation ends on this question: one that was answered before is asked again."""
    if not messages:
        return False
    roles = [message.role for message in messages]
    # What the assistant says on the way to a tool call is not its answer yet.
    answers = [n for n, role in enumerate(roles) if role == "assistant" and roles[n + 1 : n + 2] != ["tool_call"]]
    since_answer = messages[answers[-1] + 1 if answers else 0 :]
    asked = [message.content for message in since_answer if message.role == "user"]
    return bool(asked) and asked[-1] == question


def _messages_of(message: Any, tool_of_call: dict[str, str]) -> list[Message]:
    if not isinstance(message, dict):
        raise NoCaseError("messages holds something that is not an object")
    role, content, is_error = message.get("role"), _content(message.get("content")), _is_error(message)
    if role == "user":
        return [Message("user", content)]
    if role in ("system", "developer"):
        return [Message("system", content)]
    name = message.get("tool") or message.get("name") or tool_of_call.get(str(message.get("tool_call_id")))
    if role == "tool_call":
        return [Message("tool_call", content, str(name or "tool"), is_error)]
    if role in ("tool_result", "tool"):
        return [Message("tool_result", content, str(name or "tool"), is_error)]
    if role != "assistant":
        raise NoCaseError(f"messages has the role {role!r}; known are system, user, assistant, tool_call, tool_result")
    calls: list[Message] = []
    for call in _list_of(message, "tool_calls"):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict | None):
            raise NoCaseError("tool_calls of a message holds something that is not an object")
        called = function or call
        tool = str(called.get("name") or "tool")
        tool_of_call[str(call.get("id"))] = tool
        calls.append(Message("tool_call", _text(called.get("arguments")), tool, False))
    spoken = [Message("assistant", content)] if content or not calls else []
    return spoken + calls


def _tool_call_of(call: Any) -> Iterable[Message]:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        raise NoCaseError("tool_calls holds something without a name")
    is_error = _is_error(call)
    return (
        Message("tool_call", _text(call.get("arguments")), call["name"], is_error),
        Message("tool_result", _text(call.get("result")), call["name"], is_error),
    )


def _metadata(case: dict[str, Any]) -> dict[str, Any]:
    metadata = case.get("metadata")
    if not metadata:
        return {}
    if not isinstance(metadata, dict):
        raise NoCaseError("metadata is not an object")
    known: dict[str, Any] = {}
    for name, value in metadata.items():
        column = _COLUMN_OF.get(name)
        if column is None or value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in NUMBERS:
            if not isinstance(value, str) and not is_number:
                raise NoCaseError(f"metadata.{name} is {value!r}, not a text")
            known[column] = str(value) or None
        elif not is_number or value < 0 or (name in COUNTS and not isinstance(value, int)):
            kind = "a whole number" if name in COUNTS else "a number"
            raise NoCaseError(f"metadata.{name} is {value!r}, not {kind} of at least 0")
        elif value > _MAX_COUNT.get(name, value) or (name == "duration_s" and value > _MAX_DURATION_S):
            raise NoCaseError(f"metadata.{name} is {value!r}, which is too large")
        else:
            known[column] = round(value * 1e9) if name == "duration_s" else value
    return known


def _list_of(owner: dict[str, Any], name: str) -> list[Any]:
    values = owner.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise NoCaseError(f"{name} is not a list")
    return values


def _is_error(message: dict[str, Any]) -> bool:
    is_error = message.get("is_error", False)
    if not isinstance(is_error, bool):
        raise NoCaseError(f"is_error is {is_error!r}, not true or false")
    return is_error


def _content(value: Any) -> str:
    """A message's content: text, or OpenAI's list of parts, whose texts are joined."""
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in value]
        return "\n".join(_text(text if text is not None else part) for text, part in zip(parts, value, strict=True))
    return _text(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else sorted_json(value).decode()
