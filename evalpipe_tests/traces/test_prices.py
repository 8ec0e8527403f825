import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.traces.prices import load_prices, price_key, with_costs

HEAD = {"as_of": "2026-10-01", "source": "a contract", "licence": "none"}


def call(model: str | None, provider: str | None = None, **columns) -> dict:
    """An llm span that read 1,000 tokens and wrote 500."""
    fresh = {"operation": "llm", "n_input_tokens": 1_000, "n_output_tokens": 500, "cost_usd": None}
    return (
        {"model": model, "provider": provider, "n_cached_tokens": None, "n_cache_write_tokens": None} | fresh | columns
    )


def costs(*calls: dict, prices: Path | None = None) -> list[tuple[float | None, bool | None]]:
    schema = {"model": pl.String, "provider": pl.String, "cost_usd": pl.Float64, "operation": pl.String}
    counts = {f"n_{kind}_tokens": pl.Int64 for kind in ("input", "output", "cached", "cache_write")}
    spans = pl.DataFrame(calls, schema_overrides=schema | counts)
    return with_costs(spans, load_prices(prices)).select("cost_usd", "is_cost_estimated").rows()


def cost(*args, **columns) -> float | None:
    ((cost_usd, is_estimated),) = costs(call(*args, **columns))
    assert is_estimated is (None if cost_usd is None else True)
    return cost_usd


def key(model: str | None, provider: str | None = None) -> str | None:
    asked = pl.DataFrame({"provider": [provider], "model": [model]}, {"provider": pl.String, "model": pl.String})
    return asked.select(price_key(load_prices())).item()


def price_file(folder: Path, **models: dict) -> Path:
    path = folder / "prices.json"
    path.write_text(json.dumps({**HEAD, "models": models}))
    return path


def test_a_call_costs_its_tokens_at_the_published_price():
    # gpt-4o, per million tokens: $2.50 read, $10.00 written.
    # 1,000 x 2.50 + 500 x 10.00 = 7,500 millionths of a dollar
    assert cost("gpt-4o", "openai") == pytest.approx(0.0075)


def test_tokens_from_and_to_the_cache_are_part_of_the_input_and_cost_their_own():
    # Claude 3.5 Sonnet: $3.00 read, $0.30 from the cache, $3.75 into it, $15.00 written.
    # (1,000 - 600 - 100) x 3.00 + 600 x 0.30 + 100 x 3.75 + 500 x 15.00 = 900 + 180 + 375 + 7,500 = 8,955
    model = "anthropic.claude-3-5-sonnet-20241022-v2:0"
    assert cost(model, "aws.bedrock", n_cached_tokens=600, n_cache_write_tokens=100) == pytest.approx(0.008955)


def test_a_cached_token_of_a_model_without_a_rate_for_it_costs_as_any_other():
    # gpt-3.5-turbo: $0.50 and $1.50. 1,000 x 0.50 + 500 x 1.50 = 1,250
    assert cost("gpt-3.5-turbo", "openai", n_cached_tokens=400) == pytest.approx(0.00125)


def test_more_cached_tokens_than_tokens_never_give_a_negative_part():
    # An SDK that counts cached tokens apart from the input. gpt-4o: 0 x 2.50 + 2,000 x 1.25 + 500 x 10.00 = 7,500
    assert cost("gpt-4o", n_cached_tokens=2_000) == pytest.approx(0.0075)


def test_a_long_context_has_its_own_rates_for_all_of_the_call():
    # Gemini 2.5 Pro: $1.25 and $10.00 up to 200,000 tokens of input, $2.50 and $15.00 beyond.
    at_most = cost("gemini-2.5-pro", "gcp.gemini", n_input_tokens=200_000, n_output_tokens=1_000)
    beyond = cost("gemini-2.5-pro", "gcp.gemini", n_input_tokens=200_001, n_output_tokens=1_000)
    assert at_most == pytest.approx(0.25 + 0.01)
    assert beyond == pytest.approx(200_001 * 2.5e-6 + 0.015)


def test_an_embedding_costs_its_input():
    # text-embedding-3-small: $0.02. 1,000 x 0.02 = 20 millionths
    assert cost("text-embedding-3-small", operation="embedding", n_output_tokens=None) == pytest.approx(0.00002)


def test_a_reported_cost_stands():
    assert costs(call("gpt-4o", cost_usd=0.5)) == [(0.5, False)]
    assert costs(call("gpt-4o", cost_usd=0.0)) == [(0.0, False)]


@pytest.mark.parametrize(
    "columns",
    [{"operation": "agent"}, {"operation": "tool"}, {"n_input_tokens": None}, {"n_output_tokens": None}],
    ids=str,
)
def test_without_a_call_or_a_token_count_there_is_no_cost(columns: dict):
    assert cost("gpt-4o", "openai", **columns) is None


@pytest.mark.parametrize(
    ("provider", "model", "named"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("OpenAI", " GPT-4o ", "gpt-4o"),
        (None, "openai/gpt-4o", "gpt-4o"),
        ("azure.ai.openai", "gpt-4o", "gpt-4o"),
        ("openai.responses", "gpt-4o-mini-2024-07-18 ", "gpt-4o-mini"),
        ("openai", "gpt-4o-2099-01-01", "gpt-4o"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::a1", "ft:gpt-4o-mini-2024-07-18"),
        ("openai", "gpt-4.1", "gpt-4.1"),
        ("gcp.gemini", "models/gemini-2.0-flash", "gemini-2.0-flash"),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("aws.bedrock", "anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
        ("mistral_ai", "mistral-large-latest", "mistral/mistral-large-latest"),
        ("groq", "openai/gpt-oss-20b", "groq/openai/gpt-oss-20b"),
    ],
)
def test_a_model_is_found_by_the_names_it_has_in_the_wild(provider: str | None, model: str, named: str):
    assert key(model, provider) == named


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        (None, "gpt-4o-foo"),
        (None, "gpt-4o-foo-2024-08-06"),
        (None, "my-gpt-4o"),
        (None, "gpt"),
        (None, ""),
        (None, None),
        ("openai", None),
        ("ollama", "gpt-4o"),
        (None, "hosted_vllm/gpt-4o"),
        ("openai", "qwen/qwen3-32b"),
    ],
)
def test_a_name_that_only_resembles_one_or_runs_on_own_hardware_has_no_price(provider: str | None, model: str | None):
    assert key(model, provider) is None


def test_a_region_that_costs_more_has_its_own_price():
    # Bedrock's inference profiles of Claude Sonnet 4.5 in one region cost a tenth more than global ones.
    regional = cost("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws.bedrock")
    everywhere = cost("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws.bedrock")
    assert (regional, everywhere) == (pytest.approx(0.01155), pytest.approx(0.0105))


def test_a_table_of_ones_own_adds_models_and_goes_before(tmp_path: Path):
    rates = {"provider": "acme", "input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
    path = price_file(tmp_path, **{"gpt-4o": rates, "Acme-1": rates})
    # 1,000 x 1.00 + 500 x 2.00 = 2,000; gpt-4o-mini stays: 1,000 x 0.15 + 500 x 0.60 = 450
    names = ("gpt-4o", "acme-1-2026-01-01", "gpt-4o-mini")
    found = [cost_usd for cost_usd, _ in costs(*map(call, names), prices=path)]
    assert found == pytest.approx([0.002, 0.002, 0.00045])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"input_usd_per_million": -1.0}, "model acme-1, field input_usd_per_million"),
        ({"input_usd_per_million": "3"}, "model acme-1, field input_usd_per_million"),
        ({"inputs": 3.0}, "model acme-1, field inputs"),
        ({"long_context": {"above_n_input_tokens": 0}}, "model acme-1, field long_context"),
    ],
    ids=str,
)
def test_a_wrong_table_is_refused_with_the_model_and_the_field(tmp_path: Path, change: dict, named: str):
    rates = {"provider": "acme", "input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
    with pytest.raises(InputError, match=named):
        load_prices(price_file(tmp_path, **{"acme-1": rates | change}))


def test_a_table_that_is_not_there_or_no_json_is_refused_by_name(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.json"):
        load_prices(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(InputError, match=r"text\.json"):
        load_prices(tmp_path / "text.json")


def test_the_bundled_table_says_its_date():
    assert date.fromisoformat(load_prices().as_of) >= date(2026, 1, 1)


@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.text()), min_size=1))
def test_any_names_leave_every_row_in_its_place(names: list[tuple[str | None, str | None]]):
    calls = [call(model, provider, n_input_tokens=number) for number, (model, provider) in enumerate(names)]
    assert len(costs(*calls)) == len(calls)
