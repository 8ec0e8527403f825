from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.traces.outline import OUTLINE, outline_frame, unix_ns
from evalpipe_tests.otlp.made import START_NS
from evalpipe_tests.traces.made import written

SECOND = 10**9
START = datetime(2026, 2, 16, tzinfo=UTC)  # START_NS


def outlined(spans: pl.DataFrame, *, seconds_later: float) -> pl.DataFrame:
    return outline_frame(spans.lazy(), now=START + timedelta(seconds=seconds_later), quiet_s=90)


def received(seconds_later: float, **row):
    return {"ingested_at": START + timedelta(seconds=seconds_later), **row}


def test_a_trace_is_open_until_90_seconds_after_its_last_span_ended():
    spans = written(
        received(10, span_id="a", lasts=10 * SECOND),
        received(10, span_id="b", parent_span_id="a", lasts=2 * SECOND),
    )
    assert outlined(spans, seconds_later=99)["is_open"].to_list() == [True]
    assert outlined(spans, seconds_later=101)["is_open"].to_list() == [False]


def test_a_late_span_opens_it_again():
    first = received(10, span_id="a", lasts=10 * SECOND)
    late = received(200, span_id="b", parent_span_id="a", at=195 * SECOND, lasts=4 * SECOND)
    assert outlined(written(first), seconds_later=210)["is_open"].to_list() == [False]
    assert outlined(written(first, late), seconds_later=210)["is_open"].to_list() == [True]


def test_old_traffic_that_lands_now_is_closed():
    assert outlined(written(received(86_400, span_id="a")), seconds_later=86_400)["is_open"].to_list() == [False]


def test_a_clock_that_is_ahead_keeps_no_trace_open_for_longer_than_it_was_received_ago():
    ahead = received(0, span_id="a", at=3_600 * SECOND)
    assert outlined(written(ahead), seconds_later=89)["is_open"].to_list() == [True]
    assert outlined(written(ahead), seconds_later=91)["is_open"].to_list() == [False]


def test_turns_are_counted_by_start_within_a_session():
    spans = written(
        {"trace_id": "late", "span_id": "1", "at": 5},
        {"trace_id": "early", "span_id": "2", "at": 1},
        {"trace_id": "other", "span_id": "3", "at": 3, "session_id": "s2"},
        {"trace_id": "alone", "span_id": "4", "at": 2, "session_id": None},
    )
    found = outlined(spans, seconds_later=0)
    assert dict(found.select("trace_id", "turn_index").rows()) == {"early": 0, "late": 1, "other": 0, "alone": None}


def test_nothing_has_an_outline_without_rows():
    assert outlined(written({"span_id": "a"}).clear(), seconds_later=0).schema == OUTLINE


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)))
def test_a_moment_in_nanoseconds_is_exact(moment: datetime):
    aware = moment.replace(tzinfo=UTC)
    assert unix_ns(aware) == pl.Series([aware]).dt.epoch("us").item() * 1_000


def test_the_start_of_the_tests_is_the_start_here():
    assert unix_ns(START) == START_NS
