import json
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from evalpipe.otlp.landing import Landing
from evalpipe.settings import ObserveSettings
from evalpipe.tables import REJECTIONS, SPANS
from evalpipe.traces.spans import read_segments
from evalpipe_tests.otlp.made import (
    DAY_NS,
    START_NS,
    Application,
    bare_span,
    json_payload,
    protobuf_payload,
    request_of,
)
from evalpipe_tests.traces.made import DAY, LANDED, NOW, READING, frames_of, only_span, spans_of


def test_a_span_carries_what_made_it():
    row = only_span({"input.value": "hi"}, at=5, lasts=20)
    assert (row["segment_id"], row["ingested_at"]) == ("seg_1", LANDED)
    assert (row["day"], row["start_unix_ns"], row["end_unix_ns"]) == (DAY, START_NS + 5, START_NS + 25)
    assert row["is_finished"] is True


def test_both_encodings_of_the_real_sdk_give_equal_rows():
    def request():
        app = Application(**{"deployment.environment": "staging"})
        agent = {"openinference.span.kind": "AGENT", "session.id": "s1", "input.value": "hi"}
        model = {
            "gen_ai.request.model": "m",
            "gen_ai.usage.input_tokens": 3,
            "gen_ai.response.finish_reasons": ["stop"],
        }
        event = ("gen_ai.user.message", {"content": "hi"})
        with app.span("agent", agent), app.span("chat", model, events=[event]):
            pass
        return app.request()

    from_protobuf, from_json = frames_of(protobuf_payload(request())), frames_of(json_payload(request()))

    assert_frame_equal(from_protobuf.spans, from_json.spans)
    assert from_protobuf.spans["environment"].to_list() == ["staging", "staging"]


def test_a_service_without_a_name_is_unknown_service():
    request = request_of(bare_span())
    request.resource_spans[0].ClearField("resource")
    assert frames_of(protobuf_payload(request)).spans["service_name"].to_list() == ["unknown_service"]


def test_an_unfinished_span_ends_where_it_starts_and_says_so():
    (row,) = frames_of(protobuf_payload(request_of(bare_span(end_time_unix_nano=0)))).spans.to_dicts()
    assert row["end_unix_ns"] == row["start_unix_ns"]
    assert row["is_finished"] is False


def at(moment: datetime) -> int:
    return round(moment.timestamp()) * 10**9


@pytest.mark.parametrize("payload_of", [protobuf_payload, json_payload])
def test_spans_outside_the_allowed_times_are_refused_with_the_setting_named(payload_of):
    limits = ObserveSettings(first_day=DAY, max_future_s=60)
    edge = at(LANDED) + 60 * 10**9
    starts = [START_NS - 1, START_NS, edge, edge + 1]
    spans = [bare_span(n, start_time_unix_nano=start, end_time_unix_nano=start) for n, start in enumerate(starts, 1)]

    frames = frames_of(payload_of(request_of(*spans)), settings=limits)

    assert frames.spans["name"].to_list() == ["span 2", "span 3"]
    early, late = frames.rejections.to_dicts()
    assert (early["kind"], early["source"], early["location"]) == ("span", "seg_1", "payload 1, span 1")
    assert "EVALPIPE_OBSERVE__FIRST_DAY" in early["reason"]
    assert late["location"] == "payload 1, span 4"
    assert "EVALPIPE_OBSERVE__MAX_FUTURE_S" in late["reason"]
    assert late["rejected_at"] == NOW
    assert json.loads(late["content"])["name"] == "span 4"


def test_days_are_utc_dates_of_the_start():
    spans = [
        bare_span(n, start_time_unix_nano=START_NS + offset, end_time_unix_nano=0)
        for n, offset in enumerate((0, DAY_NS - 1, DAY_NS), 1)
    ]
    assert frames_of(protobuf_payload(request_of(*spans))).spans["day"].to_list() == [
        DAY,
        DAY,
        DAY + timedelta(days=1),
    ]


def test_no_spans_are_empty_frames_of_the_tables():
    frames = frames_of()
    assert frames.spans.schema == SPANS.schema
    assert frames.rejections.schema == REJECTIONS.schema


def test_segments_are_read_whole_and_a_span_landed_twice_counts_once(tmp_path):
    landing = Landing(tmp_path, ObserveSettings())
    first = request_of(bare_span(1), bare_span(2, trace_id=b""))
    again = request_of(bare_span(1, name="sent again"), bare_span(3))
    ids = [
        segment_id
        for request in (first, again)
        for segment_id in landing.land([protobuf_payload(request)], source="client", now=LANDED).segment_ids
    ]

    frames = read_segments(landing, landing.ledger(), reading=READING, now=NOW)

    assert frames.spans["name"].to_list() == ["span 1", "span 3"]
    assert frames.spans["segment_id"].to_list() == ids
    assert frames.spans["ingested_at"].unique().to_list() == [LANDED]
    (refused,) = frames.rejections.to_dicts()
    assert (refused["source"], refused["location"]) == (ids[0], "payload 1, span 2")
    again_read = read_segments(landing, landing.ledger(), reading=READING, now=NOW)
    assert_frame_equal(again_read.rejections, frames.rejections)


KEYS = st.sampled_from(
    [
        *("session.id", "input.value", "output.value", "gen_ai.request.model", "gen_ai.response.model", "tool.name"),
        *("tool.success", "gen_ai.usage.input_tokens", "llm.cost.total", "openinference.span.kind", "error.type"),
        *("gen_ai.operation.name", "llm.input_messages.0.message.role", "gen_ai.input.messages", "mine"),
    ]
)
VALUES = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.booleans() | st.integers(-9, 9) | st.floats()
)


@given(st.dictionaries(KEYS, VALUES, max_size=8))
@settings(max_examples=60, deadline=None)
def test_whatever_the_attributes_a_span_becomes_a_row_and_nothing_is_lost(attributes):
    row = only_span(attributes)
    columns = [row[name] for name in SPANS.column_names if name != "attributes"]
    kept = json.loads(row["attributes"] or "{}")
    words = " ".join(str(value) for value in columns)
    for key, value in attributes.items():
        if isinstance(value, str) and value.strip(' "') and not key.startswith("llm."):
            assert key in kept or value.strip(' "').lower() in words.lower()


def test_rows_conform_to_the_table():
    app = Application()
    with app.span("a", {"input.value": "x"}):
        pass
    spans = spans_of(app)
    assert spans.schema == SPANS.schema
    assert isinstance(spans["day"][0], date)
    assert spans.select(pl.col("trace_id").str.len_chars(), pl.col("span_id").str.len_chars()).row(0) == (32, 16)
