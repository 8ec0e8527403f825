"""Pydantic AI with Logfire: an agent with a tool, its second turn, a streamed answer and an error.

The same script serves version 1 and version 2; the requirements choose.
"""

import asyncio
from contextlib import suppress

import logfire
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from shop import SYSTEM, order

logfire.configure(send_to_logfire=False, service_name="shop", service_version="1.2.3", console=False)
logfire.instrument_pydantic_ai()
agent = Agent(OpenAIChatModel("scripted-1"), name="shop_agent", system_prompt=SYSTEM["content"])
teller = Agent(OpenAIChatModel("scripted-1"), name="teller")


@agent.tool_plain
def get_order(order_id: str) -> dict[str, str]:
    """Where an order is."""
    return order(order_id)


async def tell() -> None:
    async with teller.run_stream("Tell me a parcel joke.") as stream:
        async for _ in stream.stream_text():
            pass


first = agent.run_sync("Where is order 1042?")
agent.run_sync("When does it arrive?", message_history=first.all_messages())
with logfire.span("telling {what}", what="a joke", **{"session.id": "chat-7", "user.id": "ada"}):
    asyncio.run(tell())
with suppress(ModelHTTPError):
    teller.run_sync("Break.")
logfire.force_flush()
