"""What a model call costs: the price table, the names by which a model is found in it, and the estimate.

Rates are list prices in US dollars per million tokens, as data (prices.json, or a file of the same form that adds to
it). What the application itself reports is never replaced; dialects that report a cost are conventions.py's.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalpipe.errors import InputError

_BUNDLED = Path(__file__).with_name("prices.json")

_SELLERS = {
    "aws.bedrock": "bedrock",
    "aws": "bedrock",
    "amazon-bedrock": "bedrock",
    "amazon_bedrock": "bedrock",
    "az.ai.openai": "azure",
    "azure.ai.openai": "azure",
    "azure-openai": "azure",
    "azure_openai": "azure",
    "az.ai.inference": "azure_ai",
    "azure.ai.inference": "azure_ai",
    "gcp.gemini": "gemini",
    "gcp.gen_ai": "gemini",
    "google": "gemini",
    "google.generative-ai": "gemini",
    "google_genai": "gemini",
    "gcp.vertex_ai": "vertex_ai",
    "google.vertex": "vertex_ai",
    "google_vertexai": "vertex_ai",
    "vertexai": "vertex_ai",
    "ibm.watsonx.ai": "watsonx",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot_ai": "moonshot",
    "moonshotai": "moonshot",
    "x_ai": "xai",
    "together": "together_ai",
    "togetherai": "together_ai",
    "fireworks": "fireworks_ai",
    "vercel": "vercel_ai_gateway",
}
"""Names that instrumentations give a provider -> the table's. Source: OpenTelemetry gen_ai.provider.name v1.27 to
v1.41, OpenInference llm.provider, the Vercel AI SDK's provider ids."""

_OWN_HARDWARE = r"(?:^|/)(?:ollama|ollama_chat|vllm|hosted_vllm|sglang|tgi|llama\.?cpp|lm_?studio|localai|mlx)(?:/|$)"
"""Where a model runs without a price a token, whatever it is called."""

_BEFORE_NAME = r"^(?:.*/)?(?:(?:[a-z-]+|ai21)\.)*"  # "models/", "openai/", "us.anthropic."; not "gpt-4." of gpt-4.1
_FINE_TUNED = r"^(ft:[^:]+):.*$"  # OpenAI: ft:BASE:ORGANISATION:SUFFIX:ID
_VERSIONS = (
    r"(?:[-@](?:\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{8}|\d{6}|\d{4}|\d{3}|latest|default)"  # dates and revisions
    r"|-v\d+(?::\d+)?|:\d+)+$"  # Bedrock's -v2:0
)

_USED = (
    "operation",
    "provider",
    "model",
    "n_input_tokens",
    "n_output_tokens",
    "n_cached_tokens",
    "n_cache_write_tokens",
)

_Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Rates(BaseModel):
    """US dollars per million tokens; tokens from or to the cache cost as other input where they have no rate."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    input_usd_per_million: _Rate
    output_usd_per_million: _Rate
    cached_input_usd_per_million: _Rate | None = None
    cache_write_usd_per_million: _Rate | None = None


class _LongContext(_Rates):
    above_n_input_tokens: int = Field(gt=0)


class _Price(_Rates):
    provider: str
    long_context: _LongContext | None = None  # all rates of a call that reads more than so many tokens


class PriceFile(BaseModel):
    """prices.json, or a user's own table: prices by the name of a model, or by PROVIDER/NAME for one seller's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: str
    source: str
    licence: str
    models: dict[str, _Price]


@dataclass(frozen=True)
class Prices:
    """Prices by name, and the date of the table they came from."""

    as_of: str
    table: pl.DataFrame  # a row a name with its rates; long_* are those above above_n_input_tokens


def load_prices(path: Path | None = None) -> Prices:
    """The prices that come with evalpipe; those in `path`, a file of the same form, are added or go before them.

    Raises InputError that names the file, the model and the field.
    """
    return _bundled() if path is None else prices_of(_read(_BUNDLED), _read(path))


def with_costs(spans: pl.DataFrame, prices: Prices | None = None) -> pl.DataFrame:
    """`spans` with `cost_usd` estimated where none was reported, and `is_cost_estimated` (null without a cost).

    An estimate needs an llm span with both token counts, or an embedding span with its input tokens, and a model
    that `prices` (those of `load_prices()` unless given) know. Cached and cache-write tokens are part of the input.
    """
    prices = prices or load_prices()
    calls = spans.select("provider", "model").unique()
    rates = calls.with_columns(price_key(prices)).join(prices.table, left_on="price_key", right_on="name", how="inner")
    estimate = (
        spans.select(*_USED, pl.col("operation").is_in(["llm", "embedding"]).alias("is_call"))
        .join(rates, on=["provider", "model"], how="left", nulls_equal=True, maintain_order="left")
        .select(pl.when("is_call").then(_cost_usd()))
        .to_series()
    )
    return spans.with_columns(
        cost_usd=pl.coalesce("cost_usd", estimate),
        is_cost_estimated=pl.when(pl.col("cost_usd").is_not_null()).then(False).when(estimate.is_not_null()).then(True),
    )


def price_key(prices: Prices) -> pl.Expr:
    """`price_key`: the name in `prices` of columns `provider` and `model`; null when there is none.

    The name as it is goes first, then without what stands before it (a path, a region, a vendor), then without a
    date or version; each as sold by the provider and then as sold by anyone. A mere common beginning is no match.
    """
    seller = pl.col("provider").str.strip_chars().str.to_lowercase()
    seller = seller.str.replace(r"^(openai|anthropic|google\.[a-z-]+|azure-openai|mistral|groq|xai|cohere)\..*$", "$1")
    seller = seller.replace(_SELLERS)
    name = pl.col("model").str.strip_chars().str.to_lowercase()
    names = (name, bare_name(name), undated_name(name))
    forms = [form for plain in names for form in (seller + "/" + plain, plain)]
    known = prices.table["name"].implode()
    is_priced = ~pl.concat_str(seller.fill_null(""), name, separator="/").str.contains(_OWN_HARDWARE)
    return (
        pl.when(is_priced).then(pl.coalesce(pl.when(form.is_in(known)).then(form) for form in forms)).alias("price_key")
    )


def bare_name(name: pl.Expr) -> pl.Expr:
    """A model's own name: no path, region or vendor before it, no organisation after it."""
    bare = name.str.replace(_BEFORE_NAME, "").str.replace(_FINE_TUNED, "$1")
    # Gateways write a Claude's version with a dot, its maker with a hyphen.
    return pl.when(bare.str.starts_with("claude-")).then(bare.str.replace_all(".", "-", literal=True)).otherwise(bare)


def undated_name(name: pl.Expr) -> pl.Expr:
    """The bare name without the date or version at its end."""
    return bare_name(name).str.replace(_VERSIONS, "")


def _cost_usd() -> pl.Expr:
    n_input, n_output = pl.col("n_input_tokens"), pl.col("n_output_tokens")
    n_cached, n_written = pl.col("n_cached_tokens").fill_null(0), pl.col("n_cache_write_tokens").fill_null(0)
    n_fresh = (n_input - n_cached - n_written).clip(0)
    is_long = (n_input > pl.col("above_n_input_tokens")).fill_null(False)

    def rate(kind: str) -> pl.Expr:
        return pl.when(is_long).then(pl.coalesce(f"long_{kind}", kind)).otherwise(kind)

    fresh = rate("input_usd_per_million")
    dollars_per_million = (
        n_fresh * fresh
        + n_cached * pl.coalesce(rate("cached_input_usd_per_million"), fresh)
        + n_written * pl.coalesce(rate("cache_write_usd_per_million"), fresh)
        + pl.when(pl.col("operation") == "embedding").then(n_output.fill_null(0)).otherwise(n_output)
        * rate("output_usd_per_million")
    )
    return dollars_per_million / 1e6


@cache
def _bundled() -> Prices:
    return prices_of(_read(_BUNDLED))


def prices_of(*files: PriceFile) -> Prices:
    """The models of all files; a later file's go before an earlier one's."""
    models = {name.strip().lower(): price for file in files for name, price in file.models.items()}
    rows = [
        {"name": name}
        | {rate: getattr(price, rate) for rate in _Rates.model_fields}
        | {"above_n_input_tokens": price.long_context and price.long_context.above_n_input_tokens}
        | {f"long_{rate}": getattr(price.long_context, rate, None) for rate in _Rates.model_fields}
        for name, price in models.items()
    ]
    rates = {prefix + rate: pl.Float64 for prefix in ("", "long_") for rate in _Rates.model_fields}
    schema = {"name": pl.String, "above_n_input_tokens": pl.Int64, **rates}
    return Prices(files[-1].as_of, pl.DataFrame(rows, schema=schema))


def _read(path: Path) -> PriceFile:
    try:
        return PriceFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"the price table {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        at = (
            f"model {place[1]}, field {'.'.join(place[2:])}"
            if place[:1] == ["models"] and place[2:]
            else ".".join(place)
        )
        raise InputError(f"the price table {path}: {at or 'the whole file'}: {first['msg']}. Correct it.") from error
