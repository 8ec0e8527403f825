"""One text of messages, as a model call's input or output carries it -> steps. Spans are joined in transcript.py.

Read are OpenAI's chat messages and responses, Anthropic's content blocks, the parts of OpenTelemetry gen_ai,
LangChain's message types, the Vercel AI SDK's prompts, request bodies that hold such a list, and plain text.
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
_LISTS = ("messages", "prompt", "choices", "generations", "input", "output")  # keys of bodies that hold messages
_OF_WORDS = frozenset(("question", "query", "input", "message", "text", "answer", "output", "response"))
_MEDIA = (
    *("image", "image_url", "input_image", "image-data", "image-url", "audio", "input_audio", "video", "media"),
    *("file", "file-data", "file-url", "blob", "uri"),
)
# Not part of the conversation: no one was told.
_UNSEEN = ("reasoning", "redacted-reasoning", "thinking", "redacted_thinking")


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
    words = _only_words(text or "")
    return [Step(role, words)] if words.strip() else []


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


def _only_words(text: str) -> str:
    """The words in what a decorator or a chain recorded of a call (`{"question": "..."}`), where they are all of it."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if value.keys() == {"args", "kwargs"}:
        args, named = value["args"], value["kwargs"]
        if not args and not named:
            return ""  # it was called with nothing
        value = {"input": args} if not named else None if args else named
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= _OF_WORDS:
        return text
    (said,) = value.values()
    if isinstance(said, list) and len(said) == 1:
        (said,) = said
    return said if isinstance(said, str) else text


def _messages(value: Any) -> list[dict[str, Any]] | None:
    """The message objects in a parsed text; None when it holds none."""
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):  # LangChain sends a batch of one
        value = value[0]
    if isinstance(value, list):
        # An instrumentation leaves out a content that it cannot flatten or that never came.
        messages = [message for item in value if not _is_only_role(message := _unwrapped(item))]
        return messages if all(_is_message(message) for message in messages) else None
    if not isinstance(value, dict):
        return None
    if _is_message(value):
        return [value]
    if isinstance(value.get("prompt"), str) and value.keys() <= {"system", "prompt"}:
        value = {**value, "prompt": [{"role": "user", "content": value["prompt"]}]}
    for key in _LISTS:
        inner = value.get(key)
        if isinstance(inner, list) and inner and (messages := _messages(inner)) is not None:
            system = value.get("system")
            return ([{"role": "system", "content": system}] if system else []) + messages
    return None


def _unwrapped(item: Any) -> Any:
    """An OpenAI choice and a LangChain generation hold their message; a serialised LangChain message its arguments."""
    if isinstance(item, dict) and isinstance(item.get("message"), dict):
        item = item["message"]
    if isinstance(item, dict) and isinstance(item.get("kwargs"), dict) and isinstance(item.get("id"), list):
        kind = str(item["id"][-1]).removesuffix("Chunk").removesuffix("Message").lower() if item["id"] else ""
        return {**item["kwargs"], "type": kind}
    return item


def _is_only_role(value: Any) -> bool:
    return isinstance(value, dict) and "role" in value and value.keys() <= {"role", "finish_reason"}


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("role"), str):
        return any(key in value for key in ("content", "contents", "parts", "tool_calls", "function_call"))
    kind = value.get("type")
    return (
        (kind in ("human", "ai", "system", "tool") and "content" in value)
        or kind in ("function_call", "function_call_output")
        or _is_bare_call(value)
    )


def _is_bare_call(value: dict[str, Any]) -> bool:
    """Whether it is a call of a tool as the Vercel AI SDK lists it apart from the text of the answer."""
    return "toolCallId" in value and "toolName" in value and "role" not in value


def _steps(message: dict[str, Any]) -> Iterator[Step]:
    """A message is text, tool calls and tool results in any mixture; each becomes a step, in their order."""
    kind = message.get("type")
    if kind == "function_call" or _is_bare_call(message):
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
        if kind in ("tool_call", "tool_use", "server_tool_call", "function_call", "tool-call", *_RESULTS):
            if joined := _content(texts):
                yield Step(role, joined)
            texts = []
            yield _result(part) if kind in _RESULTS else _call(part, part)
        else:
            texts.append(part)
    if joined := _content(texts):
        yield Step(role, joined)


_RESULTS = ("tool_call_response", "tool_result", "server_tool_call_response", "tool-result")


def _has_results(content: Any) -> bool:
    return isinstance(content, list) and any(isinstance(p, dict) and p.get("type") in _RESULTS for p in content)


def _call(outer: dict[str, Any], inner: dict[str, Any]) -> Step:
    arguments = next((inner[key] for key in ("arguments", "input", "args") if inner.get(key) is not None), "{}")
    return Step("tool_call", _text(arguments), tool=_name(inner), call_id=_id(outer))


def _result(part: dict[str, Any]) -> Step:
    output = next((part[key] for key in ("response", "result", "content", "output") if part.get(key) is not None), "")
    is_error = part.get("is_error", part.get("isError"))
    if isinstance(output, dict) and output.get("type") in _TYPED and "value" in output:
        is_error = str(output["type"]).startswith("error")
        output = output["value"]
    return Step(
        "tool_result",
        _output(output),
        tool=_name(part),
        call_id=_id(part),
        is_error=is_error if isinstance(is_error, bool) else None,
    )


_TYPED = ("text", "json", "content", "error-text", "error-json")  # the Vercel AI SDK's outputs since version 5


def _name(value: dict[str, Any]) -> str | None:
    name = value.get("name", value.get("toolName"))
    return name if isinstance(name, str) else None


def _id(value: dict[str, Any]) -> str | None:
    keys = ("tool_call_id", "tool_use_id", "toolCallId", "call_id", "id")
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
