"""Logfire's own OpenAI instrumentation, inside functions that Logfire instruments."""

import logfire
import openai
from shop import SYSTEM, breakdown, joke, order, reply

logfire.configure(send_to_logfire=False, service_name="shop", service_version="1.2.3", console=False)
client = openai.OpenAI(max_retries=0)
logfire.instrument_openai(client)
history = [SYSTEM]


@logfire.instrument("get_order", record_return=True)
def get_order(order_id: str) -> dict[str, str]:
    return order(order_id)


@logfire.instrument("answer", record_return=True)
def answer(question: str) -> str:
    return reply(client, history, question, get_order)


with logfire.set_baggage(**{"session.id": "chat-7"}):
    answer("Where is order 1042?")
    answer("When does it arrive?")
    with logfire.span("telling"):
        joke(client)
    breakdown(client)
logfire.force_flush()
