"""OpenInference: an agent and a tool by its decorators, the model calls by its OpenAI instrumentation."""

import openai
from openinference.instrumentation import TracerProvider, using_attributes
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from shop import SYSTEM, breakdown, joke, order, reply

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
OpenAIInstrumentor().instrument(tracer_provider=provider)
tracer = provider.get_tracer("shop")
client = openai.OpenAI(max_retries=0)
history = [SYSTEM]


@tracer.tool
def get_order(order_id: str) -> dict[str, str]:
    """Where an order is."""
    return order(order_id)


@tracer.agent
def shop_agent(question: str) -> str:
    return reply(client, history, question, get_order)


with using_attributes(session_id="chat-7", user_id="ada"):
    shop_agent("Where is order 1042?")
    shop_agent("When does it arrive?")
    joke(client)
    breakdown(client)
    client.embeddings.create(model="scripted-embedding-1", input="Where is order 1042?")
provider.shutdown()
