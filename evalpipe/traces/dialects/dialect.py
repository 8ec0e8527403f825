"""What one tracing convention is, as data: which attributes betray it, and what they mean here.

How a column is read (a word, a number, a text), and for which operations, is the same in every dialect and is decided
in traces/conventions.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Words = Mapping[str, tuple[str, ...]]
"""An attribute -> those of its values, in lower case, that are meant."""


@dataclass(frozen=True)
class Dialect:
    """One convention.

    A key is the name of an attribute, in one of these forms:
    `input.value`: the attribute as it is;
    `llm.input_messages.` (ends in a dot): a family, all attributes that begin so, put together into one JSON text;
    `mlflow.llm.cost#total_cost`: a member of an attribute that is a JSON object, by its JSON path;
    `mlflow.spanInputs#`: the whole of an attribute that is JSON even where it is a text, so its quotes are taken off.
    """

    name: str  # what SPANS.dialect says
    betrays: tuple[str, ...]  # attributes and families that only it has
    scopes: tuple[str, ...] = ()  # instrumentation scopes that only it has; one that ends in a dot means all under it
    kinds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # attribute -> word in lower case -> operation
    infers: tuple[tuple[tuple[str, ...], str], ...] = ()  # (attributes, operation) of a span that does not say its kind
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # SPANS column -> keys, the first present wins
    fails: Words = field(default_factory=dict)  # a span that says so has failed, whatever its status
    drops: Words = field(default_factory=dict)  # a span that says so repeats another one and is left out
    names_tools: bool = False  # its tool spans are called as the tool is
    # Cached tokens are inside n_input_tokens in most dialects. Where a total is sent it shows whether they are; else
    # they are added to the figures of these keys.
    totals: tuple[str, ...] = ()
    leaves_out_cached: tuple[str, ...] = ()
