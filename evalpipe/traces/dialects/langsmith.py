"""LangSmith in its OpenTelemetry mode: LangChain and LangGraph, and the functions that it traces.

Its names of old gen_ai attributes hold whole runs: `gen_ai.prompt` what a run was called with, `gen_ai.completion`
what it returned. Its kind goes before gen_ai.operation.name, where it calls retrievers embeddings and prompts chats.
`langsmith.trace.session_id` is a project, not a conversation: LangSmith's own word for projects is sessions.

Source: langchain-ai/langsmith-sdk, python/langsmith/_internal/otel/_otel_exporter.py.
"""

from evalpipe.traces.dialects.dialect import Dialect

_ABOUT = "langsmith.metadata."
_USAGE = f"{_ABOUT}usage_metadata#"
_ANSWER = "gen_ai.completion#generations[0][0]."

DIALECT = Dialect(
    "langsmith",
    betrays=("langsmith.span.kind", "langsmith.trace.name"),
    scopes=("langsmith",),
    kinds={
        "langsmith.span.kind": {
            "llm": "llm",
            "chain": "chain",
            "tool": "tool",
            "retriever": "retriever",
            "embedding": "embedding",
            "prompt": "other",
            "parser": "other",
        }
    },
    fields={
        # Its documentation names all three.
        "session_id": (f"{_ABOUT}session_id", f"{_ABOUT}thread_id", f"{_ABOUT}conversation_id"),
        "user_id": (f"{_ABOUT}user_id",),
        "provider": (f"{_ABOUT}ls_provider",),
        "model": (f"{_ANSWER}message.kwargs.response_metadata.model_name",),
        "tool_input": ("gen_ai.prompt",),
        "tool_output": ("gen_ai.completion#output.content", "gen_ai.completion#output"),
        "output": ("gen_ai.completion#output.content", "gen_ai.completion#output"),
        "finish_reason": (f"{_ANSWER}generation_info.finish_reason",),
        "n_cached_tokens": (
            f"{_USAGE}input_token_details.cache_read",
            "gen_ai.usage.input_token_details#cache_read",
        ),
        "n_cache_write_tokens": (
            f"{_USAGE}input_token_details.cache_creation",
            "gen_ai.usage.input_token_details#cache_creation",
        ),
    },
)
