"""Traces and sessions on real tables: only what changed is made again, and what a killed run left is completed."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from evalpipe.lake.store import Lake
from evalpipe.settings import ObserveSettings
from evalpipe.tables import SESSIONS, SPANS, TRACES
from evalpipe.traces import on_lake
from evalpipe.traces.on_lake import DayRolledUp, roll_up_day, roll_up_sessions
from evalpipe_tests.otlp.made import DAY_NS
from evalpipe_tests.traces.made import DAY, LANDED, traces_on, written

SETTINGS = ObserveSettings()
LATER = LANDED + timedelta(hours=1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def rolled(lake: Lake, *, now: datetime = LATER, made_from: int = 1, code_version: int = 1) -> DayRolledUp:
    return roll_up_day(lake, DAY, settings=SETTINGS, now=now, made_from=made_from, code_version=code_version)


def traces_of(n: int, **row) -> pl.DataFrame:
    rows = [
        span
        for number in range(n)
        for trace in [f"t{number:03}"]
        for span in (
            {"trace_id": trace, "span_id": f"{trace}-root", "at": number, "session_id": f"s{number // 3}", **row},
            {"trace_id": trace, "span_id": f"{trace}-call", "at": number, "parent_span_id": f"{trace}-root", **row},
        )
    ]
    return written(*rows)


def test_only_traces_whose_spans_changed_are_made_again(lake: Lake):
    lake.append_new(SPANS, traces_of(9))
    assert rolled(lake) == DayRolledUp(n_rows=9, n_changed=9, n_open=0)
    late = written({"trace_id": "t004", "span_id": "late", "parent_span_id": "t004-root", "at": 4})
    lake.append_new(SPANS, late)
    assert rolled(lake, made_from=2).n_changed == 1
    assert lake.made_from(TRACES, [str(DAY)]) == {str(DAY): 2}
    assert lake.read(TRACES).sort("trace_id")["n_spans"].to_list() == [2, 2, 2, 2, 3, 2, 2, 2, 2]


def test_whatever_the_order_of_arrival_the_traces_are_those_of_all_spans_at_once(lake: Lake):
    spans = traces_of(9)
    for part in (spans[10:], spans[3:12], spans[:3]):
        lake.append_new(SPANS, part)
        rolled(lake)
    assert_frame_equal(lake.read(TRACES).sort("trace_id"), traces_on(spans))


def test_a_new_first_turn_moves_the_turns_after_it(lake: Lake):
    lake.append_new(SPANS, traces_of(6).filter(pl.col("trace_id") != "t000"))
    rolled(lake)
    lake.append_new(SPANS, traces_of(1))
    assert rolled(lake).n_changed == 3  # t000, and t001 and t002 of its session, which were turns 0 and 1
    assert lake.read(TRACES).sort("trace_id")["turn_index"].to_list() == [0, 1, 2, 0, 1, 2]


def test_a_trace_closes_without_a_new_span(lake: Lake):
    just_landed = LANDED + timedelta(seconds=30)
    now_ns = 10**9 * int(LANDED.timestamp())
    fresh = traces_of(2).with_columns(end_unix_ns=pl.lit(now_ns))
    lake.append_new(SPANS, fresh)
    assert rolled(lake, now=just_landed) == DayRolledUp(2, 2, 2)
    assert rolled(lake, now=LATER) == DayRolledUp(2, 2, 0)
    assert not lake.read(TRACES)["is_open"].any()


def test_a_trace_whose_earlier_span_lands_on_the_day_before_leaves_this_day(lake: Lake):
    lake.append_new(SPANS, traces_of(2))
    rolled(lake)
    lake.append_new(SPANS, written({"trace_id": "t001", "span_id": "first", "at": -DAY_NS // 2}))
    rolled(lake)
    assert lake.read(TRACES)["trace_id"].to_list() == ["t000"]


def test_a_new_code_version_makes_every_trace_again(lake: Lake):
    lake.append_new(SPANS, traces_of(4))
    rolled(lake)
    assert rolled(lake).n_changed == 0
    assert rolled(lake, code_version=2).n_changed == 4
    assert lake.read(TRACES).height == 4


def test_a_day_larger_than_a_batch_is_made_in_several_commits(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(on_lake, "_BATCH_SPANS", 4)
    lake.append_new(SPANS, traces_of(9))
    rolled(lake)
    assert lake.version(TRACES) == 5  # 18 spans, 4 a commit: five commits after version 0, which made the table
    assert_frame_equal(lake.read(TRACES).sort("trace_id"), traces_on(traces_of(9)))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("n_commits", range(5))
def test_what_a_killed_run_left_is_completed(lake: Lake, monkeypatch: pytest.MonkeyPatch, n_commits: int):
    monkeypatch.setattr(on_lake, "_BATCH_SPANS", 4)
    lake.append_new(SPANS, traces_of(9))
    write, left = Lake._write, [n_commits]

    def dying(*arguments, **options):
        if not left[0]:
            raise Killed
        left[0] -= 1
        write(*arguments, **options)

    monkeypatch.setattr(Lake, "_write", dying)
    with pytest.raises(Killed):
        rolled(lake, made_from=7)
    monkeypatch.setattr(Lake, "_write", write)
    assert lake.made_from(TRACES, [str(DAY)]) == {str(DAY): None}  # still stale
    rolled(lake, made_from=7)
    assert lake.made_from(TRACES, [str(DAY)]) == {str(DAY): 7}
    assert_frame_equal(lake.read(TRACES).sort("trace_id"), traces_on(traces_of(9)))


def sessions(lake: Lake) -> DayRolledUp:
    return roll_up_sessions(lake, DAY, settings=SETTINGS, made_from=1)


def test_only_sessions_that_changed_are_written_again(lake: Lake):
    lake.append_new(SPANS, traces_of(9))
    rolled(lake)
    assert sessions(lake) == DayRolledUp(n_rows=3, n_changed=3, n_open=0)
    assert sessions(lake).n_changed == 0
    lake.append_new(SPANS, written({"trace_id": "new", "span_id": "new", "at": 50, "session_id": "s1"}))
    rolled(lake)
    assert sessions(lake).n_changed == 1
    turns = dict(lake.read(SESSIONS).select("session_id", "n_turns").rows())
    assert turns == {"s0": 3, "s1": 4, "s2": 3}


def test_a_session_that_begins_a_day_earlier_after_all_moves_there(lake: Lake):
    lake.append_new(SPANS, traces_of(3))
    rolled(lake)
    sessions(lake)
    lake.append_new(SPANS, written({"trace_id": "before", "span_id": "b", "at": -DAY_NS // 2, "session_id": "s0"}))
    before = DAY - timedelta(days=1)
    roll_up_day(lake, before, settings=SETTINGS, now=LATER, made_from=1, code_version=1)
    roll_up_sessions(lake, before, settings=SETTINGS, made_from=1)
    (session,) = lake.read(SESSIONS).to_dicts()
    assert (session["first_day"], session["n_turns"], session["trace_ids"][0]) == (before, 4, "before")


def test_a_session_whose_traces_all_turned_out_to_be_of_another_is_removed(lake: Lake):
    lake.append_new(SPANS, written({"span_id": "child", "parent_span_id": "root", "session_id": "guessed", "at": 1}))
    rolled(lake)
    sessions(lake)
    lake.append_new(SPANS, written({"span_id": "root", "session_id": "true"}))
    rolled(lake)
    sessions(lake)
    assert lake.read(SESSIONS)["session_id"].to_list() == ["true"]
