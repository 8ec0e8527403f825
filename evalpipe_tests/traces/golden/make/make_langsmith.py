"""LangSmith's OpenTelemetry mode: LangChain's model and tool, and a function that LangSmith traces."""

from langsmith import Client, traceable
from shop_langchain import breakdown, joke, reply

metadata = {"session_id": "chat-7", "user_id": "ada"}


@traceable(name="shop_agent", metadata=metadata)
def shop_agent(question: str) -> str:
    return reply(question)


shop_agent("Where is order 1042?")
shop_agent("When does it arrive?")
joke(metadata=metadata)
breakdown(metadata=metadata)
Client().flush()
