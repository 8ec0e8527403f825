from datetime import timedelta

import polars as pl
import pytest

from evalpipe.tables import TRACES
from evalpipe_tests.bench_triage.load import SPANS_PER_TRACE, Days
from evalpipe_tests.bench_triage.worlds import MONDAY


@pytest.fixture(scope="module")
def days() -> Days:
    return Days(1_000, base_sessions_per_day=20)


def test_a_day_has_the_traces_asked_for_with_about_ten_spans(days: Days):
    traces = TRACES.conform(days.on(MONDAY))

    assert traces.height == traces["trace_id"].n_unique() == days.n_traces == 1_000
    assert days.n_spans / days.n_traces == pytest.approx(SPANS_PER_TRACE, rel=0.1)
    assert traces.select((pl.from_epoch("start_unix_ns", "ns").dt.date() == pl.col("day")).all()).item()


def test_another_day_has_other_ids_but_for_a_tenth_of_the_users(days: Days):
    monday, friday = (days.on(MONDAY + timedelta(days=n)) for n in (0, 4))

    for column in ("trace_id", "session_id"):
        assert not set(monday[column]) & set(friday[column])
    users = set(monday["user_id"])
    assert 0.02 < len(users & set(friday["user_id"])) / len(users) < 0.25
    assert friday["day"].unique().to_list() == [MONDAY + timedelta(days=4)]


def test_a_number_that_a_session_repeats_is_the_same_in_every_copy(days: Days):
    number = pl.col("request").str.extract(r"SO-(\d+)")
    asked = days.on(MONDAY).select("session_id", "request", "transcript", number=number).drop_nulls("number")

    in_transcript = pl.col("transcript").list.eval(pl.element().struct.field("content")).list.join(" ")
    assert asked.select(in_transcript.str.contains("SO-" + pl.col("number")).all()).item()
    assert asked["number"].n_unique() > 100  # a copy is not the same text again
