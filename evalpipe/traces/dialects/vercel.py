"""The Vercel AI SDK, versions 3.4 to 6 with experimental_telemetry and 7 with LegacyOpenTelemetry.

Version 7's own OpenTelemetry integration speaks gen_ai; what it adds to that convention is here too. A call is two
spans: the outer one is the application's (`ai.generateText`, with all its steps), the inner one the model's
(`ai.generateText.doGenerate`); both report usage.

Source: vercel/ai, content/docs/03-ai-sdk-core/60-telemetry.mdx, packages/ai/src and packages/otel/src.
"""

from evalpipe.traces.dialects.dialect import Dialect

_PROVIDER = "ai.response.providerMetadata#"  # what the model's provider adds, in its own words, under its own name

DIALECT = Dialect(
    "vercel",
    betrays=("ai.operationId",),
    kinds={
        "ai.operationId": {
            "ai.generatetext": "agent",
            "ai.streamtext": "agent",
            "ai.generateobject": "agent",
            "ai.streamobject": "agent",
            "ai.generatetext.dogenerate": "llm",
            "ai.streamtext.dostream": "llm",
            "ai.generateobject.dogenerate": "llm",
            "ai.streamobject.dostream": "llm",
            "ai.toolcall": "tool",
            "ai.embed": "chain",
            "ai.embedmany": "chain",
            "ai.embed.doembed": "embedding",
            "ai.embedmany.doembed": "embedding",
            "ai.rerank": "chain",
            "ai.rerank.dorerank": "retriever",
        },
        "gen_ai.operation.name": {"agent_step": "chain", "rerank": "retriever"},
    },
    fields={
        "session_id": (
            "ai.telemetry.metadata.sessionId",
            "ai.telemetry.metadata.threadId",
            "ai.settings.context.sessionId",
            "ai.settings.context.threadId",
        ),
        "user_id": ("ai.telemetry.metadata.userId", "ai.settings.context.userId"),
        "provider": ("ai.model.provider",),
        "model": ("ai.response.model", "ai.model.id"),
        "tool_name": ("ai.toolCall.name",),
        "tool_call_id": ("ai.toolCall.id",),
        "tool_input": ("ai.toolCall.args",),
        "tool_output": ("ai.toolCall.result",),
        "input": ("ai.prompt.messages", "ai.prompt", "ai.value#", "ai.values", "ai.documents"),
        # An answer that is a call of tools has an empty text, or none.
        "output": (
            "ai.response.text",
            "ai.response.object",
            "ai.response.toolCalls",
            "ai.ranking",
        ),
        "finish_reason": ("ai.response.finishReason",),
        # Versions 4 and 5 pass on what the provider counts, 6 and 7 its sum: Anthropic's own figure is the same in all.
        "n_input_tokens": (
            f"{_PROVIDER}anthropic.usage.input_tokens",
            "ai.usage.inputTokens",
            "ai.usage.promptTokens",
            "ai.usage.tokens",
        ),
        "n_output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
        "n_cached_tokens": (
            "ai.usage.cachedInputTokens",
            "ai.usage.inputTokenDetails.cacheReadTokens",
            f"{_PROVIDER}anthropic.usage.cache_read_input_tokens",
            f"{_PROVIDER}anthropic.cacheReadInputTokens",
            f"{_PROVIDER}openai.cachedPromptTokens",
        ),
        "n_cache_write_tokens": (
            "ai.usage.inputTokenDetails.cacheWriteTokens",
            f"{_PROVIDER}anthropic.usage.cache_creation_input_tokens",
            f"{_PROVIDER}anthropic.cacheCreationInputTokens",
        ),
    },
    leaves_out_cached=(f"{_PROVIDER}anthropic.usage.input_tokens",),
)
