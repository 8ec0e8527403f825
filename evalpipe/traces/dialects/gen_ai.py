"""OpenTelemetry's own conventions for generative AI, before and after v1.37 renamed most of them.

Messages in span events are read by families.py. Source: open-telemetry/semantic-conventions, docs/gen-ai, v1.27 to
v1.41, and open-telemetry/semantic-conventions-genai since.
"""

from evalpipe.traces.dialects.dialect import Dialect

DIALECT = Dialect(
    "gen_ai",
    betrays=(
        "gen_ai.provider.name",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.conversation.id",
        "gen_ai.agent.name",
        "gen_ai.tool.name",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
    ),
    scopes=("gen_ai",),  # the Vercel AI SDK since 7: its steps have no attribute that is new
    kinds={
        "gen_ai.operation.name": {
            "chat": "llm",
            "text_completion": "llm",
            "generate_content": "llm",
            "embeddings": "embedding",
            "execute_tool": "tool",
            "invoke_agent": "agent",
            "create_agent": "agent",
            "invoke_workflow": "chain",
            "plan": "chain",
            "retrieval": "retriever",
        }
    },
    infers=(
        (("gen_ai.tool.name", "gen_ai.tool.call.id"), "tool"),
        (("gen_ai.request.model", "gen_ai.response.model"), "llm"),
    ),
    fields={
        "session_id": ("session.id", "gen_ai.conversation.id"),
        "user_id": ("user.id", "enduser.id"),
        "provider": ("gen_ai.provider.name",),
        "model": ("gen_ai.response.model", "gen_ai.request.model"),
        "tool_name": ("gen_ai.tool.name",),
        "tool_call_id": ("gen_ai.tool.call.id",),
        "tool_input": ("gen_ai.tool.call.arguments",),
        "tool_output": ("gen_ai.tool.call.result",),
        "input": ("gen_ai.input.messages",),
        "output": ("gen_ai.output.messages", "gen_ai.retrieval.documents"),
        "instructions": ("gen_ai.system_instructions",),
        "finish_reason": ("gen_ai.response.finish_reasons",),
        "n_input_tokens": ("gen_ai.usage.input_tokens",),
        "n_output_tokens": ("gen_ai.usage.output_tokens",),
        "n_cached_tokens": ("gen_ai.usage.cache_read.input_tokens",),
        # v1.41 said creation, its successor says write.
        "n_cache_write_tokens": ("gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
        "cost_usd": ("gen_ai.usage.cost",),  # in no version of the convention, but OpenLIT and gateways send it
    },
    totals=("gen_ai.usage.total_tokens",),
)

DIALECT_1_36 = Dialect(
    "gen_ai_1_36",
    betrays=(
        "gen_ai.system",
        "gen_ai.prompt",
        "gen_ai.completion",
        "gen_ai.usage.prompt_tokens",
        "gen_ai.usage.completion_tokens",
        "gen_ai.operation.name",
        "gen_ai.request.model",
    ),
    infers=((("gen_ai.system",), "llm"),),
    fields={
        "provider": ("gen_ai.system",),
        "input": ("gen_ai.prompt",),
        "output": ("gen_ai.completion",),
        "n_input_tokens": ("gen_ai.usage.prompt_tokens",),
        "n_output_tokens": ("gen_ai.usage.completion_tokens",),
    },
)
