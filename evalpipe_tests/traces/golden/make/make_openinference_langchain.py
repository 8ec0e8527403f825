"""OpenInference's instrumentation of LangChain, below a chain by OpenInference's decorator."""

from openinference.instrumentation import TracerProvider, using_attributes
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from shop_langchain import breakdown, joke, reply

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
LangChainInstrumentor().instrument(tracer_provider=provider)


@provider.get_tracer("shop").chain
def answer(question: str) -> str:
    return reply(question)


with using_attributes(session_id="chat-7", user_id="ada"):
    answer("Where is order 1042?")
    answer("When does it arrive?")
    joke()
    breakdown()
provider.shutdown()
