"""What is stale, on a real home: segments, closing traces, another code version."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from evalpipe import plan
from evalpipe.home import Home
from evalpipe.plan import expected, made_from, stale
from evalpipe.tables import SPANS, TRACES
from evalpipe.traces.on_lake import roll_up_day, take_in_day
from evalpipe_tests.otlp.made import bare_span, protobuf_payload, request_of

NOON = datetime(2026, 2, 16, 12, tzinfo=UTC)
DAY = date(2026, 2, 16)


def land(home: Home, number: int, *, at: datetime, lasts_s: int = 1) -> None:
    """A span that ends when it is received."""
    end = int(at.timestamp()) * 10**9
    span = bare_span(number, start_time_unix_nano=end - lasts_s * 10**9, end_time_unix_nano=end)
    home.landing.land([protobuf_payload(request_of(span))], source="client", now=at)


def take_in(home: Home, now: datetime) -> None:
    def inputs(ids):
        return made_from("spans", list(ids))

    take_in_day(home.landing, home.lake, DAY, reading=home.reading, now=now, made_from=inputs)


def roll_up(home: Home, now: datetime) -> None:
    should_be = expected(home, "traces", now)[str(DAY)]
    roll_up_day(home.lake, DAY, settings=home.settings.observe, now=now, made_from=should_be, code_version=1)


def test_a_day_is_stale_until_all_its_segments_are_in_spans(empty_home: Home):
    land(empty_home, 1, at=NOON)
    assert stale(empty_home, "spans", NOON).partitions == (str(DAY),)
    take_in(empty_home, NOON)
    assert stale(empty_home, "spans", NOON).partitions == ()
    land(empty_home, 2, at=NOON + timedelta(seconds=1))
    assert stale(empty_home, "spans", NOON).partitions == (str(DAY),)


def test_only_new_segments_are_decoded(empty_home: Home, monkeypatch: pytest.MonkeyPatch):
    land(empty_home, 1, at=NOON)
    take_in(empty_home, NOON)
    land(empty_home, 2, at=NOON + timedelta(seconds=1))
    read: list[str] = []
    payloads = empty_home.landing.payloads
    monkeypatch.setattr(empty_home.landing, "payloads", lambda name: read.append(name) or payloads(name))
    take_in(empty_home, NOON)
    assert read == empty_home.landing.ledger_of(DAY)["segment_id"].to_list()[1:]
    assert empty_home.lake.read(SPANS).height == 2


def test_a_trace_that_has_been_quiet_makes_its_day_stale_once(empty_home: Home):
    land(empty_home, 1, at=NOON)
    take_in(empty_home, NOON)
    roll_up(empty_home, NOON + timedelta(seconds=10))
    assert empty_home.lake.read(TRACES)["is_open"].to_list() == [True]
    assert stale(empty_home, "traces", NOON + timedelta(seconds=80)).partitions == ()
    closed = NOON + timedelta(seconds=95)
    assert stale(empty_home, "traces", closed).partitions == (str(DAY),)
    roll_up(empty_home, closed)
    assert empty_home.lake.read(TRACES)["is_open"].to_list() == [False]
    assert stale(empty_home, "traces", closed + timedelta(days=1)).partitions == ()


def test_a_late_span_opens_the_trace_again(empty_home: Home):
    land(empty_home, 1, at=NOON)
    take_in(empty_home, NOON)
    roll_up(empty_home, NOON + timedelta(hours=1))
    assert empty_home.lake.read(TRACES)["is_open"].to_list() == [False]
    late = NOON + timedelta(hours=2)
    end = int(late.timestamp()) * 10**9
    span = bare_span(1, span_id=b"late-one", start_time_unix_nano=end - 10, end_time_unix_nano=end)
    empty_home.landing.land([protobuf_payload(request_of(span))], source="client", now=late)
    take_in(empty_home, late)
    roll_up(empty_home, late + timedelta(seconds=1))
    assert empty_home.lake.read(TRACES).select("n_spans", "is_open").rows() == [(2, True)]


def test_what_another_code_version_decoded_is_decoded_again(empty_home: Home, monkeypatch: pytest.MonkeyPatch):
    land(empty_home, 1, at=NOON)
    take_in(empty_home, NOON)
    empty_home.lake.replace(SPANS, empty_home.lake.read(SPANS).with_columns(name=pl.lit("badly read")), partition=DAY)
    take_in(empty_home, NOON)
    assert empty_home.lake.read(SPANS)["name"].to_list() == ["badly read"]  # nothing new, nothing done
    monkeypatch.setattr(plan, "CODE_VERSIONS", {**plan.CODE_VERSIONS, "spans": "next"})
    assert stale(empty_home, "spans", NOON).partitions == (str(DAY),)
    take_in(empty_home, NOON)
    assert empty_home.lake.read(SPANS)["name"].to_list() == ["span 1"]
