"""Logfire: its spans, its instrumentations of model clients, and Pydantic AI, which reports to it or to anyone.

Its present versions speak gen_ai; here is what they add to that, and what they sent before. While a span is open
Logfire may send a pending one of the same name, which is not a span of its own.

Source: pydantic/logfire, logfire/_internal/constants.py and integrations/llm_providers; pydantic/pydantic-ai,
pydantic_ai/models/instrumented.py.
"""

from evalpipe.traces.dialects.dialect import Dialect

_USAGE = "response_data#usage."  # as the model's provider counts
_RAW = "gen_ai.usage.raw#"

DIALECT = Dialect(
    "logfire",
    betrays=("logfire.span_type", "pydantic_ai.all_messages", "all_messages_events"),
    scopes=("logfire", "logfire.", "pydantic-ai"),
    infers=(
        (("pydantic_ai.all_messages", "all_messages_events"), "agent"),
        (("tool_arguments", "tool_response"), "tool"),
    ),
    fields={
        "tool_input": ("tool_arguments",),
        "tool_output": ("tool_response",),
        "input": ("pydantic_ai.all_messages", "all_messages_events", "request_data#messages"),
        "output": ("final_result", "response_data#message", "response_data#combined_chunk_content", "return"),
        "n_input_tokens": (f"{_USAGE}prompt_tokens", f"{_USAGE}input_tokens"),
        "n_output_tokens": (f"{_USAGE}completion_tokens", f"{_USAGE}output_tokens"),
        "n_cached_tokens": (
            f"{_USAGE}prompt_tokens_details.cached_tokens",
            f"{_USAGE}input_tokens_details.cached_tokens",
            f"{_USAGE}cache_read_input_tokens",
            f"{_RAW}prompt_tokens_details.cached_tokens",
            f"{_RAW}input_tokens_details.cached_tokens",
            f"{_RAW}cache_read_input_tokens",
            "gen_ai.usage.details.cache_read_tokens",
        ),
        "n_cache_write_tokens": (
            f"{_USAGE}cache_creation_input_tokens",
            f"{_RAW}cache_creation_input_tokens",
            "gen_ai.usage.details.cache_write_tokens",
        ),
        "cost_usd": ("operation.cost",),
    },
    drops={"logfire.span_type": ("pending_span",)},
    totals=(f"{_USAGE}total_tokens", f"{_RAW}total_tokens"),
    leaves_out_cached=(f"{_USAGE}input_tokens",),
)
