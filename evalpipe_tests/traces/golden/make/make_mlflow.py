"""MLflow Tracing over OTLP: an agent and tools by its decorator, the model calls by its autologging."""

import contextlib

import anthropic
import mlflow
import openai
from mlflow.entities import SpanType
from shop import SYSTEM, breakdown, joke, order, reply

mlflow.openai.autolog()
mlflow.anthropic.autolog()
client = openai.OpenAI(max_retries=0)
history = [SYSTEM]


@mlflow.trace(span_type=SpanType.TOOL)
def get_order(order_id: str) -> dict[str, str]:
    """Where an order is."""
    return order(order_id)


@mlflow.trace(span_type=SpanType.TOOL)
def cancel_order(order_id: str) -> None:
    """It never works."""
    raise LookupError(f"order {order_id} has left")


@mlflow.trace(span_type=SpanType.AGENT)
def shop_agent(question: str) -> str:
    # A session set with update_current_trace is the trace's metadata, which is not exported over OTLP.
    mlflow.get_current_active_span().set_attributes({"session.id": "chat-7", "user.id": "ada"})
    return reply(client, history, question, get_order)


shop_agent("Where is order 1042?")
shop_agent("When does it arrive?")
joke(client)
breakdown(client)
with contextlib.suppress(LookupError):
    cancel_order("1042")
anthropic.Anthropic(max_retries=0).messages.create(
    model="scripted-1", max_tokens=99, messages=[{"role": "user", "content": "When does it arrive?"}]
)
mlflow.flush_trace_async_logging()
