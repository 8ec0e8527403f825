from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evalpipe.lake.store import Lake
from evalpipe.settings import ObserveSettings, SignalSettings
from evalpipe.signals.on_lake import measure_day, score_day
from evalpipe.tables import TRACE_FEATURES, TRACE_SIGNALS, TRACES
from evalpipe_tests.signals.made import TODAY, YESTERDAY, frame, trace, usual

_DAY_S = 86_400
OBSERVE, SIGNALS = ObserveSettings(session_days=3), SignalSettings(history_days=5)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def written(lake: Lake, *rows: dict[str, Any]) -> None:
    for day in {row["day"] for row in rows}:
        lake.replace(TRACES, frame(*[row for row in rows if row["day"] == day]), partition=day)


def test_a_day_is_measured_and_remembers_what_it_was_made_from(lake: Lake):
    written(lake, usual(1), usual(2), usual(3, day=YESTERDAY))
    rows = measure_day(lake, TODAY, OBSERVE, made_from=7)
    assert rows.height == 2
    assert lake.read(TRACE_FEATURES).sort("trace_id").equals(rows.sort("trace_id"))
    assert lake.made_from(TRACE_FEATURES, [str(TODAY)]) == {str(TODAY): 7}


def test_half_a_trace_is_not_measured(lake: Lake):
    written(lake, usual(1), usual(2, is_open=True))
    assert measure_day(lake, TODAY, OBSERVE, made_from=None).height == 1


def test_sessions_reach_back_some_days_and_users_without_one_a_day(lake: Lake):
    text = "why was my card charged twice for the lamp"
    days_ago = {days: TODAY - timedelta(days=days) for days in (1, 3, 4)}
    written(
        lake,
        trace(3 * _DAY_S + 9, ("user", text), session_id=None, user_id="u", day=days_ago[1]),
        trace(_DAY_S, ("user", "hello there shop"), session_id="long", day=days_ago[3]),
        trace(0, ("user", "hello there shop"), session_id="old", day=days_ago[4]),
        trace(4 * _DAY_S, ("user", text), session_id=None, user_id="u"),
        trace(4 * _DAY_S + 1, ("user", "and now to this"), session_id="long"),
        trace(4 * _DAY_S + 2, ("user", "and now to that"), session_id="old"),
    )
    rows = measure_day(lake, TODAY, OBSERVE, made_from=None).sort("session_id")
    assert rows.select("session_id", "n_turns").rows() == [(None, 1), ("long", 2), ("old", 1)]
    assert rows.row(0, named=True)["similarity"] == pytest.approx(1)


def test_chunks_keep_sessions_and_users_whole(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    written(lake, *[usual(n, session_id=[None, "s", "t"][n % 3], user_id=f"u{n % 5}") for n in range(40)])
    # How rare a word is among the requests measured together weighs in a similarity: whether there is one is compared.
    compared = pl.all().exclude("similarity", "n_times_asked", "evidence"), pl.col("similarity").is_null()
    whole = measure_day(lake, TODAY, OBSERVE, made_from=None).select(*compared)
    monkeypatch.setattr("evalpipe.signals.on_lake._CHUNK_TRACES", 3)
    assert measure_day(lake, TODAY, OBSERVE, made_from=None).select(*compared).equals(whole)
    assert whole["similarity"].any()


def test_a_day_is_scored_against_the_days_before_and_never_the_future(lake: Lake):
    loop = [("user", "please order the blue lamp"), *[("call", "search", "{}")] * 6]
    tomorrow, long_ago = TODAY + timedelta(days=1), TODAY - timedelta(days=6)
    written(
        lake,
        *[usual(1_000 + n, day=YESTERDAY) for n in range(60)],
        *[trace(2_000 + n, *loop, day=tomorrow) for n in range(200)],
        *[trace(3_000 + n, *loop, day=long_ago) for n in range(200)],
        trace(1, *loop),
    )
    for day in (long_ago, YESTERDAY, TODAY, tomorrow):
        measure_day(lake, day, OBSERVE, made_from=None)
    rows = score_day(lake, TODAY, SIGNALS, made_from=9)
    assert rows["flagged"].to_list()[0][0] == "repetition"
    assert lake.read(TRACE_SIGNALS).equals(rows)
    assert lake.made_from(TRACE_SIGNALS, [str(TODAY)]) == {str(TODAY): 9}


def test_of_the_history_about_as_many_are_read_as_are_used(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    written(
        lake,
        *[usual(1_000 + n, day=YESTERDAY) for n in range(300)],
        *[usual(2_000 + n, day=YESTERDAY - timedelta(days=1), service_name="other") for n in range(300)],
        usual(1),
    )
    for day in (YESTERDAY - timedelta(days=1), YESTERDAY, TODAY):
        measure_day(lake, day, OBSERVE, made_from=None)
    heights: list[int] = []
    real = score_day.__globals__["signal_frame"]
    monkeypatch.setattr("evalpipe.signals.anomaly.MAX_REFERENCE", 100)
    monkeypatch.setattr(
        "evalpipe.signals.on_lake.signal_frame",
        lambda today, past, asked: heights.append(past.height) or real(today, past, asked),
    )
    score_day(lake, TODAY, SIGNALS, made_from=None)
    # 300 draws below a third: 100 expected, a standard deviation is 8.2
    assert heights[0] == pytest.approx(100, abs=25)


def test_a_day_without_traces_is_written_empty(lake: Lake):
    assert measure_day(lake, TODAY, OBSERVE, made_from=3).is_empty()
    assert score_day(lake, TODAY, SIGNALS, made_from=4).is_empty()
    assert lake.made_from(TRACE_FEATURES, [str(TODAY)]) == {str(TODAY): 3}


def test_one_enormous_trace_passes(lake: Lake):
    text = "the lamp costs 30 euros and arrives soon. " * 60_000  # 2.5 MB each
    written(lake, trace(1, ("user", "hello"), ("call", "a", "{}"), ("result", "a", text), ("assistant", text)))
    measure_day(lake, TODAY, OBSERVE, made_from=None)
    (row,) = score_day(lake, TODAY, SIGNALS, made_from=None).rows(named=True)
    assert row["unsupported_value"] == 0
