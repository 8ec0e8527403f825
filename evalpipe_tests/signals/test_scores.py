"""Each signal against 120 usual traces of yesterday: when it speaks, and when not."""

from typing import Any

import polars as pl
import pytest

from evalpipe.signals.features import feature_frame
from evalpipe.signals.scores import scored
from evalpipe.tables import SIGNALS
from evalpipe_tests.signals.made import YESTERDAY, frame, trace, usual

_SECOND = 1_000_000_000
USUAL = feature_frame(
    frame(*[usual(1_000 + n, day=YESTERDAY, n_input_tokens=280 + n % 40, cost_usd=0.01) for n in range(120)]), frame()
)


def scores_of(*rows: dict[str, Any], past: pl.DataFrame = USUAL) -> dict[str, Any]:
    """The last trace's; the others are of the same day."""
    today = feature_frame(frame(*rows), frame()).with_columns(is_reference=pl.lit(False))
    features = pl.concat([today, past.with_columns(is_reference=pl.lit(True))]).sort("trace_id")
    return scored(features, 50).row(by_predicate=pl.col("trace_id") == rows[-1]["trace_id"], named=True)


def test_a_usual_trace_shows_nothing():
    row = scores_of(usual(1, cost_usd=0.01))
    assert {name: row[f"{name}_score"] for name in SIGNALS if row[f"{name}_score"] > 0.05} == {}


def test_a_session_that_drags_on_is_long():
    row = scores_of(trace(1, *[("user", f"question number {i} about thing{i} and more{i}") for i in range(12)]))
    assert row["session_length_value"] == 12
    assert row["session_length_score"] > 0.8


def test_a_task_is_long_by_its_tool_calls_too():
    made = [("call", "search" if n % 2 else "pay", f'{{"lamp": {n}}}') for n in range(24)]
    row = scores_of(trace(1, ("user", "please order the blue lamp"), *made))
    # 24 calls where 2 are usual: log2 of 25 over 3 is 3.06, in deviations of 0.5, so 6.1 of them; 0.97 after Hill
    assert row["session_length_score"] > 0.9


def test_a_session_is_long_by_its_time_too():
    row = scores_of(usual(0, session_id="s"), usual(40_000, session_id="s"))
    assert row["session_length_score"] > 0.8


def test_factors_over_what_the_task_predicts_are_values_in_bits():
    row = scores_of(usual(1, n_input_tokens=1_500, n_output_tokens=100, duration_ns=32 * _SECOND, cost_usd=0.08))
    # 400 tokens, 2 seconds, a cent are usual: factors 4, 16, 8
    assert row["token_excess_value"] == pytest.approx(2, abs=0.1)
    assert row["latency_value"] == pytest.approx(4, abs=0.1)
    assert row["cost_value"] == pytest.approx(3, abs=0.1)
    assert min(row[f"{name}_score"] for name in ("token_excess", "latency", "cost")) > 0.8


def test_asking_the_same_thing_again_and_again_is_a_resubmission():
    text = "why was my card charged twice for the lamp"
    row = scores_of(trace(1, *[("user", text), ("assistant", "The lamp is ordered.")] * 3))
    assert row["resubmission_value"] == pytest.approx(1)
    assert row["resubmission_score"] > 0.9


def test_a_tool_order_that_was_never_seen_deviates():
    row = scores_of(trace(1, ("user", "please order it"), ("call", "pay", "{}"), ("call", "delete_account", "{}")))
    assert row["tool_deviation_value"] > 2
    assert row["tool_deviation_score"] > 0.8


def test_a_loop_of_identical_calls_is_repetition():
    row = scores_of(trace(1, ("user", "please order the blue lamp"), *[("call", "search", "{}")] * 6))
    assert row["repetition_value"] == 6
    assert row["repetition_score"] > 0.8


def test_an_error_that_is_left_at_that_counts_from_the_first():
    # severity 0.85 for the first; 0.5 of 10 + 120 traces show it: hardly a discount
    row = scores_of(trace(1, ("user", "please order it"), ("call", "pay", "{}"), ("error", "pay", "no")))
    assert row["ignored_error_value"] == 1
    assert row["ignored_error_score"] == pytest.approx(0.85 * (1 - (0.5 / 130 / 0.5) ** 2))


def test_hedging_where_answers_are_sure():
    row = scores_of(usual(1) | trace(1, ("assistant", "I'm not sure, maybe it will arrive on Monday.")))
    assert row["hedging_score"] > 0.8


def test_an_invented_number_where_answers_have_sources():
    row = scores_of(
        trace(
            1,
            ("user", "please order the blue lamp"),
            ("call", "search", "{}"),
            ("result", "search", "found"),
            ("assistant", "You get 15 percent off within 30 days, and a guarantee of 36 months."),
        )
    )
    assert row["n_unsupported_numbers"] == 3
    assert row["unsupported_score"] > 0.8


def test_an_empty_answer_is_broken_and_an_error_of_the_application_nearly_as_much():
    empty = scores_of(trace(1, ("user", "please order the blue lamp"), ("assistant", "")))
    assert empty["broken_output_value"] == 1
    assert empty["broken_output_score"] > 0.9
    assert scores_of(usual(1, status="error"))["broken_output_value"] == 0.9


@pytest.mark.parametrize(("n_json", "value"), [(90, 0.9), (60, 0.0)])
def test_prose_is_broken_only_where_json_is_usual(n_json: int, value: float):
    answers = ['{"a": 1}'] * n_json + ["It is done and will arrive."] * (100 - n_json)
    rows = [trace(n, ("user", "do it"), ("assistant", text), day=YESTERDAY) for n, text in enumerate(answers)]
    past = feature_frame(frame(*rows), frame())
    row = scores_of(trace(500, ("user", "do it"), ("assistant", "It is done and will arrive.")), past=past)
    assert row["broken_output_value"] == value


def test_defects_are_as_severe_as_the_worst():
    mild, grave = scores_of(usual(1, defects=["missing_session"])), scores_of(usual(1, defects=["unfinished"]))
    assert 0 < mild["incomplete_score"] < 0.3
    assert grave["incomplete_score"] > 0.8
    assert scores_of(usual(1, defects=["unfinished", "missing_session"]))["incomplete_score"] == pytest.approx(
        grave["incomplete_score"]
    )


def test_an_action_that_no_call_did_is_an_unbacked_claim_where_calls_are_usual():
    done = [("call", "pay", "{}"), ("result", "pay", "ok"), ("assistant", "I have ordered the lamp.")]
    rows = [trace(n, ("user", "order it"), *done, day=YESTERDAY) for n in range(98)]
    row = scores_of(trace(500, ("user", "order it"), done[-1]), past=feature_frame(frame(*rows), frame()))
    # All 98 are backed, and two are imagined that are not; 0.5 of 10 + 98 traces show it: hardly a discount
    assert row["usual_backed"] == pytest.approx(0.98)
    assert row["unbacked_claim_value"] == 1
    assert row["unbacked_claim_score"] == pytest.approx(0.85 * 0.98 * (1 - (0.5 / 108 / 0.5) ** 2))


def test_where_no_tools_are_traced_a_claim_without_one_says_nothing():
    claims, chats = ("assistant", "I have ordered the lamp."), ("assistant", "Hello.")
    rows = [trace(n, ("user", "order it"), chats if n % 20 else claims, day=YESTERDAY) for n in range(120)]
    row = scores_of(trace(500, ("user", "order it"), claims), past=feature_frame(frame(*rows), frame()))
    assert (row["unbacked_claim_value"], row["unbacked_claim_score"]) == (1, 0)


def test_asking_again_for_what_was_given():
    row = scores_of(trace(1, ("user", "where is order SO-12345"), ("assistant", "May I have your order number?")))
    assert row["asked_again_value"] == 1
    assert row["asked_again_score"] > 0.8


def test_what_every_second_trace_of_a_service_shows_is_its_way():
    refused = [("user", "please order it"), ("call", "pay", "{}"), ("error", "pay", "no")]
    rows = [trace(n, *(refused if n % 2 else [("user", "order it")]), day=YESTERDAY) for n in range(120)]
    row = scores_of(trace(500, *refused), past=feature_frame(frame(*rows), frame()))
    assert row["ignored_error_score"] < 0.2


def test_what_was_not_reported_is_undefined_and_not_anomalous():
    row = scores_of(trace(1, n_input_tokens=None, n_output_tokens=None))
    for name in ("token_excess", "cost", "resubmission", "hedging", "unsupported"):
        assert (row[f"{name}_value"], row[f"{name}_score"]) == (None, 0)
