import polars as pl
import pytest

from evalpipe.review.queue.experience import HISTORY, experience, finding_frame, history_frame
from evalpipe_tests.review.made import annotation, annotations, made_id


def found(*rows: tuple[int, bool]) -> dict:
    return {made_id(i): is_failure for i, is_failure in rows}


def findings(*rows: dict) -> dict:
    return dict(finding_frame(annotations(*rows)).iter_rows())


def test_a_trace_is_a_failure_when_half_of_its_readers_say_so():
    said = [
        annotation(0, "bad", "rude"),
        annotation(0, annotator="bo"),
        annotation(1),
        annotation(2, "partial", "slow"),
        annotation(3, "bad", "rude"),
        annotation(3, annotator="bo"),
        annotation(3, annotator="cy"),
    ]
    assert findings(*said) == found((0, True), (1, False), (2, True), (3, False))


def test_what_a_model_said_is_no_finding():
    assert findings(annotation(0, "bad", "rude", label_source="model")) == {}


def test_a_changed_mind_counts_as_it_is_now():
    assert findings(annotation(0, "bad", "rude"), annotation(0, minute=5)) == found((0, False))


def queued(*rows: tuple[int, str, str]) -> pl.DataFrame:
    """trace, queue, pattern"""
    made = [(made_id(trace), queue, pattern, "shop") for trace, queue, pattern in rows]
    return pl.DataFrame(made, schema=["trace_id", "queue", "pattern_id", "service_name"], orient="row")


def test_a_history_counts_each_trace_once_and_knows_the_signal_where_there_is_one():
    rows = queued(
        (0, "hedging", "a"), (0, "hedging", "a"), (1, "hedging", "a"), (2, "control", "a"), (3, "hedging", "b")
    )
    said = finding_frame(annotations(annotation(0, "bad", "rude"), annotation(1), annotation(2)))
    history = history_frame(rows, said).sort("signal")
    assert history.rows() == [("a", "shop", None, 1, 0), ("a", "shop", "hedging", 2, 1)]


def weights(*history: tuple[str, str, str | None, int, int]) -> dict[str, float]:
    patterns = pl.DataFrame(
        {"pattern_id": ["a", "b", "c"], "service_name": "shop", "signal": ["hedging", "hedging", "latency"]}
    )
    return dict(experience(patterns, pl.DataFrame(list(history), schema=HISTORY, orient="row")).iter_rows())


def test_what_nobody_read_weighs_one():
    assert weights() == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_failures_raise_a_pattern_and_its_signal_and_good_traces_sink_it():
    """Usual: (4 + 1) / (10 + 2) = 0.41667. Hedging: (4 + 5 * 0.41667) / (5 + 5) = 0.60833, and so pattern b, unread.

    a: (4 + 5 * 0.60833) / 10 = 0.70417. Latency: (0 + 2.08333) / 10 = 0.20833; c: (0 + 1.04167) / 10 = 0.10417.
    """
    found = weights(("a", "shop", "hedging", 5, 4), ("c", "shop", "latency", 5, 0))
    assert found == pytest.approx({"a": 0.70417 / 0.41667, "b": 0.60833 / 0.41667, "c": 0.25}, abs=1e-4)


def test_five_good_draws_of_unknown_signal_halve_their_pattern():
    # Usual: 1/7; a: (0 + 5/7) / 10 = 1/14.
    assert weights(("a", "shop", None, 5, 0)) == pytest.approx({"a": 0.5, "b": 1.0, "c": 1.0})
