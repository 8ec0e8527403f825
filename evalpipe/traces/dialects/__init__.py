"""The conventions that are understood, one file each; traces/conventions.py reads them as one."""

from evalpipe.traces.dialects import (
    gen_ai,
    langfuse,
    langsmith,
    logfire,
    mlflow,
    openinference,
    plain,
    traceloop,
    vercel,
)
from evalpipe.traces.dialects.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = (
    langfuse.DIALECT,
    mlflow.DIALECT,
    vercel.DIALECT,
    traceloop.DIALECT,
    logfire.DIALECT,
    langsmith.DIALECT,
    openinference.DIALECT,
    gen_ai.DIALECT,
    plain.DIALECT,
    gen_ai.DIALECT_1_36,
)
"""In order of precedence: the first with a value fills a column, and the first that is betrayed names the span.

A framework's own attributes come first: they say more than the general ones that it sends beside them.
"""
