"""Langfuse, as its SDKs since Python v3 and JS v4 send it over OTLP.

`usage_details` are Langfuse's own words, parts that add up, or what the provider answered: OpenAI's figures hold the
cached tokens, Anthropic's do not. Source: langfuse-python, langfuse/_client/attributes.py and langfuse/openai.py;
langfuse, packages/shared/src/server/otel.
"""

from evalpipe.traces.dialects.dialect import Dialect

_USAGE = "langfuse.observation.usage_details#"

DIALECT = Dialect(
    "langfuse",
    betrays=("langfuse.observation.type", "langfuse.observation.input", "langfuse.observation.output"),
    scopes=("langfuse-sdk",),
    kinds={
        "langfuse.observation.type": {
            "generation": "llm",
            "embedding": "embedding",
            "agent": "agent",
            "tool": "tool",
            "chain": "chain",
            "retriever": "retriever",
            "guardrail": "guardrail",
            "evaluator": "other",
        }
    },
    fields={
        "session_id": ("langfuse.session.id",),
        "user_id": ("langfuse.user.id",),
        "service_version": ("langfuse.release",),
        "environment": ("langfuse.environment",),
        "status_message": ("langfuse.observation.status_message",),
        "model": ("langfuse.observation.model.name",),
        "tool_input": ("langfuse.observation.input",),
        "tool_output": ("langfuse.observation.output",),
        "input": ("langfuse.observation.input", "langfuse.trace.input"),
        "output": ("langfuse.observation.output", "langfuse.trace.output"),
        "finish_reason": ("langfuse.observation.metadata.finish_reason",),
        "n_input_tokens": (f"{_USAGE}input", f"{_USAGE}prompt_tokens", f"{_USAGE}input_tokens"),
        "n_output_tokens": (f"{_USAGE}output", f"{_USAGE}completion_tokens", f"{_USAGE}output_tokens"),
        "n_cached_tokens": (
            f"{_USAGE}input_cached_tokens",
            f"{_USAGE}input_cache_read",
            f"{_USAGE}cache_read_input_tokens",
            f"{_USAGE}prompt_tokens_details.cached_tokens",
            f"{_USAGE}input_tokens_details.cached_tokens",
        ),
        "n_cache_write_tokens": (f"{_USAGE}input_cache_creation", f"{_USAGE}cache_creation_input_tokens"),
        "cost_usd": ("langfuse.observation.cost_details#total",),
    },
    fails={"langfuse.observation.level": ("error",)},
    names_tools=True,
    totals=(f"{_USAGE}total", f"{_USAGE}total_tokens"),
    leaves_out_cached=(f"{_USAGE}input", f"{_USAGE}input_tokens"),
)
