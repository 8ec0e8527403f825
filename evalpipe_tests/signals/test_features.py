from typing import Any

import polars as pl
import pytest

from evalpipe.signals.features import NUMBERS, feature_frame
from evalpipe.tables import TRACE_FEATURES
from evalpipe_tests.signals.made import TODAY, YESTERDAY, frame, trace, usual

_SECOND = 1_000_000_000


def features_of(*rows: dict[str, Any], earlier: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    found = feature_frame(frame(*rows), frame(*(earlier or [])))
    by_id = {row["trace_id"]: row for row in found.iter_rows(named=True)}
    return [by_id[row["trace_id"]] for row in rows]


def test_a_trace_without_messages_has_one_turn_no_answer_and_nothing_to_compare():
    (bare,) = features_of(trace(0))
    assert (bare["n_turns"], bare["n_user_messages"], bare["n_times_asked"], bare["n_repeats"]) == (1, 0, 1, 0)
    assert (bare["calls"], bare["evidence"], bare["is_left_unanswered"]) == ([], [], False)
    for unknown in ("similarity", "n_answer_words", "hedges_per_100_words", "unsupported", "broken_output"):
        assert bare[unknown] is None


def test_every_part_of_the_room_is_in_the_row():
    (row,) = features_of(
        trace(
            0,
            ("user", "please order the blue lamp now"),
            ("call", "pay", "{}"),
            ("error", "pay", "card declined"),
            ("user", "please order the blue lamp now"),
            ("assistant", "Maybe it is ordered for 99 euros."),
        )
    )
    assert (row["n_turns"], row["n_times_asked"], row["n_ignored_errors"]) == (2, 2, 1)
    assert row["hedges"] == ["maybe"]
    assert row["n_unsupported_numbers"] == 1
    assert {"ignored_error", "hedging", "unsupported"} <= {place["signal"] for place in row["evidence"]}


def test_turns_and_time_count_from_the_first_trace_of_the_session():
    first = trace(0, ("user", "where is my parcel"), ("user", "it is late already"), session_id="s")
    second = trace(60, ("user", "what about a refund then"), session_id="s")
    found = features_of(first, second)
    assert [row["n_turns"] for row in found] == [2, 3]
    # each takes two seconds, the second starts a minute later
    assert [row["session_s"] for row in found] == pytest.approx([2, 62])


def test_traces_of_days_before_make_the_session_longer_and_get_no_row():
    day_s = 86_400
    before = [
        trace(n, ("user", f"question {n} of yesterday"), session_id="s", day=YESTERDAY) | {"start_unix_ns": n * _SECOND}
        for n in (10, 20)
    ]
    today = trace(day_s, ("user", "and another today"), session_id="s")
    (row,) = features_of(today, earlier=before)
    assert (row["n_turns"], row["session_s"]) == (3, pytest.approx(day_s + 2 - 10))


def test_context_grows_with_the_tokens_a_model_call_reads():
    rows = [
        trace(0, session_id="s", n_input_tokens=300, n_llm_calls=1),
        trace(1, session_id="s", n_input_tokens=1800, n_llm_calls=2),  # 900 a call: three times as much
        trace(2, session_id="s", n_input_tokens=None),
    ]
    assert [row["context_growth"] for row in features_of(*rows)] == [1, 3, None]


def test_tokens_are_unknown_only_when_none_were_reported():
    none = trace(0, n_input_tokens=None, n_output_tokens=None)
    half = trace(1, n_input_tokens=70, n_output_tokens=None)
    assert [row["n_tokens"] for row in features_of(none, half)] == [None, 70]


def test_an_error_of_the_application_and_its_defects_are_kept():
    (row,) = features_of(trace(0, status="error", defects=["unfinished"], is_complete=False))
    assert (row["is_error"], row["defects"]) == (True, ["unfinished"])


def test_a_draw_is_of_the_session_and_spreads_evenly():
    found = feature_frame(
        frame(*[trace(n, session_id=f"s{n // 2}") for n in range(400)], trace(900, session_id=None)), frame()
    )
    assert found["draw"].is_sorted()
    assert found.group_by("session_id").agg(pl.col("draw").n_unique())["draw"].max() == 1
    # 201 sessions: the mean of as many uniform draws lies within 3 * sqrt(1 / 12 / 201) = 0.061 of a half
    assert found.unique("session_id")["draw"].mean() == pytest.approx(0.5, abs=0.061)


def test_the_draw_of_a_session_is_the_same_for_ever():
    # the first 13 hex digits of sha256("s") are 043a718774c57 (coreutils' sha256sum)
    (row,) = features_of(trace(0, session_id="s"))
    assert row["draw"] == 0x043A718774C57 / 16**13


def test_no_traces_have_no_features():
    assert feature_frame(frame(), frame()).equals(TRACE_FEATURES.empty())


def test_the_order_in_which_traces_come_does_not_matter():
    rows = frame(*[usual(n, session_id=f"s{n % 7}", day=TODAY) for n in range(30)])
    assert feature_frame(rows.reverse(), frame()).equals(feature_frame(rows, frame()))


@pytest.mark.parametrize("wanted", [sorted(NUMBERS), ["session_s", "is_error"], *([name] for name in sorted(NUMBERS))])
def test_numbers_by_themselves_are_those_of_the_whole_row(wanted):
    rows = frame(
        trace(0),
        trace(1, ("user", "please order the blue lamp now"), ("assistant", "Maybe it is ordered for 99 euros.")),
        trace(2, ("user", "please order the blue lamp now"), ("error", "pay", "declined"), ("assistant", "Oui, bien.")),
    )
    alone = feature_frame(rows, frame(), numbers=wanted)
    whole = feature_frame(rows, frame())
    assert alone.columns == ["trace_id", *wanted]
    assert alone.equals(whole.select(pl.col(name).cast(alone.schema[name]) for name in alone.columns))
