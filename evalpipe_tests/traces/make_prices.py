"""Makes evalpipe/traces/prices.json from the price map inside an installed litellm; not a test.

    python -m evalpipe_tests.traces.make_prices 2026-10-21

The argument is the date of that litellm release. The map says a price once for every seller, region and date of a
model; kept is what evalpipe/traces/prices.py cannot find by its own rules, so that every name of the map still gets
the map's price, which `main` checks.
"""

import importlib.metadata
import importlib.util
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl

from evalpipe.traces import prices
from evalpipe.traces.prices import PriceFile, Prices, bare_name, price_key, prices_of, undated_name

MODES = ("chat", "completion", "embedding", "responses")
MAKERS = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "vertex_ai-language-models": "gemini",
    "vertex_ai-embedding-models": "gemini",
    "xai": "xai",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "voyage": "voyage",
    "ai21": "ai21",
}
"""Companies whose models have one list price. Open weights cost what each seller asks, so their bare names do not."""

CLOUDS = ("bedrock", "bedrock_converse", "vertex_ai", "vertex_ai-anthropic_models", "azure")
"""Where models are still sold that their makers no longer list."""

SELLERS = re.compile(
    r"(bedrock|vertex_ai|azure|mistral|codestral|deepseek|groq|together_ai|perplexity|moonshot|watsonx|cerebras"
    r"|dashscope|zai|minimax|amazon_nova)"
)
"""Beside the makers: those that OpenTelemetry names as providers, and makers of open weights. Others are a user's."""

FAMILIES = re.compile(r"(claude|gemini|gpt|o\d|text-embedding|chatgpt|command|grok|nova|titan)-(?!oss)|o\d$")
Price = dict[str, Any]


def main(as_of: str) -> None:
    """Write prices.json."""
    priced = {name.lower(): price for name, entry in litellm_map().items() if (price := price_of(entry))}
    version = importlib.metadata.version("litellm")
    head = {"as_of": as_of, "source": f"litellm {version}, model_prices_and_context_window.json", "licence": "MIT"}
    models = bare_models(priced)
    while missing := wrongly_found(priced, prices_of(PriceFile.model_validate({**head, "models": models}))):
        models |= {name: priced[name] for name in missing}
    lines = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(models[name], separators=(',', ':'))}" for name in sorted(models)
    )
    Path(prices.__file__).with_name("prices.json").write_text(
        f'{json.dumps(head)[:-1]},\n "models": {{\n{lines}\n }}\n}}\n'
    )
    print(f"{len(priced)} names, {len(models)} kept")  # noqa: T201


def litellm_map() -> dict[str, dict[str, Any]]:
    """The map of the installed litellm, without importing it."""
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.submodule_search_locations
    return json.loads(
        Path(spec.submodule_search_locations[0], "model_prices_and_context_window_backup.json").read_bytes()
    )


def price_of(entry: dict[str, Any]) -> Price | None:
    """An entry of the map in evalpipe's form; None where it has no price a token (0 there means unknown or free)."""
    seller = entry.get("litellm_provider", "")
    is_wanted = entry.get("mode") in MODES and (seller in MAKERS or SELLERS.match(seller))
    if not is_wanted or not entry.get("input_cost_per_token"):
        return None
    tiers = [m for key in entry if (m := re.fullmatch(r"input_cost_per_token_above_(\d+)k_tokens", key))]
    price: Price = {"provider": MAKERS.get(seller, seller), **rates(entry, "")}
    if tiers:
        n_thousand = min(int(m[1]) for m in tiers)
        price["long_context"] = {
            "above_n_input_tokens": n_thousand * 1_000,
            **rates(entry, f"_above_{n_thousand}k_tokens"),
        }
    return price


def rates(entry: dict[str, Any], suffix: str) -> dict[str, float]:
    """US dollars a token -> US dollars a million tokens, to twelve significant digits."""
    names = {
        "input_usd_per_million": "input_cost_per_token",
        "output_usd_per_million": "output_cost_per_token",
        "cached_input_usd_per_million": "cache_read_input_token_cost",
        "cache_write_usd_per_million": "cache_creation_input_token_cost",
    }
    found = {ours: entry.get(theirs + suffix) for ours, theirs in names.items()}
    found["output_usd_per_million"] = found["output_usd_per_million"] or entry.get("output_cost_per_token") or 0
    return {ours: float(f"{float(value) * 1e6:.12g}") for ours, value in found.items() if value is not None}


def bare_models(priced: dict[str, Price]) -> dict[str, Price]:
    """The list price of each maker's models, by bare name, and by bare name without a date where all dates agree."""
    by_name: dict[str, list[tuple[bool, int, Price]]] = defaultdict(list)
    undated_of: dict[str, str] = {}
    column = pl.col("name")
    names = pl.DataFrame({"name": list(priced)}).select(column, bare=bare_name(column), undated=undated_name(column))
    for name, bare, undated in names.iter_rows():
        provider = priced[name]["provider"]
        is_maker = provider in MAKERS.values()
        if (is_maker or provider in CLOUDS) and FAMILIES.match(bare):
            by_name[bare].append((not is_maker, len(name), priced[name]))
            undated_of[bare] = undated
    models = {bare: min(found, key=lambda item: item[:2])[2] for bare, found in by_name.items()}
    by_undated: dict[str, list[Price]] = defaultdict(list)
    for bare, price in models.items():
        by_undated[undated_of[bare]].append(price)
    agreed = {name: found[0] for name, found in by_undated.items() if all(same(found[0], other) for other in found)}
    contested = {bare: price for bare, price in models.items() if undated_of[bare] not in agreed}
    return agreed | contested


def wrongly_found(priced: dict[str, Price], table: Prices) -> list[str]:
    """The names that the rules take to another price than the map's, said alone or beside their provider."""
    folders = [name.partition("/") for name in priced]
    asked = pl.DataFrame(
        {
            "name": [*priced, *priced],
            "provider": [None] * len(priced) + [folder if rest else None for folder, _, rest in folders],
            "model": [*priced, *(rest or folder for folder, _, rest in folders)],
        },
        schema_overrides={"provider": pl.String},
    )
    found = asked.with_columns(price_key(table)).join(table.table, left_on="price_key", right_on="name", how="left")
    truth = prices_of(PriceFile.model_validate({"as_of": "", "source": "", "licence": "", "models": priced})).table
    columns = [name for name in truth.columns if name != "name"]
    both = found.join(truth, on="name", suffix="_true")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_true")) for name in columns)
    return both.filter(differs)["name"].unique(maintain_order=True).to_list()


def same(one: Price, other: Price) -> bool:
    return {**one, "provider": ""} == {**other, "provider": ""}


if __name__ == "__main__":
    main(sys.argv[1])
