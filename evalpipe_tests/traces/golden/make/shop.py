"""The application of the Python recordings: a shop's assistant on OpenAI's client, with one tool. No tracing in it."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import openai

SYSTEM = {"role": "system", "content": "You help customers of a shop."}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_order",
            "description": "Where an order is.",
            "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
        },
    }
]


def order(order_id: str) -> dict[str, str]:
    """What the shop knows of an order."""
    return {"order_id": order_id, "status": "shipped"}


def reply(client: openai.OpenAI, history: list[Any], question: str, get_order: Callable[..., Any]) -> str:
    """The answer to `question`; `history` grows by all that was said on the way to it."""
    history.append({"role": "user", "content": question})
    while True:
        completion = client.chat.completions.create(model="scripted-1", messages=history, tools=TOOLS)
        message = completion.choices[0].message
        history.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls or []:
            result = json.dumps(get_order(**json.loads(call.function.arguments)))
            history.append({"role": "tool", "tool_call_id": call.id, "content": result})
        if not message.tool_calls:
            return message.content or ""


def joke(client: openai.OpenAI) -> str:
    """A streamed answer."""
    chunks = client.chat.completions.create(
        model="scripted-1",
        messages=[{"role": "user", "content": "Tell me a parcel joke."}],
        stream=True,
        stream_options={"include_usage": True},
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def breakdown(client: openai.OpenAI) -> None:
    """A call that fails."""
    with suppress(openai.BadRequestError):
        client.chat.completions.create(model="scripted-1", messages=[{"role": "user", "content": "Break."}])
