"""OpenLLMetry: Traceloop's decorators, and its instrumentations of model clients with or without them.

Up to 0.52 these flattened every message into attributes of its own; since then they send gen_ai's JSON. Decorators
record what a function was called with, as {"args": [...], "kwargs": {...}}; LangChain's callbacks, as {"inputs": ...}.

Source: traceloop/openllmetry, packages/opentelemetry-semantic-conventions-ai and packages/traceloop-sdk.
"""

from evalpipe.traces.dialects.dialect import Dialect

_ABOUT = "traceloop.association.properties."  # whatever the application likes to say of a request

DIALECT = Dialect(
    "traceloop",
    betrays=(
        "traceloop.span.kind",
        "traceloop.workflow.name",
        "traceloop.entity.name",
        "llm.request.type",
        "gen_ai.prompt.",
        "gen_ai.completion.",
    ),
    scopes=("traceloop.tracer", "opentelemetry.instrumentation.openai."),
    kinds={
        "traceloop.span.kind": {"workflow": "chain", "task": "chain", "agent": "agent", "tool": "tool"},
        "llm.request.type": {"chat": "llm", "completion": "llm", "embedding": "embedding", "rerank": "retriever"},
    },
    fields={
        "session_id": (
            f"{_ABOUT}session_id",
            f"{_ABOUT}conversation_id",
            f"{_ABOUT}thread_id",
            f"{_ABOUT}chat_id",
        ),
        "user_id": (f"{_ABOUT}user_id", f"{_ABOUT}customer_id", "gen_ai.user", "llm.user"),
        "tool_name": ("traceloop.entity.name",),
        "tool_input": ("traceloop.entity.input#inputs", "traceloop.entity.input#"),
        "tool_output": ("traceloop.entity.output#output", "traceloop.entity.output#"),
        "input": ("gen_ai.prompt.", "traceloop.entity.input#inputs", "traceloop.entity.input#"),
        "output": ("gen_ai.completion.", "traceloop.entity.output#outputs", "traceloop.entity.output#"),
        "finish_reason": ("gen_ai.completion.#[0].finish_reason",),
        "n_cached_tokens": ("gen_ai.usage.cache_read_input_tokens",),
        "n_cache_write_tokens": ("gen_ai.usage.cache_creation_input_tokens",),
    },
    fails={"gen_ai.task.status": ("failure",)},
    totals=("llm.usage.total_tokens",),
)
