"""Messages that a dialect spread over many attributes or over span events, put together as one JSON text each."""

from typing import Any, NamedTuple

import orjson

_MAX_PARTS = 16  # of a dotted key: deeper ones are an attack, not a message


class EventMessages(NamedTuple):
    """What a span's events say of its messages; None where they say nothing."""

    input: str | None
    output: str | None
    instructions: str | None
    finish_reason: str | None


def unflattened(text: str | None) -> str | None:
    """`{"0.message.role": "user", ...}` as `[{"role": "user", ...}]`, JSON to JSON; None of nothing.

    Numbered parts become lists in order of their numbers. OpenInference wraps every element in an object with one
    key ("message", "tool_call", "message_content", "document"); the wrapper is taken off.
    """
    if text is None:
        return None
    tree: dict[str, Any] = {}
    for key, value in orjson.loads(text).items():
        *path, last = key.split(".", _MAX_PARTS)
        node = tree
        for part in path:
            child = node.get(part)
            if not isinstance(child, dict):
                child = node[part] = {}
            node = child
        node[last] = value
    return orjson.dumps(_listed(tree)).decode()


def messages_of_events(text: str) -> EventMessages:
    """Messages in the span events of OpenTelemetry gen_ai up to v1.36, and in its later details event."""
    inputs: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    whole: dict[str, str] = {}
    finish_reasons: list[str] = []
    for event in orjson.loads(text):
        name, attributes = event["name"], event["attributes"]
        body = _object(attributes.get("gen_ai.event.content")) or attributes
        if name == "gen_ai.choice":
            message = _object(body.get("message")) or body
            outputs.append({"role": "assistant", **_message(message)})
            finish_reasons.extend(str(body[key]) for key in ("finish_reason",) if body.get(key))
        elif name.startswith("gen_ai.") and name.endswith(".message"):
            inputs.append({"role": name.split(".")[1], **_message(body)})
        else:
            whole |= {key: _as_text(value) for key, value in attributes.items() if key.startswith("gen_ai.")}
    return EventMessages(
        _json(inputs) or whole.get("gen_ai.input.messages") or whole.get("gen_ai.prompt"),
        _json(outputs) or whole.get("gen_ai.output.messages") or whole.get("gen_ai.completion"),
        whole.get("gen_ai.system_instructions"),
        ",".join(finish_reasons) or None,
    )


def _listed(node: dict[str, Any]) -> Any:
    inner = {key: _listed(value) if isinstance(value, dict) else value for key, value in node.items()}
    if not inner or not all(key.isdecimal() and len(key) < 10 for key in inner):
        return inner
    return [_unwrapped(inner[key]) for key in sorted(inner, key=int)]


def _unwrapped(element: Any) -> Any:
    if isinstance(element, dict) and len(element) == 1:
        (inner,) = element.values()
        return inner if isinstance(inner, dict) else element
    return element


def _message(body: dict[str, Any]) -> dict[str, Any]:
    """The parts of a message that mean something; structured ones may have come as JSON text."""
    kept = {key: body[key] for key in ("role", "content", "name") if body.get(key) is not None}
    if calls := _parsed(body.get("tool_calls")):
        kept["tool_calls"] = calls
    if call_id := body.get("id") or body.get("tool_call_id"):
        kept["tool_call_id"] = call_id
    return kept


def _object(value: Any) -> dict[str, Any] | None:
    parsed = _parsed(value)
    return parsed if isinstance(parsed, dict) else None


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _json(messages: list[dict[str, Any]]) -> str | None:
    try:
        return orjson.dumps(messages).decode() if messages else None
    except TypeError:  # it nests deeper than the writer goes; the event itself keeps it
        return None
