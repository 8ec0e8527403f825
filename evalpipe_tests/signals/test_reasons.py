import polars as pl
import pytest

from evalpipe.signals.reasons import reason_expressions, step_in_words
from evalpipe.signals.usual import END, START
from evalpipe.tables import SIGNALS


def told(signal: str, **columns: object) -> str | None:
    return pl.DataFrame({name: [value] for name, value in columns.items()}).select(reason_expressions()[signal]).item()


def test_every_signal_has_a_reason():
    assert list(reason_expressions()) == list(SIGNALS)


def test_a_tool_step_is_told_in_words():
    rows = pl.DataFrame({"before": [START, START, "pay", "search"], "after": [END, "pay", END, "pay"]}).select(
        step_in_words(pl.col("before"), pl.col("after"))
    )
    assert rows.to_series().to_list() == ["no tool call at all", "pay first", "nothing after pay", "pay after search"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.64, "0.6 s"), (41.2, "41 s"), (300.0, "5 min"), (7_300.0, "2 h"), (200_000.0, "56 h")]
)
def test_a_duration_is_told_as_people_say_it(seconds: float, words: str):
    # 2 ** 3 = 8 seconds are expected
    assert told("latency", duration_s=seconds, expected_duration_s=3.0) == (
        f"took {words} where such a request usually takes about 8.0 s"
    )


def test_tokens_are_told_with_both_figures():
    assert told("token_excess", n_tokens=1_234_567, expected_n_tokens=10.0) == (
        "1,234,567 tokens where such a request usually takes about 1,024"
    )


def test_cost_is_told_in_dollars():
    assert told("cost", cost_usd=0.12345, expected_cost_usd=-6.0) == (
        "cost $0.12 where such a request usually costs about $0.016"
    )


def test_a_cycle_is_told_with_its_tools():
    assert told("repetition", repeated=["search", "pay"], n_repeats=3) == (
        "went 3 times through the same calls of search, pay"
    )


def test_the_worst_of_a_broken_answer_is_told():
    columns = {"is_json_usual": True, "is_json": False, "is_error": False, "is_cut_off": False}
    assert told("broken_output", broken_output=1.0, **columns) == "the answer is empty"
    assert told("broken_output", broken_output=0.0, **columns) == (
        "the answer is not the JSON that this service usually answers with"
    )


def test_a_long_session_is_told_by_what_is_longest():
    figures = {"n_turns": 4, "usual_turns": 2.0, "n_tool_calls": 24, "usual_calls": 2.0, "session_s": 60.0}
    figures |= {"usual_session_s": 30.0, "context_growth": 1.0, "sigmas_log2_turns": 1.0, "sigmas_log2_calls": 6.0}
    assert told("session_length", **figures, sigmas_log2_session=0.0, sigmas_log2_growth=0.0) == (
        "24 tool calls where about 2 are usual"
    )
    assert told("session_length", **figures, sigmas_log2_session=7.0, sigmas_log2_growth=0.0) == (
        "a session of 60 s where about 30 s is usual"
    )


def test_a_claim_is_told_with_how_many_have_a_call():
    assert told("unbacked_claim", unbacked_claims=["i've refunded"], usual_backed=0.96) == (
        "says 'i've refunded', and no call did it (96 % of such answers have one)"
    )


def test_what_is_asked_again_is_told():
    assert told("asked_again", asked_again=["order number"]) == "asks for what the user had given: 'order number'"


def test_numbers_in_no_source_are_told_beside_the_share():
    figures = {"unsupported": 0.5, "usual_unsupported": 0.2}
    assert told("unsupported", **figures, n_unsupported_numbers=2) == (
        "50 % of the answer is in no source where 20 % is usual, 2 numbers among it"
    )
    assert told("unsupported", **figures, n_unsupported_numbers=0) == (
        "50 % of the answer is in no source where 20 % is usual"
    )


def test_languages_are_told_by_name():
    found = told("language_mismatch", answer_language="de", request_language="xx")
    assert found == "answered in German to a request in xx"


def test_trace_text_in_a_reason_is_cut():
    assert len(told("ignored_error", n_ignored_errors=1, ignored_tool="x" * 1_000) or "") < 120
    assert len(told("refusal", refusals=["no " * 500] * 9) or "") < 250
