from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.settings import SignalSettings
from evalpipe.signals.anomaly import WEIGHTS, signal_frame
from evalpipe.signals.features import feature_frame
from evalpipe.tables import SIGNALS, TRACE_FEATURES, TRACE_SIGNALS
from evalpipe_tests.signals.made import TODAY, YESTERDAY, frame, trace, usual

SETTINGS = SignalSettings()
SCORES = [f"{signal}_score" for signal in SIGNALS]
NONE = TRACE_FEATURES.empty()
PAST = feature_frame(frame(*[usual(1000 + i, day=YESTERDAY, n_input_tokens=280 + i % 40) for i in range(120)]), frame())
LOOP = [("user", "please order the blue lamp"), *[("call", "search", "{}")] * 6]


def measured(*rows: dict[str, Any]) -> pl.DataFrame:
    return feature_frame(frame(*rows), frame())


def signals_of(row: dict[str, Any], past: pl.DataFrame = PAST, asked: SignalSettings = SETTINGS) -> dict[str, Any]:
    return signal_frame(measured(row), past, asked).row(0, named=True)


def test_every_signal_has_a_weight_below_certainty():
    assert set(WEIGHTS) == set(SIGNALS)
    assert all(0 < weight < 1 for weight in WEIGHTS.values())


def test_a_usual_trace_scores_low_and_gives_no_reasons():
    row = signals_of(usual(1))
    assert row["anomaly_score"] < 0.1
    assert (row["flagged"], row["reasons"], row["evidence"]) == ([], [], [])


def test_a_loop_is_flagged_told_and_shown():
    row = signals_of(trace(1, *LOOP))
    assert row["flagged"][0] == "repetition"
    assert row["reasons"][0] == "called search 6 times in a row with the same arguments"
    assert row["evidence"][:2] == [
        {"signal": "repetition", "step": 1, "text": None},
        {"signal": "repetition", "step": 6, "text": None},
    ]


def test_every_flagged_signal_has_evidence_even_if_only_the_whole_trace():
    odd = trace(1, *LOOP, ("assistant", "maybe"), n_input_tokens=10**6, duration_ns=10**12, defects=["unfinished"])
    row = signals_of(odd)
    assert {"token_excess", "latency", "incomplete", "repetition"} <= set(row["flagged"])
    assert list(dict.fromkeys(place["signal"] for place in row["evidence"])) == row["flagged"]
    assert {"signal": "latency", "step": None, "text": None} in row["evidence"]


def test_an_unusual_step_is_shown_where_it_was_made():
    made = [("call", "search", "{}"), ("result", "search", "found"), ("call", "delete_account", "{}")]
    row = signals_of(trace(1, ("user", "please order it"), *made))
    assert "tool_deviation" in row["flagged"]
    assert {"signal": "tool_deviation", "step": 3, "text": None} in row["evidence"]


def test_one_strong_sign_outweighs_all_effort_together():
    """A long, dear and slow trace is a hard task more often than a failure."""
    slow = usual(1, n_input_tokens=10**6, duration_ns=10**12)
    failed = usual(2) | trace(2, ("user", "please order it"), ("call", "pay", "{}"), ("error", "pay", "no"))
    assert signals_of(slow)["anomaly_score"] < 0.5 < signals_of(failed)["anomaly_score"]


def test_the_score_is_never_under_the_strongest_weighted_signal():
    row = signals_of(trace(1, *LOOP))
    assert row["anomaly_score"] >= max(WEIGHTS[name] * row[f"{name}_score"] for name in SIGNALS)


def test_hedging_is_usual_where_every_answer_hedges():
    answer = ("assistant", "I think this may be what you look for, but please ask a person about it.")
    doctor = [trace(i, ("user", "what do i have"), answer, service_name="doctor", day=YESTERDAY) for i in range(80)]
    row = signals_of(trace(900, ("user", "what do i have"), answer, service_name="doctor"), measured(*doctor))
    assert row["hedging_score"] < 0.1


def test_one_trace_alone_on_the_first_day_has_low_finite_scores():
    row = signals_of(usual(1), NONE)
    assert max(row[score] for score in SCORES) < 0.1
    assert row["anomaly_score"] < 0.3


def test_a_first_day_of_equal_traces_scores_low_and_one_odd_among_them_high():
    today = measured(*[usual(i) for i in range(79)], trace(900, *LOOP))
    found = signal_frame(today, NONE, SETTINGS).sort("anomaly_score", descending=True)
    assert found["flagged"][0][0] == "repetition"
    assert found["anomaly_score"][1] < 0.1 < 0.7 < found["anomaly_score"][0]


def test_a_day_that_goes_wrong_is_compared_with_the_past_and_not_with_itself():
    today = measured(*[trace(i, *LOOP) for i in range(60)])
    assert (signal_frame(today, PAST, SETTINGS)["repetition_score"] > 0.8).all()


def test_no_traces_have_no_signals():
    assert signal_frame(NONE, PAST, SETTINGS).equals(TRACE_SIGNALS.empty())


def test_the_order_of_the_rows_changes_nothing():
    today = measured(*[usual(i, n_input_tokens=300 + 7 * i) for i in range(40)])
    once = signal_frame(today, PAST, SETTINGS)
    assert signal_frame(today.reverse(), PAST.sample(fraction=1, shuffle=True, seed=3), SETTINGS).equals(once)


def test_of_a_long_history_a_part_is_used(monkeypatch: pytest.MonkeyPatch):
    heights: list[int] = []
    real = signal_frame.__globals__["scored"]
    monkeypatch.setattr("evalpipe.signals.anomaly.MAX_REFERENCE", 60)
    monkeypatch.setattr("evalpipe.signals.anomaly.scored", lambda rows, n: heights.append(rows.height) or real(rows, n))
    assert signals_of(usual(1))["anomaly_score"] < 0.2
    # 120 draws below a half: 60 expected, a standard deviation is 5.5
    assert heights[0] - 1 == pytest.approx(60, abs=17)


def test_a_trace_that_is_in_the_past_too_is_of_today():
    found = signal_frame(PAST.head(1).with_columns(day=pl.lit(TODAY)), PAST, SETTINGS)
    assert found["day"].to_list() == [TODAY]


def test_reasons_are_of_what_weighs_most_and_no_more_than_asked_for():
    odd = trace(1, *LOOP, ("assistant", "maybe"), n_input_tokens=10**6)
    row = signals_of(odd, asked=SignalSettings(max_reasons=2))
    weights = [WEIGHTS[name] * row[f"{name}_score"] for name in row["flagged"]]
    assert weights == sorted(weights, reverse=True)
    assert len(weights) >= 3
    assert len(row["reasons"]) == 2


messages = st.one_of(
    st.tuples(st.sampled_from(["user", "assistant", "system"]), st.text(max_size=30)),
    st.tuples(st.sampled_from(["call", "result", "error"]), st.sampled_from(["a", "b"]), st.text(max_size=5)),
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.lists(messages, max_size=6), st.none() | st.integers(0, 10**9), st.booleans()), max_size=6)
)
def test_any_day_gives_one_row_a_trace_with_every_score_in_range(day: list[Any]):
    rows = [
        trace(i, *said, n_input_tokens=tokens, n_output_tokens=None, session_id="s" if shared else None)
        for i, (said, tokens, shared) in enumerate(day)
    ]
    found = signal_frame(measured(*rows), NONE, SETTINGS)
    assert sorted(found["trace_id"]) == sorted(row["trace_id"] for row in rows)
    for column in [*SCORES, "anomaly_score"]:
        assert found[column].is_between(0, 1).all()


def test_reasons_are_told_of_many_services_of_which_some_have_versions_of_their_own():
    # Expectations of several services and versions come in pieces of unequal length.
    rows = [
        usual(n, service_name=f"s{n % 5}", service_version=f"v{n % 3}", n_input_tokens=10**6 if n % 40 == 0 else 300)
        for n in range(600)
    ]
    told = signal_frame(measured(*rows), NONE, SignalSettings(min_history_traces=20))
    loud = told.filter(pl.col("token_excess_score") > 0.8)
    assert loud.height == 15
    assert loud["reasons"].list.eval(pl.element().str.contains("tokens where")).list.any().all()
