"""MLflow Tracing exported over OTLP. Every value is JSON, a text within quotes too.

The session of a trace is among its metadata, which MLflow does not export: it is known where the application sets
`session.id` on a span.
Source: mlflow, mlflow/tracing/constant.py and mlflow/tracing/utils.
"""

from evalpipe.traces.dialects.dialect import Dialect

_USAGE = "mlflow.chat.tokenUsage#"

DIALECT = Dialect(
    "mlflow",
    betrays=("mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs"),
    kinds={
        "mlflow.spanType": {
            "llm": "llm",
            "chat_model": "llm",
            "chain": "chain",
            "workflow": "chain",
            "task": "chain",
            "agent": "agent",
            "tool": "tool",
            "retriever": "retriever",
            "reranker": "retriever",
            "embedding": "embedding",
            "guardrail": "guardrail",
            "parser": "other",
            "memory": "other",
            "evaluator": "other",
        }
    },
    fields={
        "provider": ("mlflow.llm.provider",),
        "model": ("mlflow.llm.model",),
        "tool_input": ("mlflow.spanInputs#",),
        "tool_output": ("mlflow.spanOutputs#",),
        "input": ("mlflow.spanInputs#",),
        "output": ("mlflow.spanOutputs#",),
        # Outputs are what the provider answered, OpenAI's or Anthropic's.
        "finish_reason": ("mlflow.spanOutputs#choices[0].finish_reason", "mlflow.spanOutputs#stop_reason"),
        "n_input_tokens": (f"{_USAGE}input_tokens",),
        "n_output_tokens": (f"{_USAGE}output_tokens",),
        "n_cached_tokens": (f"{_USAGE}cache_read_input_tokens",),
        "n_cache_write_tokens": (f"{_USAGE}cache_creation_input_tokens",),
        "cost_usd": ("mlflow.llm.cost#total_cost",),
    },
    names_tools=True,
    totals=(f"{_USAGE}total_tokens",),
)
