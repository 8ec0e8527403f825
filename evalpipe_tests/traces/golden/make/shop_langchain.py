"""The same application on LangChain, with no tracing in it but what LangChain reports of itself."""

from contextlib import suppress
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import BadRequestError
from shop import SYSTEM, order

model = ChatOpenAI(model="scripted-1", max_retries=0)
history: list[Any] = [SystemMessage(SYSTEM["content"])]


@tool
def get_order(order_id: str) -> dict[str, str]:
    """Where an order is."""
    return order(order_id)


offering = model.bind_tools([get_order])


def reply(question: str) -> str:
    """The answer to `question`; `history` grows by all that was said on the way to it."""
    history.append(HumanMessage(question))
    while True:
        message = offering.invoke(history)
        history.append(message)
        history.extend(get_order.invoke(call) for call in message.tool_calls)
        if not message.tool_calls:
            return message.text


def joke(**config: Any) -> None:
    """A streamed answer."""
    for _ in model.stream("Tell me a parcel joke.", config, stream_usage=True):
        pass


def breakdown(**config: Any) -> None:
    """A call that fails."""
    with suppress(BadRequestError):
        model.invoke("Break.", config)
