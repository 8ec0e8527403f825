import gc
import json
from datetime import date

import polars as pl
import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from evalpipe.otlp.columns import RAW_SCHEMA, Promotion, column_of
from evalpipe.otlp.payload import Payload, Refused
from evalpipe.otlp.wire import Contents, decode, inspect, trace_ids
from evalpipe_tests.otlp.made import (
    START_NS,
    Application,
    bare_span,
    json_bytes,
    json_document,
    json_payload,
    protobuf_payload,
    request_of,
)

PROMOTION = Promotion(frozenset({"input.value", "n", "flag", "list"}), ("flat.",), frozenset({"n"}))


def worked() -> Application:
    """A service that did a bit of everything."""
    resource = {"deployment.environment.name": "production", "evalpipe.gate.id": "ci-7", "host.name": "h1"}
    app = Application(**resource)
    attributes = {
        "input.value": "how much?",
        "n": 3,
        "flag": True,
        "list": ["a", "b"],
        "ratio": 0.5,
        "other": "x",
        "flat.1.role": "user",
        "flat.0.role": "system",
    }
    raised = ("exception", {"exception.type": "KeyError"})
    with (
        app.span("root", attributes, lasts=5_000),
        app.span("child", {"other": "y"}, at=10, error="no such order", events=[raised]),
    ):
        pass
    return app


@pytest.mark.parametrize("promotion", [Promotion(), PROMOTION])
def test_protobuf_and_json_of_the_real_sdk_give_equal_frames(promotion):
    request = worked().request()

    from_protobuf = decode([protobuf_payload(request)], promotion)
    from_json = decode([json_payload(request)], promotion)

    assert from_protobuf.spans.equals(from_json.spans)
    assert not from_protobuf.refused
    assert not from_json.refused


def test_a_span_keeps_everything_it_said():
    spans = decode([protobuf_payload(worked().request())]).spans
    child, root = spans.to_dicts()

    assert (root["name"], child["name"]) == ("root", "child")
    assert child["parent_span_id"] == root["span_id"]
    assert root["parent_span_id"] is None
    assert child["trace_id"] == root["trace_id"]
    assert (root["start_unix_ns"], root["end_unix_ns"]) == (START_NS, START_NS + 5_000)
    assert (child["status_code"], child["status_message"]) == (2, "no such order")
    assert (root["service_name"], root["service_version"], root["environment"]) == ("shop", "1.2.3", "production")
    assert (root["gate_ref"], child["gate_ref"]) == ("ci-7", "ci-7")
    assert json.loads(root["resource"])["host.name"] == "h1"
    assert json.loads(root["resource"])["otel.scope.name"] == "made"
    assert json.loads(child["events"]) == [
        {"name": "exception", "time_unix_ns": START_NS + 10, "attributes": {"exception.type": "KeyError"}}
    ]
    assert json.loads(root["attributes"])["list"] == ["a", "b"]


def test_promoted_attributes_become_columns_and_the_rest_stay_together():
    spans = decode([protobuf_payload(worked().request())], PROMOTION).spans
    _, root = spans.to_dicts()

    assert root[column_of("input.value")] == "how much?"
    assert (root[column_of("n")], root[column_of("flag")], root[column_of("list")]) == ("3", "true", '["a","b"]')
    assert json.loads(root[column_of("flat.")]) == {"1.role": "user", "0.role": "system"}
    # `n` is kept besides; the promoted others are not said twice.
    assert json.loads(root["attributes"]) == {"n": 3, "ratio": 0.5, "other": "x"}
    assert spans[column_of("n")].to_list() == [None, "3"]


def test_links_keep_what_they_point_to():
    span = bare_span()
    span.links.add(trace_id=b"\x01" * 16, span_id=b"\x02" * 8)
    for payload in (protobuf_payload(request_of(span)), json_payload(request_of(span))):
        (links,) = decode([payload]).spans["links"]
        assert json.loads(links) == [{"trace_id": "01" * 16, "span_id": "02" * 8, "attributes": {}}]


def test_json_ids_may_be_upper_case_and_numbers_may_be_numbers():
    document = json_document(request_of(bare_span(171)))
    (span,) = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    span["traceId"], span["startTimeUnixNano"] = span["traceId"].upper(), int(span["startTimeUnixNano"])
    span["unknownField"] = {"is": "ignored"}

    spans = decode([Payload(json.dumps(document).encode(), "json", "line 1")]).spans

    assert spans["trace_id"].to_list() == ["0" * 30 + "ab"]
    assert spans["start_unix_ns"].to_list() == [START_NS + 171]


def test_a_span_without_an_end_is_unfinished_not_refused():
    decoded = decode([protobuf_payload(request_of(bare_span(end_time_unix_nano=0)))])
    assert decoded.spans["end_unix_ns"].to_list() == [None]


def test_a_parent_of_zeros_is_no_parent():
    for payload_of in (protobuf_payload, json_payload):
        decoded = decode([payload_of(request_of(bare_span(parent_span_id=b"\x00" * 8)))])
        assert decoded.spans["parent_span_id"].to_list() == [None]


@pytest.mark.parametrize("payload_of", [protobuf_payload, json_payload])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trace_id": b""}, "no trace id"),
        ({"span_id": b""}, "no span id"),
        ({"trace_id": b"\x01" * 15}, "not 32 hex digits"),
        ({"span_id": b"\x01" * 9}, "not 16 hex digits"),
        ({"trace_id": b"\x00" * 16}, "trace id is all zeros"),
        ({"span_id": b"\x00" * 8}, "span id is all zeros"),
        ({"parent_span_id": b"\x01"}, "parent span id"),
        ({"start_time_unix_nano": 0}, "no start time"),
        ({"end_time_unix_nano": START_NS - 1}, "ends 2 ns before it starts"),
        ({"start_time_unix_nano": 2**63}, "beyond the year 2262"),
    ],
)
def test_a_bad_span_is_refused_with_its_place_and_the_rest_goes_on(payload_of, changes, reason):
    request = request_of(bare_span(9), bare_span(1, **changes), bare_span(8))

    decoded = decode([payload_of(request, "payload 7")])

    assert decoded.spans["name"].to_list() == ["span 9", "span 8"]
    (refused,) = decoded.refused
    assert refused.location == "payload 7, span 2"
    assert reason in refused.reason
    assert refused.content is not None
    assert b"span 1" in refused.content


def test_a_json_span_with_misshapen_attributes_is_refused_alone():
    document = json_document(request_of(bare_span(1), bare_span(2), bare_span(3)))
    spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    # The promoted key comes first: nothing of a refused span may leak into the next one's columns.
    spans[1]["attributes"] = [{"key": "input.value", "value": {"stringValue": "leak"}}, {"key": 5}]

    decoded = decode([Payload(json.dumps(document).encode(), "json", "line 1")], PROMOTION)

    assert decoded.spans["name"].to_list() == ["span 1", "span 3"]
    assert decoded.spans[column_of("input.value")].to_list() == [None, None]
    assert [refused.location for refused in decoded.refused] == ["line 1, span 2"]


def test_an_unreadable_payload_is_refused_whole_and_the_rest_goes_on():
    bad = Payload(b"\xff\xff", "protobuf", "payload 1")
    damaged = Refused("payload 2", "its checksum does not match", b"x")

    decoded = decode([bad, damaged, protobuf_payload(request_of(bare_span()), "payload 3")])

    assert decoded.spans.height == 1
    assert decoded.refused[0][::2] == ("payload 1", b"\xff\xff")
    assert decoded.refused[1] == damaged


def test_logs_and_metrics_are_recognised_though_they_parse():
    logs, metrics = ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(severity_text="INFO", trace_id=b"\x01" * 16)
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="requests")
    for request in (logs, metrics):
        refused = inspect(Payload(request.SerializeToString(), "protobuf", "message 1"))
        assert isinstance(refused, Refused)
        assert "logs or metrics" in refused.reason


def test_protobufs_own_json_with_base64_ids_is_refused_not_misread():
    refused = inspect(Payload(MessageToJson(request_of(bare_span())).encode(), "json", "line 1"))
    assert isinstance(refused, Refused)


@pytest.mark.parametrize("payload_of", [protobuf_payload, json_payload])
def test_landing_learns_the_number_of_spans_their_days_and_what_decoding_will_refuse(payload_of):
    spans = (
        bare_span(1, trace_id=bytes(16)),
        bare_span(2, start_time_unix_nano=START_NS - 1),
        bare_span(3, trace_id=b""),
        bare_span(4, end_time_unix_nano=0),
        bare_span(5, start_time_unix_nano=2**63),
    )
    payload = payload_of(request_of(*spans))

    contents = inspect(payload)

    # Spans 1, 3 and 5; the first two days are those of spans 2 and of all others, 5 has none.
    days = frozenset({date(2026, 2, 16), date(2026, 2, 15)})
    assert contents == Contents(5, days, 3, "its trace id is all zeros")
    refusals = decode([payload]).refused
    assert (len(refusals), refusals[0].reason) == (contents.n_unusable, contents.first_problem)
    assert trace_ids([payload_of(request_of(bare_span(2), bare_span(3, trace_id=b"")))]) == {"0" * 31 + "2"}


def test_a_sound_payload_has_no_problem_and_an_empty_one_is_sound():
    assert inspect(protobuf_payload(worked().request())) == Contents(2, frozenset({date(2026, 2, 16)}), 0, None)
    for empty in (Payload(b"", "protobuf", "payload 1"), Payload(b"{}", "json", "payload 1")):
        assert inspect(empty) == Contents(0, frozenset(), 0, None)


def test_a_json_span_whose_time_is_no_number_is_counted_with_its_problem():
    document = json_document(request_of(bare_span(1), bare_span(2)))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["startTimeUnixNano"] = "soon"
    contents = inspect(Payload(json.dumps(document).encode(), "json", "line 1"))
    assert isinstance(contents, Contents)
    assert (contents.n_spans, contents.n_unusable) == (2, 1)
    assert contents.first_problem == "startTimeUnixNano is 'soon', not a whole number"


def test_a_row_says_which_of_the_given_payloads_it_is_of():
    damaged = Refused("payload 2", "its checksum does not match", b"x")
    one, two = protobuf_payload(request_of(bare_span(1), bare_span(2))), json_payload(request_of(bare_span(3)))
    assert decode([one, damaged, two, one]).spans["payload"].to_list() == [0, 0, 2, 3, 3]


def test_no_payloads_give_an_empty_frame_of_the_same_columns():
    spans = decode([], PROMOTION).spans
    assert spans.height == 0
    assert spans.schema == pl.Schema(
        {**RAW_SCHEMA, **{column_of(k): pl.String for k in ("flag", "input.value", "list", "n", "flat.")}}
    )


def test_decoding_leaves_the_garbage_collector_as_it_was():
    decode([protobuf_payload(request_of(bare_span()))])
    assert gc.isenabled()


KEYS = (
    *("resourceSpans", "scopeSpans", "spans", "resource", "scope", "attributes", "events", "links", "status"),
    *("key", "value", "traceId", "spanId", "startTimeUnixNano", "stringValue", "arrayValue", "values"),
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=25,
)


@given(JSON_VALUES)
@settings(max_examples=150, deadline=None)
def test_any_json_is_decoded_or_refused(value):
    for document in (value, {"resourceSpans": [{"scopeSpans": [{"spans": [value]}]}]}):
        payload = Payload(json.dumps(document).encode(), "json", "line 1")
        decode([payload], PROMOTION)
        inspect(payload)
        trace_ids([payload])


@given(st.binary(max_size=200), st.sampled_from(["json", "protobuf"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_decoded_or_refused(body, encoding):
    payload = Payload(body, encoding, "payload 1")
    decode([payload], PROMOTION)
    inspect(payload)
    trace_ids([payload])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_request_is_decoded_or_refused(data):
    request = worked().request()
    encoding = data.draw(st.sampled_from(["json", "protobuf"]))
    body = json_bytes(request) if encoding == "json" else request.SerializeToString()
    position = data.draw(st.integers(0, len(body) - 1))
    damaged = body[:position] + data.draw(st.binary(max_size=3)) + body[position + data.draw(st.integers(0, 3)) :]
    payload = Payload(damaged, encoding, "payload 1")
    decode([payload], PROMOTION)
    inspect(payload)


@pytest.mark.parametrize("depth", [900, 10_000])
def test_nesting_is_refused_and_no_crash(depth):
    attributes = b"[" * depth + b"]" * depth
    deep = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":' + attributes + b"}]}]}]}"
    decoded = decode([Payload(deep, "json", "line 1")])
    assert decoded.spans.height == 0
    assert len(decoded.refused) == 1
    assert isinstance(inspect(Payload(deep, "json", "line 1")), Refused)
