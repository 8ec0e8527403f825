"""What comes in at its worst still ends in an evaluator or in words, never in a crash or in a claim."""

from collections.abc import Callable

import polars as pl
import pytest

from evalpipe.errors import NotEnoughEvidenceError
from evalpipe.generation.examples import Examples, examples_for
from evalpipe.generation.generate import Generated
from evalpipe.tables import TRACES
from evalpipe_tests.generation.made import QUICK, generated
from evalpipe_tests.generation.planted import Planted, planted

MEGABYTES = 5 * 1024 * 1024


def examples_of(made: Planted) -> Examples:
    return examples_for(made.labels, made.traces, QUICK)


def spoken(made: Planted, say: Callable[[int, dict], dict]) -> Planted:
    """The traces with each message changed by `say`(number of the trace, message)."""
    transcripts = [
        [say(i, message) for message in transcript] for i, transcript in enumerate(made.traces["transcript"].to_list())
    ]
    column = pl.Series("transcript", transcripts, dtype=TRACES.schema["transcript"])
    return Planted(made.traces.with_columns(column), made.labels)


def mcc_of(made: Generated) -> float:
    assert made.artifact is not None
    return made.artifact.quality["mcc"] or 0.0


@pytest.mark.parametrize(
    ("n_failures", "n_others", "missing"),
    [(1, 40, "9 more failures"), (12, 0, "10 more good traces"), (0, 5, "10 more failures")],
)
def test_too_little_of_either_kind_is_said_in_words(n_failures: int, n_others: int, missing: str):
    with pytest.raises(NotEnoughEvidenceError, match=missing):
        examples_of(planted("ordering", n_failures, n_others, seed=1))


def test_of_contradicting_rows_for_one_trace_the_last_counts():
    made = planted("ordering", 12, 28, seed=1)
    failed = made.labels.filter("is_failure").head(1)
    twice = pl.concat([failed.with_columns(is_failure=pl.lit(False)), made.labels])
    assert examples_for(twice, made.traces, QUICK).n_positives == 12


def test_a_trace_of_five_megabytes_is_one_example_among_others():
    made = planted("ordering", 12, 28, seed=1)
    long = "refund " * (MEGABYTES // 7)
    with_long = spoken(
        made, lambda i, m: {**m, "content": long} if i == 0 and m["role"] in ("assistant", "tool_result") else m
    )
    assert mcc_of(generated(examples_of(with_long))) > 0.9


def test_answers_that_are_empty_or_missing_do_not_hide_a_pattern_in_the_calls():
    made = planted("ordering", 12, 28, seed=1)
    silent = spoken(made, lambda i, m: {**m, "content": None if i % 2 else "  "} if m["role"] == "assistant" else m)
    assert mcc_of(generated(examples_of(silent))) > 0.9


@pytest.mark.parametrize(
    "words", [("退款已经完成", "请稍等"), ("تم رد المبلغ", "يرجى الانتظار"), ("คืนเงินแล้ว", "กรุณารอสักครู่")]
)
def test_a_pattern_is_found_in_any_language(words: tuple[str, str]):
    made = planted("rude", 12, 28, seed=1)
    failed = set(made.labels.filter("is_failure")["trace_id"])
    ids = made.traces["trace_id"].to_list()
    foreign = spoken(
        made,
        lambda i, m: {**m, "content": words[0 if ids[i] in failed else 1]} if m["role"] == "assistant" else m,
    )
    assert mcc_of(generated(examples_of(foreign))) > 0.9
