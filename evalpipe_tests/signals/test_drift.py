"""Traffic that shifted, and traffic that only looks so."""

from datetime import date, timedelta

import numpy as np
import polars as pl

from evalpipe.settings import MonitorSettings
from evalpipe.signals.drift import NUMBERS, drift_of_service
from evalpipe.tables import TRACE_FEATURES, TRAFFIC_DRIFT

FIRST, LAST = date(2026, 3, 30), date(2026, 4, 5)


def traffic(n: int, days: tuple[date, date], seed: int, *, tool_share: float = 0.1, request: str = "where is it"):
    """`n` traces, each its own session: lognormal tokens, a refund tool in some of them."""
    generator = np.random.default_rng(seed)
    is_called = generator.random(n) < tool_share
    tokens = np.exp(generator.normal(6, 1, n)).astype(int)
    span = (days[1] - days[0]).days + 1
    counted = {name: np.zeros(n) for name in NUMBERS}
    return pl.DataFrame(
        counted
        | {
            "trace_id": [f"{seed}-{i}" for i in range(n)],
            "session_id": pl.Series([None] * n, dtype=pl.String),
            "day": [days[0] + timedelta(days=i % span) for i in range(n)],
            "service_name": "shop",
            "n_tokens": tokens,
            "calls": pl.Series(
                [[{"tool": "refund", "step": 1}] if called else [] for called in is_called],
                dtype=TRACE_FEATURES.schema["calls"],
            ),
            "request": request,
            "response": "it is on its way",
        }
    )


def drift(before: pl.DataFrame, recent: pl.DataFrame) -> dict[str, dict]:
    rows = drift_of_service(
        pl.concat([before, recent]), first_day=FIRST, last_day=LAST, settings=MonitorSettings(), seed=7
    )
    assert rows.schema == TRAFFIC_DRIFT.schema
    return {row["feature"]: row for row in rows.iter_rows(named=True)}


BEFORE = (FIRST - timedelta(days=28), FIRST - timedelta(days=1))
USUAL = traffic(400, BEFORE, 1)


def test_the_same_traffic_has_not_shifted():
    found = drift(USUAL, traffic(100, (FIRST, LAST), 2))
    assert not any(row["has_shifted"] for row in found.values())
    assert set(found) == {*NUMBERS, "tools", "words of requests", "words of answers"}
    assert (found["n_tokens"]["n_before"], found["n_tokens"]["n_recent"]) == (400, 100)


def test_a_tool_that_is_called_more_often_is_named_with_its_shares():
    found = drift(USUAL, traffic(100, (FIRST, LAST), 2, tool_share=0.6))
    assert [name for name, row in found.items() if row["has_shifted"]] == ["tools"]
    calls = pl.col("calls").list.len().mean()
    was, now = (t.select(calls).item() for t in (USUAL, traffic(100, (FIRST, LAST), 2, tool_share=0.6)))
    assert f"tool refund {100 * was:.0f} % -> {100 * now:.0f} %" in found["tools"]["detail"]


def test_new_words_and_longer_traces_are_seen():
    longer = traffic(100, (FIRST, LAST), 2, request="cancel my subscription").with_columns(pl.col("n_tokens") * 5)
    found = drift(USUAL, longer)
    assert [name for name, row in found.items() if row["has_shifted"]] == ["n_tokens", "words of requests"]
    assert "word subscription 0 % -> 100 %" in found["words of requests"]["detail"]
    assert "n_tokens above" in found["n_tokens"]["detail"]


def test_little_traffic_is_not_called_shifted():
    # Fifteen traces since say nothing; of thirty the index is beyond 0.2, as chance alone makes it.
    few = drift(USUAL, traffic(15, (FIRST, LAST), 2, tool_share=0.6))
    assert all(row["psi"] is None and not row["has_shifted"] for row in few.values())
    assert "too few traces" in few["tools"]["detail"]
    some = drift(traffic(60, BEFORE, 1), traffic(30, (FIRST, LAST), 4))
    assert some["n_tokens"]["psi"] > MonitorSettings().drift_psi
    assert not any(row["has_shifted"] for row in some.values())
