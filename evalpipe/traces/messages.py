"""One text of messages, as a model call's input or output carries it -> steps. Spans are joined in transcript.py.

Read are OpenAI's chat messages and responses, Anthropic's content blocks, the parts of OpenTelemetry gen_ai,
LangChain's message types, request bodies that hold such a list, and plain text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "tool": "tool_result",
    "function": "tool_result",
}
_LISTS = ("messages", "choices", "input", "output")  # keys of request and response bodies that hold messages
_MEDIA = ("image", "image_url", "input_image", "audio", "input_audio", "file", "blob", "uri", "video")
_UNSEEN = ("reasoning", "thinking", "redacted_thinking")  # not part of the conversation: no one was told


@dataclass(slots=True)
class Step:
    """One step of a transcript, with the call id that ties a call to its result."""

    role: str  # system, user, assistant, tool_call or tool_result
    content: str
    tool: str | None = None
    call_id: str | None = None
    is_error: bool | None = None


def message_list(text: str | None) -> list[Step] | None:
    """The steps of a text that is a list of messages (or a body around one); None when it is anything else."""
    stripped = (text or "").lstrip()[:1]
    if text is None or stripped not in ("[", "{"):
        return None
    try:
        found = _messages(orjson.loads(text))
    except orjson.JSONDecodeError:
        return None
    return None if found is None else [step for message in found for step in _steps(message)]


def steps_of(text: str | None, role: str) -> list[Step]:
    """The steps of any text: its messages, or itself as one message of `role`; none of nothing."""
    found = message_list(text)
    if found is not None:
        return found
    return [Step(role, text)] if text and text.strip() else []


def plain_text(text: str | None) -> str:
    """What a reader would see of instructions or of a part list: the texts of its parts, or itself."""
    if text and text.lstrip()[:1] in ("[", "{"):
        try:
            parsed = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        found = _messages(parsed)
        if found is not None:
            return "\n".join(step.content for message in found for step in _steps(message))
        if _is_parts(parsed):
            return _content(parsed)
    return text or ""


def _messages(value: Any) -> list[dict[str, Any]] | None:
    """The message objects in a parsed text; None when it holds none."""
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):  # LangChain sends a batch of one
        value = value[0]
    if isinstance(value, list):
        messages = [_unwrapped(item) for item in value]
        return messages if all(_is_message(message) for message in messages) else None
    if not isinstance(value, dict):
        return None
    if _is_message(value):
        return [value]
    for key in _LISTS:
        inner = value.get(key)
        if isinstance(inner, list) and inner and (messages := _messages(inner)) is not None:
            system = value.get("system")
            return ([{"role": "system", "content": system}] if system else []) + messages
    return None


def _unwrapped(item: Any) -> Any:
    """A choice of an OpenAI response holds its message; a serialised LangChain message its arguments."""
    if isinstance(item, dict) and isinstance(item.get("message"), dict):
        return item["message"]
    if isinstance(item, dict) and isinstance(item.get("kwargs"), dict) and isinstance(item.get("id"), list):
        kind = str(item["id"][-1]).removesuffix("Chunk").removesuffix("Message").lower() if item["id"] else ""
        return {"type": kind, **item["kwargs"]}
    return item


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("role"), str):
        return any(key in value for key in ("content", "contents", "parts", "tool_calls", "function_call"))
    kind = value.get("type")
    return (kind in ("human", "ai", "system", "tool") and "content" in value) or kind in (
        "function_call",
        "function_call_output",
    )


def _steps(message: dict[str, Any]) -> Iterator[Step]:
    """A message is text, tool calls and tool results in any mixture; each becomes a step, in their order."""
    kind = message.get("type")
    if kind == "function_call":
        yield _call(message, message)
        return
    if kind == "function_call_output":
        yield Step("tool_result", _output(message.get("output")), call_id=_id(message))
        return
    role = _ROLES.get(str(message.get("role") or kind or "").lower(), "assistant")
    content = next((message[key] for key in ("content", "contents", "parts") if message.get(key) is not None), None)
    if role == "tool_result" and not _has_results(content):
        name = message.get("name")
        yield Step(role, _output(content), tool=name if isinstance(name, str) else None, call_id=_id(message))
        return
    yield from _content_steps(content, "assistant" if role == "tool_result" else role)
    for call in message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else []):
        if isinstance(call, dict):
            inner = call.get("function")
            yield _call(call, inner if isinstance(inner, dict) else call)


def _content_steps(content: Any, role: str) -> Iterator[Step]:
    """Runs of text become one step; a call or a result between them stands where it stood."""
    texts: list[Any] = []
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("tool_call", "tool_use", "server_tool_call", "function_call", *_RESULTS):
            if joined := _content(texts):
                yield Step(role, joined)
            texts = []
            yield _result(part) if kind in _RESULTS else _call(part, part)
        else:
            texts.append(part)
    if joined := _content(texts):
        yield Step(role, joined)


_RESULTS = ("tool_call_response", "tool_result", "server_tool_call_response")


def _has_results(content: Any) -> bool:
    return isinstance(content, list) and any(isinstance(p, dict) and p.get("type") in _RESULTS for p in content)


def _call(outer: dict[str, Any], inner: dict[str, Any]) -> Step:
    arguments = next((inner[key] for key in ("arguments", "input", "args") if inner.get(key) is not None), "{}")
    name = inner.get("name")
    return Step("tool_call", _text(arguments), tool=name if isinstance(name, str) else None, call_id=_id(outer))


def _result(part: dict[str, Any]) -> Step:
    output = next((part[key] for key in ("response", "result", "content", "output") if part.get(key) is not None), "")
    is_error = part.get("is_error")
    name = part.get("name")
    return Step(
        "tool_result",
        _output(output),
        tool=name if isinstance(name, str) else None,
        call_id=_id(part),
        is_error=is_error if isinstance(is_error, bool) else None,
    )


def _id(value: dict[str, Any]) -> str | None:
    keys = ("tool_call_id", "tool_use_id", "call_id", "id")
    return next((str(value[key]) for key in keys if value.get(key)), None)


def _is_parts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(p, dict) and "type" in p for p in value)


def _output(value: Any) -> str:
    """A tool's result: the text of its parts, or whatever it is as JSON."""
    return _content(value) if _is_parts(value) else _text(value)


def _content(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts of which media are named and reasoning left out."""
    if isinstance(content, list):
        texts = [_part_text(part) for part in content]
        return "\n".join(text for text in texts if text)
    return _text(content)


def _part_text(part: Any) -> str:
    if not isinstance(part, dict):
        return _text(part)
    kind = str(part.get("type", ""))
    if kind in _UNSEEN:
        return ""
    if kind in _MEDIA:
        return f"[{kind}]"
    for key in ("text", "content", "refusal"):
        if isinstance(part.get(key), str):
            return part[key]
    return _text(part)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # it nests deeper than the writer goes, though the reader took it
        return "[a value that nests too deeply]"
