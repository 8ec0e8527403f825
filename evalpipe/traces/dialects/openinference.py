"""OpenInference, as Phoenix's instrumentations send it.

Source: Arize-ai/openinference, spec/semantic_conventions.md.
"""

from evalpipe.traces.dialects.dialect import Dialect

DIALECT = Dialect(
    "openinference",
    betrays=("openinference.span.kind", "llm.input_messages.", "llm.model_name"),
    scopes=("openinference.instrumentation.",),
    kinds={
        "openinference.span.kind": {
            "llm": "llm",
            "embedding": "embedding",
            "chain": "chain",
            "retriever": "retriever",
            "reranker": "retriever",
            "tool": "tool",
            "agent": "agent",
            "guardrail": "guardrail",
            "evaluator": "other",
            "prompt": "other",
        }
    },
    infers=((("embedding.model_name",), "embedding"), (("llm.model_name",), "llm")),
    fields={
        "session_id": ("session.id",),
        "user_id": ("user.id",),
        "provider": ("llm.provider", "llm.system"),
        "model": (
            "llm.response.model_name",
            "llm.model_name",
            "llm.request.model_name",
            "embedding.model_name",
            "reranker.model_name",
        ),
        "tool_call_id": ("tool_call.id", "tool.id"),
        "input": ("llm.input_messages.",),
        "output": ("llm.output_messages.", "retrieval.documents."),
        "finish_reason": ("llm.finish_reason",),
        "n_input_tokens": ("llm.token_count.prompt",),
        "n_output_tokens": ("llm.token_count.completion",),
        "n_cached_tokens": ("llm.token_count.prompt_details.cache_read",),
        "n_cache_write_tokens": ("llm.token_count.prompt_details.cache_write",),
        "cost_usd": ("llm.cost.total",),
    },
    totals=("llm.token_count.total",),
)
