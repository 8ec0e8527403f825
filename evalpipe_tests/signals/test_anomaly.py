from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.settings import SignalSettings
from evalpipe.signals.anomaly import signal_frame
from evalpipe.tables import SIGNALS, TRACE_SIGNALS, TRACES
from evalpipe_tests.signals.made import TODAY, YESTERDAY, frame, trace, usual

SETTINGS = SignalSettings()
SCORES = [f"{signal}_score" for signal in SIGNALS]
HISTORY = frame(*[usual(1000 + i, day=YESTERDAY, n_input_tokens=280 + i % 40) for i in range(120)])


def signals_of(row: dict[str, Any], history: pl.DataFrame = HISTORY) -> dict[str, Any]:
    return signal_frame(frame(row), history, SETTINGS).row(0, named=True)


def test_a_usual_trace_scores_low_and_gives_no_reasons():
    row = signals_of(usual(1))
    assert row["anomaly_score"] < 0.2
    assert (row["flagged"], row["reasons"]) == ([], [])


def test_a_session_that_drags_on_is_long():
    asked = [("user", f"question number {i} about thing{i} and more{i}") for i in range(12)]
    row = signals_of(trace(1, *asked))
    assert "session_length" in row["flagged"]
    assert "12 turns in the session where about 1 are usual" in row["reasons"]


def test_tokens_beyond_what_the_task_predicts_are_told_with_both_figures():
    row = signals_of(usual(1, n_input_tokens=1800, n_output_tokens=130))
    assert row["flagged"] == ["token_excess"]
    (reason,) = row["reasons"]
    # the history takes 280 to 319 tokens in and 100 out
    assert reason.startswith("1,930 tokens where such a request usually takes about ")
    assert 380 <= int(reason.rsplit(" ", 1)[1]) <= 420


def test_asking_the_same_thing_again_and_again_is_a_resubmission():
    text = "why was my card charged twice for the lamp"
    row = signals_of(trace(1, *[("user", text), ("assistant", "The lamp is ordered.")] * 3))
    assert "resubmission" in row["flagged"]
    assert "asked nearly the same thing 3 times" in row["reasons"]


def test_a_request_is_compared_with_the_session_of_the_days_before():
    text = "why was my card charged twice for the lamp"
    before = frame(
        usual(5000, day=YESTERDAY, session_id="s"), trace(5001, ("user", text), day=YESTERDAY, session_id="s")
    )
    row = signals_of(trace(90_000, ("user", text), session_id="s"), pl.concat([HISTORY, before]))
    assert row["resubmission_value"] == 1
    assert row["session_length_value"] == 3


def test_a_loop_of_identical_calls_deviates_and_says_how_often():
    row = signals_of(trace(1, ("user", "please order the blue lamp"), *[("call", "search", "{}")] * 6))
    assert row["flagged"][0] == "tool_deviation"
    assert any("called search 6 times in a row with the same arguments" in reason for reason in row["reasons"])


def test_a_tool_order_that_was_never_seen_deviates():
    row = signals_of(trace(1, ("user", "please order it"), ("call", "pay", "{}"), ("call", "delete_account", "{}")))
    assert "tool_deviation" in row["flagged"]
    assert row["tool_deviation_value"] > 2


def test_an_error_that_is_left_at_that_is_told():
    row = signals_of(
        trace(1, ("user", "please order it"), ("call", "search", "{}"), ("call", "pay", "{}"), ("error", "pay", "no"))
    )
    assert any("a failed call of pay was left at that" in reason for reason in row["reasons"])


def test_hedging_is_told_with_its_phrases():
    row = signals_of(usual(1) | trace(1, ("assistant", "I'm not sure, maybe it will arrive on Monday.")))
    assert "hedging" in row["flagged"]
    assert any("'i'm not sure', 'maybe'" in reason for reason in row["reasons"])


def test_hedging_is_usual_where_every_answer_hedges():
    answer = ("assistant", "I think this may be what you look for, but please ask a person about it.")
    doctor = [trace(i, ("user", "what do i have"), answer, service_name="doctor", day=YESTERDAY) for i in range(80)]
    row = signals_of(trace(900, ("user", "what do i have"), answer, service_name="doctor"), frame(*doctor))
    assert row["hedging_score"] < 0.1


def test_what_was_not_reported_is_undefined_and_not_anomalous():
    row = signals_of(trace(1, n_input_tokens=None, n_output_tokens=None))
    assert (row["token_excess_value"], row["token_excess_score"]) == (None, 0)
    assert (row["hedging_value"], row["hedging_score"]) == (None, 0)
    assert (row["resubmission_value"], row["resubmission_score"]) == (None, 0)


def test_one_trace_alone_on_the_first_day_has_low_finite_scores():
    row = signals_of(usual(1), TRACES.empty())
    assert max(row[score] for score in SCORES) < 0.1
    assert row["anomaly_score"] < 0.3


def test_a_first_day_of_equal_traces_scores_low_and_one_odd_among_them_high():
    odd = usual(99, n_input_tokens=30_000)
    found = signal_frame(frame(*[usual(i) for i in range(60)], odd), TRACES.empty(), SETTINGS)
    is_odd = pl.col("trace_id") == odd["trace_id"]
    assert found.filter(~is_odd)["anomaly_score"].max() < 0.3
    assert found.filter(is_odd)["flagged"].item().to_list() == ["token_excess"]


def test_a_day_without_traces_has_no_signals():
    assert signal_frame(TRACES.empty(), HISTORY, SETTINGS).equals(TRACE_SIGNALS.empty())


def test_only_the_traces_of_today_are_told_of():
    found = signal_frame(frame(usual(1)), HISTORY, SETTINGS)
    assert found["day"].to_list() == [TODAY]


def test_more_of_a_signal_never_lowers_the_anomaly():
    runs = [signals_of(trace(1, ("user", "order it"), *[("call", "search", "{}")] * n)) for n in (1, 3, 6, 12)]
    scores = [row["anomaly_score"] for row in runs]
    assert scores == sorted(scores)
    assert all(row["anomaly_score"] >= row["tool_deviation_score"] for row in runs)


def test_each_service_is_compared_with_itself():
    """A hundred times the tokens is nothing where everyone takes them."""
    big = [usual(2000 + i, day=YESTERDAY, service_name="research", n_input_tokens=40_000) for i in range(60)]
    row = signals_of(usual(1, service_name="research", n_input_tokens=40_000), pl.concat([HISTORY, frame(*big)]))
    assert row["token_excess_score"] < 0.1


def test_the_order_of_the_rows_does_not_matter():
    today = frame(*[usual(i, n_input_tokens=100 + 37 * i % 400) for i in range(40)])
    once = signal_frame(today, HISTORY, SETTINGS)
    assert signal_frame(today.reverse(), HISTORY.sample(fraction=1, shuffle=True, seed=3), SETTINGS).equals(once)


def test_a_long_history_costs_no_more_than_its_reference(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("evalpipe.signals.anomaly._MAX_REFERENCE", 60)
    asked: list[int] = []
    real = signal_frame.__globals__["trace_features"]
    monkeypatch.setattr("evalpipe.signals.anomaly.trace_features", lambda rows: asked.append(rows.height) or real(rows))
    assert signals_of(usual(1))["anomaly_score"] < 0.2
    assert asked == [61]


def test_reasons_are_the_strongest_and_no_more_than_asked_for():
    asked = [("user", "why was my card charged twice for it")] * 12
    odd = trace(1, *asked, ("assistant", "maybe"), *[("call", "x", "{}")] * 9, n_input_tokens=10**6)
    found = signal_frame(frame(odd), HISTORY, SignalSettings(max_reasons=2)).row(0, named=True)
    strengths = [found[f"{signal}_score"] for signal in found["flagged"]]
    assert strengths == sorted(strengths, reverse=True)
    assert len(strengths) >= 4
    assert len(found["reasons"]) == 2


messages = st.one_of(
    st.tuples(st.sampled_from(["user", "assistant", "system"]), st.text(max_size=30)),
    st.tuples(st.sampled_from(["call", "result", "error"]), st.sampled_from(["a", "b"]), st.text(max_size=5)),
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.lists(messages, max_size=6), st.none() | st.integers(0, 10**9), st.booleans()), max_size=6)
)
def test_any_day_gives_one_row_a_trace_with_every_score_in_range(day: list):
    rows = [
        trace(i, *said, n_input_tokens=tokens, n_output_tokens=None, session_id="s" if shared else None)
        for i, (said, tokens, shared) in enumerate(day)
    ]
    found = signal_frame(frame(*rows), TRACES.empty(), SETTINGS)
    assert sorted(found["trace_id"]) == sorted(row["trace_id"] for row in rows)
    for column in [*SCORES, "anomaly_score"]:
        assert found[column].is_between(0, 1).all()
