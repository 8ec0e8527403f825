"""OpenTelemetry's own OpenAI instrumentation, under the span of a request as a web framework makes it.

OTEL_SEMCONV_STABILITY_OPT_IN and OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT choose what it writes.
"""

import openai
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from shop import SYSTEM, breakdown, joke, order, reply

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
OpenAIInstrumentor().instrument(tracer_provider=provider)
tracer = provider.get_tracer("shop")
client = openai.OpenAI(max_retries=0)
history = [SYSTEM]

for question in ("Where is order 1042?", "When does it arrive?"):
    with tracer.start_as_current_span("POST /chat", kind=SpanKind.SERVER, attributes={"session.id": "chat-7"}):
        reply(client, history, question, order)
joke(client)
breakdown(client)
client.embeddings.create(model="scripted-embedding-1", input="Where is order 1042?")
provider.shutdown()
