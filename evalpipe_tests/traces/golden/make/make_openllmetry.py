"""OpenLLMetry: workflow, agent, task and tool by traceloop's decorators, the model calls by its OpenAI instrumentation.

The same script serves the old writer of flattened messages and the new one of JSON; the requirements choose.
"""

import os

import openai
from shop import SYSTEM, breakdown, joke, order, reply
from traceloop.sdk import Traceloop
from traceloop.sdk.decorators import agent, task, tool, workflow

os.environ["TRACELOOP_TELEMETRY"] = "false"
os.environ["TRACELOOP_METRICS_ENABLED"] = "false"
Traceloop.init(app_name="shop", api_endpoint=os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"], api_key="none")
Traceloop.set_association_properties({"session_id": "chat-7", "user_id": "ada"})
client = openai.OpenAI(max_retries=0)
history = [SYSTEM]


@tool(name="get_order")
def get_order(order_id: str) -> dict[str, str]:
    return order(order_id)


@agent(name="shop_agent")
def shop_agent(question: str) -> str:
    return reply(client, history, question, get_order)


@task(name="tidy")
def tidy(answer: str) -> str:
    return answer.strip()


@workflow(name="answer")
def answer(question: str) -> str:
    return tidy(shop_agent(question))


@workflow(name="joke")
def telling() -> str:
    return joke(client)


@workflow(name="breakdown")
def breaking() -> None:
    breakdown(client)


answer("Where is order 1042?")
answer("When does it arrive?")
telling()
breaking()
