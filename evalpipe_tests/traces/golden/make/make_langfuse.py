"""Langfuse's Python SDK: an agent and a tool by its decorator, the model calls by its drop-in for OpenAI's client."""

import contextlib
import os

from langfuse import Langfuse, observe, propagate_attributes
from langfuse.openai import openai
from shop import SYSTEM, breakdown, joke, order, reply

langfuse = Langfuse(
    base_url=os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"],
    public_key="pk-lf-none",
    secret_key="sk-lf-none",
    release="2.1.0",
    environment="staging",
)
client = openai.OpenAI(max_retries=0)
history = [SYSTEM]


@observe(as_type="tool")
def get_order(order_id: str) -> dict[str, str]:
    """Where an order is."""
    return order(order_id)


@observe(as_type="tool")
def cancel_order(order_id: str) -> None:
    """It never works."""
    raise LookupError(f"order {order_id} has left")


@observe(as_type="agent")
def shop_agent(question: str) -> str:
    return reply(client, history, question, get_order)


with propagate_attributes(session_id="chat-7", user_id="ada"):
    shop_agent("Where is order 1042?")
    shop_agent("When does it arrive?")
    joke(client)
    breakdown(client)
    with contextlib.suppress(LookupError):
        cancel_order("1042")
    with langfuse.start_as_current_observation(as_type="generation", name="by hand", model="scripted-1") as call:
        call.update(
            input=[{"role": "user", "content": "When does it arrive?"}],
            output="It arrives on Thursday.",
            usage_details={"input": 40, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 16, "output": 9},
            cost_details={"input": 0.25, "output": 0.5, "total": 0.75},
        )
langfuse.flush()
