"""Reading in bulk gives what reading one span at a time gives: the same frame and the same refusals."""

import random
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from evalpipe.otlp import wire
from evalpipe.otlp.columns import Promotion, column_of
from evalpipe.otlp.payload import Payload
from evalpipe.otlp.protobuf_bulk import spans_in_bulk
from evalpipe.otlp.wire import Decoded, decode
from evalpipe_tests.otlp.made import START_NS, Application, bare_span, protobuf_payload, request_of
from evalpipe_tests.otlp.test_values import any_value, values

PROMOTION = Promotion(
    frozenset({"input.value", "n", "flag", "list"}), ("flat.", "llm.input_messages."), frozenset({"n"})
)


def decoded_alike(payloads: list[Payload]) -> Decoded:
    """What decoding gives, which is the same both ways."""
    with patch.object(wire, "_MIN_BULK_BYTES", 1 << 60):
        one_by_one = decode(payloads, PROMOTION)
    with patch.object(wire, "_MIN_BULK_BYTES", 0):
        in_bulk = decode(payloads, PROMOTION)
    assert in_bulk.spans.schema == one_by_one.spans.schema
    for name in in_bulk.spans.columns:
        assert in_bulk.spans[name].to_list() == one_by_one.spans[name].to_list(), name
    assert in_bulk.spans.equals(one_by_one.spans)
    assert in_bulk.refused == one_by_one.refused
    return in_bulk


def is_read_in_bulk(payload: Payload) -> bool:
    return 0 in spans_in_bulk([(0, payload)], PROMOTION).done


def busy(seed: int = 1) -> ExportTraceServiceRequest:
    """A service that did a bit of everything, in 12 spans."""
    chance = random.Random(seed)
    app = Application(seed=seed, **{"deployment.environment.name": "production", "host.name": f"h{seed}"})
    for number in range(6):
        attributes = {
            "input.value": 'how "much"?\n' + "東京 😀 " * number,
            "n": chance.randrange(-(2**63), 2**63),
            "flag": bool(number % 2),
            "list": ["a", "b"] * number,
            "ratio": chance.choice([0.1, 1e300, 5e-324, 3.0, float("inf"), float("nan"), -0.0]),
            "raw": b"\x00\xff",
            f"own.{number}": "",
            "flat.1.role": "user",
            "flat.0.n": number,
        }
        raised = ("exception", {"exception.type": "KeyError", "line": number})
        with (
            app.span("root", attributes, at=number, lasts=5_000),
            app.span("child", {"other": "y"}, at=number, error="no such order", events=[raised] * (number % 3)),
        ):
            pass
    return app.request()


def mixed() -> list[Payload]:
    return [protobuf_payload(busy(seed), f"payload {seed}") for seed in range(1, 6)]


def test_requests_of_the_real_sdk_are_read_in_bulk_and_alike():
    decoded = decoded_alike(mixed())
    assert decoded.spans.height == 60  # 5 requests of 12
    assert all(map(is_read_in_bulk, mixed()))
    assert decoded.spans["payload"].to_list() == [index for index in range(5) for _ in range(12)]
    assert decoded.spans["number"].to_list() == [*range(1, 13)] * 5


@given(st.lists(values, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_every_value_is_read_alike_promoted_or_not(said):
    span = bare_span()
    for number, value in enumerate(said):
        for key in ("input.value", "n", f"flat.{number}", f"other.{number}"):
            span.attributes.add(key=key).value.CopyFrom(any_value(value))
    decoded_alike([protobuf_payload(request_of(span, bare_span(2)))])


def test_an_attribute_that_is_there_twice_has_its_last_value_at_its_first_place():
    span = bare_span()
    for key, value in (("a", "1"), ("input.value", "1"), ("b", "1"), ("a", "2"), ("input.value", "2"), ("flat.x", "1")):
        span.attributes.add(key=key).value.string_value = value
    span.attributes.add(key="input.value")  # without a value: the one before it stays
    (row,) = decoded_alike([protobuf_payload(request_of(span))]).spans.to_dicts()
    assert row["attributes"] == '{"a":"2","b":"1"}'
    assert row[column_of("input.value")] == "2"
    assert row[column_of("flat.")] == '{"x":"1"}'


def test_links_states_and_statuses_are_read_alike():
    span = bare_span(trace_state="a=b", kind=3, flags=257, dropped_attributes_count=300, parent_span_id=b"\x01" * 8)
    span.links.add(trace_id=b"\x01" * 16, span_id=b"\x02" * 8)
    span.status.CopyFrom(Status(code=2, message="no such order"))
    negative, empty = bare_span(2, parent_span_id=bytes(8)), bare_span(3, end_time_unix_nano=0)
    negative.status.code = -1  # type: ignore[assignment]
    empty.status.SetInParent()
    payload = protobuf_payload(request_of(span, negative, empty))
    decoded_alike([payload])
    assert is_read_in_bulk(payload)


def test_fields_of_a_newer_version_are_no_reason_to_go_slow():
    newer = bytes.fromhex("f2012a") + b"x" * 42  # field 30, length-delimited, 42 bytes
    body = request_of(Span.FromString(bare_span().SerializeToString() + newer)).SerializeToString() + newer
    payload = Payload(body, "protobuf", "payload 1")
    assert decoded_alike([payload]).spans.height == 1
    assert is_read_in_bulk(payload)


@pytest.mark.parametrize(
    "changes",
    [
        {"trace_id": b""},
        {"trace_id": bytes(16)},
        {"span_id": b"\x01" * 9},
        {"parent_span_id": b"\x01"},
        {"start_time_unix_nano": 0},
        {"start_time_unix_nano": 2**63},
        {"end_time_unix_nano": 2**64 - 1},
        {"end_time_unix_nano": START_NS - 1},
    ],
)
def test_a_bad_span_is_refused_alike_and_only_its_payload_goes_slow(changes):
    bad = protobuf_payload(request_of(bare_span(9), bare_span(1, **changes), bare_span(8)), "payload 7")
    first, *rest = mixed()
    decoded = decoded_alike([first, bad, *rest])
    assert decoded.spans.height == 62  # 60, and two neighbours of the bad one
    assert [refused.location for refused in decoded.refused] == ["payload 7, span 2"]
    assert spans_in_bulk([*enumerate([first, bad, *rest])], PROMOTION).done == {0, 2, 3, 4, 5}


@pytest.mark.parametrize("start", [1, 10**9, 7_258_118_400 * 10**9, 2**63 - 1])
def test_a_start_in_1970_in_2200_and_at_the_end_of_time_is_a_start(start):
    span = bare_span(start_time_unix_nano=start, end_time_unix_nano=0)
    assert decoded_alike([protobuf_payload(request_of(span))]).spans["start_unix_ns"].to_list() == [start]


@pytest.mark.parametrize("where", ["name", "trace_state", "key", "value"])
def test_what_is_no_utf8_is_refused_alike(where):
    span = bare_span(name="@name", trace_state="@trace_state")
    span.attributes.add(key="@key").value.string_value = "@value"
    body = request_of(span).SerializeToString().replace(b"@" + where.encode(), b"\xff" + where.encode())
    decoded = decoded_alike([Payload(body, "protobuf", "payload 1"), *mixed()])
    assert [refused.location for refused in decoded.refused] == ["payload 1"]


@pytest.mark.parametrize("depth", [10, 44, 45, 46, 47, 48, 49, 50, 10_000])
def test_values_nest_as_deep_as_protobuf_lets_them_and_deeper_is_refused(depth):
    body = b"\x0a\x01x"  # an AnyValue with the string "x"
    for _ in range(depth):
        for tag in (b"\x0a", b"\x2a"):  # a value of an ArrayValue, an ArrayValue of an AnyValue
            body = tag + varint(len(body)) + body
    for tag in (b"\x12", b"\x4a", b"\x12", b"\x12", b"\x0a"):  # pair, span, scope, resource, request
        own = bare_span().SerializeToString() if tag == b"\x12" and body.startswith(b"\x4a") else b""
        body = tag + varint(len(own + body)) + own + body
    decoded_alike([Payload(body, "protobuf", "payload 1"), *mixed()])


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def test_a_span_with_a_hundred_thousand_attributes_is_a_span():
    span = bare_span()
    for number in range(100_000):
        span.attributes.add(key=f"k{number}").value.int_value = number
    (row,) = decoded_alike([protobuf_payload(request_of(span))]).spans["attributes"].to_list()
    assert row.startswith('{"k0":0,"k1":1,')
    assert row.endswith('"k99999":99999}')


def test_batches_do_not_show():
    whole = decode(mixed(), PROMOTION)
    with patch.object(wire, "_BATCH_BYTES", 3_000), patch.object(wire, "_MIN_BULK_BYTES", 0):
        assert decode(mixed(), PROMOTION).spans.equals(whole.spans)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0), st.integers(0, 3), st.binary(max_size=3)), max_size=4))
@settings(max_examples=300, deadline=None)
def test_damaged_requests_are_read_alike(damages):
    bodies = [bytearray(payload.body) for payload in mixed()]
    for which, place, n_cut, inserted in damages:
        body = bodies[which]
        at = place % len(body)
        body[at : at + n_cut] = inserted
    decoded_alike([Payload(bytes(body), "protobuf", f"payload {n}") for n, body in enumerate(bodies)])


@given(st.lists(st.binary(max_size=60), max_size=5))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_alike(bodies):
    decoded_alike([Payload(body, "protobuf", f"payload {n}") for n, body in enumerate(bodies)])
