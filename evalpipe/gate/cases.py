"""Cases from a file, as TRACES rows, so that the same evaluators judge them as production.

Judging them is in judge.py; what CI replays against a new release is in replay.py.
"""

import csv
import io
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import polars as pl

from evalpipe.errors import InputError
from evalpipe.ids import canonical_json, content_hash
from evalpipe.tables import TRACES

_NO_DAY = date(1970, 1, 1)  # a case happened on no day
_MAX_NAMED_LINES = 5  # the first few bad lines show what is wrong with the file
_CSV_COLUMNS = ("input", "output")
_TEXT_METADATA = ("service", "version", "session_id", "user_id", "environment", "model")
_COUNT_METADATA = ("n_input_tokens", "n_output_tokens", "turn_index")
_NUMBER_METADATA = ("cost_usd", "duration_s")
_METADATA = _TEXT_METADATA + _COUNT_METADATA + _NUMBER_METADATA
_OTLP_KEYS = ("resourceSpans", "resource_spans")
_OTLP_HINT = (
    "OTLP files are not gated directly yet: evalpipe ingest FILE, evalpipe run, evalpipe gate --release VERSION"
)


class Refused(NamedTuple):
    """Something in a file that is no case, and why."""

    line: int | None  # from 1; None where the file has no lines
    reason: str


class Cases(NamedTuple):
    """Cases to judge. `about` says of each what is not in a trace."""

    traces: pl.DataFrame  # TRACES, one row a case; trace_id is the case id
    about: pl.DataFrame  # ABOUT, one row a case; cases without one name no issue and have no line
    refused: tuple[Refused, ...] = ()


ABOUT = pl.Schema({"trace_id": pl.String, "line": pl.Int64, "issue_ids": pl.List(pl.String)})
"""Of each case: where it stands in its file, from 1, and the issues whose evaluators count it."""


def cases_of_traffic(traces: pl.DataFrame) -> Cases:
    """TRACES rows as cases."""
    return Cases(traces, pl.DataFrame(schema=ABOUT))


def read_cases(path: Path, *, is_strict: bool = False) -> Cases:
    """The cases of a JSON Lines or CSV (.csv) file as TRACES rows, in file order; trace_id is the case id.

    A JSON case is `{input, output, id?, messages?, tool_calls?, metadata?}`. `input` and `output` are text; any other
    JSON value is kept as its JSON text. `messages` is the conversation up to the output: `{role, content}` with the
    roles system, user, assistant, tool_call, tool_result, or OpenAI's `tool_calls` and role tool; where it holds the
    user's input or ends with the output, these need not be repeated. `tool_calls`, made before the output, is
    `[{name, arguments, result, is_error?}]`. `metadata` may say service, version, session_id, user_id, environment,
    model, n_input_tokens, n_output_tokens, turn_index, cost_usd, duration_s; the rest of it is free. A CSV file has
    the columns input and output, and may have id and any of these metadata.

    A case without an id is named by its content. What is no case is in `refused`, by line: a gate must not silently
    judge fewer cases than it was given. Raises InputError when `is_strict` and anything is refused, and when nothing
    is left.
    """
    text = _text_of(path)
    is_csv = path.suffix.lower() == ".csv"
    rows: list[dict[str, Any]] = []
    about: list[dict[str, Any]] = []
    refused: list[Refused] = []
    ids = _Ids()
    for number, case in _csv_cases(path, text) if is_csv else _json_cases(text):
        try:
            rows.append(_trace_row(case) | {"trace_id": ids.name(case, number)})
            about.append({"trace_id": rows[-1]["trace_id"], "line": number, "issue_ids": _issue_ids(case)})
        except _NoCaseError as error:
            refused.append(Refused(number, str(error)))
    if refused and (is_strict or not rows):
        named = [f"line {one.line}: {one.reason}" for one in refused[:_MAX_NAMED_LINES]]
        more = f"; and {len(refused) - _MAX_NAMED_LINES} more" if len(refused) > _MAX_NAMED_LINES else ""
        raise InputError(
            f"{path}: {len(refused)} of {len(refused) + len(rows)} cases cannot be judged: "
            f"{'; '.join(named)}{more}. Correct or remove them; nothing was judged."
        )
    if not rows:
        example = "input,output" if is_csv else '{"input": "...", "output": "..."}'
        raise InputError(f"{path}: no cases, and a gate without cases decides nothing. Give at least one: {example}")
    traces = TRACES.conform(pl.DataFrame(rows, schema=TRACES.schema))
    return Cases(traces, pl.DataFrame(about, schema=ABOUT), tuple(refused))


class _NoCaseError(Exception):
    """What is wrong with one line; it becomes part of one InputError for the whole file."""


class _Numbered(NamedTuple):
    number: int  # line of the file, from 1
    case: Any


class _Ids:
    """The case ids of one file: given ones once each, the others from the content."""

    def __init__(self) -> None:
        self._line_of: dict[str, int] = {}
        self._n_alike: dict[str, int] = {}

    def name(self, case: dict[str, Any], line: int) -> str:
        given = case.get("id")
        if given is None:
            stem = "case_" + content_hash({key: value for key, value in case.items() if key != "id"})
            name = stem
            while name in self._line_of:  # the same case again is one more case: it was asked for twice
                self._n_alike[stem] = self._n_alike.get(stem, 1) + 1
                name = f"{stem}_{self._n_alike[stem]}"
        else:
            name = str(given)
            if isinstance(given, bool) or not isinstance(given, str | int) or not name:
                raise _NoCaseError(f"id is {given!r}, not a text or a whole number")
            if name in self._line_of:
                raise _NoCaseError(f"id {name!r} is also on line {self._line_of[name]}")
        self._line_of[name] = line
        return name


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Give a JSON Lines or CSV file of cases.") from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}. Give a JSON Lines or CSV file of cases."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text. Give JSON Lines or CSV. {_OTLP_HINT}") from error


def _json_cases(text: str) -> Iterator[_Numbered]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield _Numbered(number, orjson.loads(line))
            except orjson.JSONDecodeError as error:
                yield _Numbered(number, _NoCaseError(f"is not JSON ({error.msg} at column {error.colno})"))


def _csv_cases(path: Path, text: str) -> Iterator[_Numbered]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restkey="")
    if reader.fieldnames and (missing := [name for name in _CSV_COLUMNS if name not in reader.fieldnames]):
        raise InputError(f"{path}: no column {' and no column '.join(missing)}. The first line names the columns.")
    try:
        for cells in reader:
            yield _Numbered(reader.line_num, _case_of_cells(cells))
    except csv.Error as error:
        raise InputError(
            f"{path}: line {reader.reader.line_num}: {error}. Quote the cell, or give JSON Lines."
        ) from error


def _case_of_cells(cells: dict[str, Any]) -> Any:
    if "" in cells or None in cells.values():
        return _NoCaseError("has more or fewer cells than the first line")
    metadata: dict[str, Any] = {name: cells[name] for name in _METADATA if cells.get(name)}
    for name in metadata.keys() & {*_COUNT_METADATA, *_NUMBER_METADATA}:
        try:
            metadata[name] = orjson.loads(metadata[name])
        except orjson.JSONDecodeError:
            return _NoCaseError(f"{name} is {metadata[name]!r}, not a number")
    return {"id": cells.get("id") or None, "input": cells["input"], "output": cells["output"], "metadata": metadata}


def _trace_row(case: Any) -> dict[str, Any]:
    if isinstance(case, _NoCaseError):
        raise case
    if isinstance(case, list):
        raise _NoCaseError("is a JSON array; put one case on a line: jq -c '.[]' FILE")
    if not isinstance(case, dict):
        raise _NoCaseError("is not a JSON object")
    if any(key in case for key in _OTLP_KEYS):
        raise _NoCaseError(f"is an OTLP payload. {_OTLP_HINT}")
    transcript = _transcript(case)
    metadata = _metadata(case)
    roles = [message["role"] for message in transcript]
    errors = [message["role"] for message in transcript if message["is_error"]]
    duration_ns = round((metadata.get("duration_s") or 0) * 1e9)
    return {
        "day": _NO_DAY,
        "session_id": metadata.get("session_id"),
        "user_id": metadata.get("user_id"),
        "turn_index": metadata.get("turn_index"),
        "service_name": metadata.get("service") or "unknown_service",
        "service_version": metadata.get("version"),
        "environment": metadata.get("environment"),
        "model": metadata.get("model"),
        "name": "case",
        "request": next(message["content"] for message in transcript if message["role"] == "user"),
        "response": transcript[-1]["content"],
        "transcript": transcript,
        "n_spans": 0,
        "n_llm_calls": 0,
        "n_tool_calls": roles.count("tool_call"),
        "n_tool_errors": max(errors.count("tool_call"), errors.count("tool_result")),
        "n_user_messages": roles.count("user"),
        "n_input_tokens": metadata.get("n_input_tokens"),
        "n_output_tokens": metadata.get("n_output_tokens"),
        "cost_usd": metadata.get("cost_usd"),
        "duration_ns": duration_ns,
        "start_unix_ns": 0,
        "end_unix_ns": duration_ns,
        "status": "unset",
        "is_complete": True,
        "defects": [],
    }


def _issue_ids(case: dict[str, Any]) -> list[str]:
    """The issues that an exported case names."""
    named = [issue.get("issue_id") if isinstance(issue, dict) else issue for issue in _list_of(case, "issues")]
    if any(not isinstance(issue_id, str) for issue_id in named):
        raise _NoCaseError("issues holds something that names no issue; give a list of ids")
    return sorted({str(issue_id) for issue_id in named})


def _transcript(case: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    tool_of_call: dict[str, str] = {}
    for message in _list_of(case, "messages"):
        messages += _messages_of(message, tool_of_call)
    question, answer = case.get("input"), case.get("output")
    if (
        messages
        and messages[-1]["role"] == "assistant"
        and (answer is None or messages[-1]["content"] == _text(answer))
    ):
        answer = messages.pop()["content"]
    if question is not None and not _is_asked(messages, _text(question)):
        messages.append(_message("user", _text(question)))
    if all(message["role"] != "user" for message in messages):
        raise _NoCaseError("has no input")
    if answer is None:
        raise _NoCaseError("has no output")
    for call in _list_of(case, "tool_calls"):
        messages += _tool_call_of(call)
    return [*messages, _message("assistant", _text(answer))]


def _is_asked(messages: list[dict[str, Any]], question: str) -> bool:
    """Whether the conversation ends on this question: one that was answered before is asked again."""
    roles = [message["role"] for message in messages]
    # What the assistant says on the way to a tool call is not its answer yet.
    answers = [n for n, role in enumerate(roles) if role == "assistant" and roles[n + 1 : n + 2] != ["tool_call"]]
    since_answer = messages[answers[-1] + 1 if answers else 0 :]
    asked = [message["content"] for message in since_answer if message["role"] == "user"]
    return bool(asked) and asked[-1] == question


def _messages_of(message: Any, tool_of_call: dict[str, str]) -> list[dict[str, Any]]:
    if not isinstance(message, dict):
        raise _NoCaseError("messages holds something that is not an object")
    role, content, is_error = message.get("role"), _content(message.get("content")), _is_error(message)
    name = message.get("tool") or message.get("name") or tool_of_call.get(str(message.get("tool_call_id")))
    if role in ("system", "user", "developer"):
        return [_message("user" if role == "user" else "system", content)]
    if role == "tool_call":
        return [_message("tool_call", content, str(name or "tool"), is_error)]
    if role in ("tool_result", "tool"):
        return [_message("tool_result", content, str(name or "tool"), is_error)]
    if role != "assistant":
        raise _NoCaseError(f"messages has the role {role!r}; known are system, user, assistant, tool_call, tool_result")
    calls: list[dict[str, Any]] = []
    for call in _list_of(message, "tool_calls"):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict | None):
            raise _NoCaseError("tool_calls of a message holds something that is not an object")
        called = function or call
        tool = str(called.get("name") or "tool")
        tool_of_call[str(call.get("id"))] = tool
        calls.append(_message("tool_call", _text(called.get("arguments")), tool, False))
    spoken = [_message("assistant", content)] if content or not calls else []
    return spoken + calls


def _tool_call_of(call: Any) -> list[dict[str, Any]]:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not call["name"]:
        raise _NoCaseError("tool_calls holds something without a name")
    is_error = _is_error(call)
    return [
        _message("tool_call", _text(call.get("arguments")), call["name"], is_error),
        _message("tool_result", _text(call.get("result")), call["name"], is_error),
    ]


def _message(role: str, content: str, tool: str | None = None, is_error: bool | None = None) -> dict[str, Any]:
    return {"role": role, "content": content, "tool": tool, "is_error": is_error}


def _metadata(case: dict[str, Any]) -> dict[str, Any]:
    metadata = case.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise _NoCaseError("metadata is not an object")
    known: dict[str, Any] = {name: metadata[name] for name in _METADATA if metadata.get(name) is not None}
    for name, value in known.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in _TEXT_METADATA:
            if not isinstance(value, str) and not is_number:
                raise _NoCaseError(f"metadata.{name} is {value!r}, not a text")
            known[name] = str(value)
        elif not is_number or value < 0 or (name in _COUNT_METADATA and not isinstance(value, int)):
            kind = "a whole number" if name in _COUNT_METADATA else "a number"
            raise _NoCaseError(f"metadata.{name} is {value!r}, not {kind} of at least 0")
    return known


def _list_of(owner: dict[str, Any], name: str) -> list[Any]:
    values = owner.get(name)
    if values is None:
        return []
    if not isinstance(values, list):
        raise _NoCaseError(f"{name} is not a list")
    return values


def _is_error(message: dict[str, Any]) -> bool:
    is_error = message.get("is_error", False)
    if not isinstance(is_error, bool):
        raise _NoCaseError(f"is_error is {is_error!r}, not true or false")
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
    return value if isinstance(value, str) else canonical_json(value)
