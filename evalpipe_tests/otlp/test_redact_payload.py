import json

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from evalpipe.otlp.payload import Encoding
from evalpipe.otlp.redact_payload import redacted_payload
from evalpipe.otlp.values import MalformedError
from evalpipe.redaction.texts import placeholder
from evalpipe.settings import RedactionSettings
from evalpipe_tests.otlp.made import bare_span, json_bytes, json_document, request_of

KEY = b"k" * 32
EMAIL, CARD = "ann@example.com", "4242424242424242"
SHOWN_EMAIL, SHOWN_CARD = placeholder("email", EMAIL, KEY), placeholder("card", CARD, KEY)
SETTINGS = RedactionSettings(content=frozenset({"email"}), identity=frozenset({"card"}))


def request(email: str, card: str, number: AnyValue) -> ExportTraceServiceRequest:
    """A request with these in every place that holds a text or a whole number."""
    text = AnyValue(string_value=f"to {email}")
    nested = AnyValue(string_value=json.dumps({"to": email, "args": json.dumps({"card": card})}))
    listed, keyed, both = AnyValue(), AnyValue(), AnyValue()
    listed.array_value.values.extend([text, number, AnyValue(bool_value=True)])
    keyed.kvlist_value.values.add(key="deep").value.CopyFrom(listed)
    both.kvlist_value.values.extend([KeyValue(key="a", value=number), KeyValue(key="b", value=AnyValue(int_value=7))])
    span = bare_span(
        name=f"mail {email}",
        attributes=[KeyValue(key="input.value", value=nested), KeyValue(key="all", value=keyed)],
        events=[Span.Event(name=email, attributes=[KeyValue(key="n", value=number)])],
        links=[Span.Link(trace_id=bytes(16), span_id=bytes(8), attributes=[KeyValue(key="l", value=text)])],
        status=Status(message=email, code=Status.STATUS_CODE_ERROR),
    )
    made = request_of(span, service=email)
    made.resource_spans[0].scope_spans[0].scope.attributes.add(key="scope").value.CopyFrom(both)
    return made


SENT = request(EMAIL, CARD, AnyValue(int_value=int(CARD)))
EXPECTED = request(SHOWN_EMAIL, SHOWN_CARD, AnyValue(string_value=SHOWN_CARD))


def test_every_string_of_a_protobuf_request_is_redacted():
    body = redacted_payload(SENT.SerializeToString(), "protobuf", SETTINGS, KEY)
    assert ExportTraceServiceRequest.FromString(body) == EXPECTED


def test_every_string_of_a_json_request_is_redacted():
    body = redacted_payload(json_bytes(SENT), "json", SETTINGS, KEY)
    assert json.loads(body) == json_document(EXPECTED)


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_redacting_twice_changes_nothing(encoding: Encoding):
    body = SENT.SerializeToString() if encoding == "protobuf" else json_bytes(SENT)
    once = redacted_payload(body, encoding, SETTINGS, KEY)
    assert redacted_payload(once, encoding, SETTINGS, KEY) is once


@pytest.mark.parametrize("settings", [SETTINGS, RedactionSettings()], ids=["nothing found", "nothing asked"])
def test_a_request_with_nothing_to_redact_keeps_its_bytes(settings: RedactionSettings):
    sound = request_of(bare_span()) if settings is SETTINGS else SENT
    for encoding, body in (("protobuf", sound.SerializeToString()), ("json", json_bytes(sound))):
        assert redacted_payload(body, encoding, settings, KEY) is body


def test_ids_and_times_stay_even_when_they_look_like_a_card():
    sent = request_of(bare_span(span_id=bytes.fromhex(CARD), start_time_unix_nano=int(CARD), name=EMAIL))
    (span,) = json.loads(redacted_payload(json_bytes(sent), "json", SETTINGS, KEY))["resourceSpans"][0]["scopeSpans"][
        0
    ]["spans"]
    assert (span["spanId"], span["startTimeUnixNano"], span["name"]) == (CARD, CARD, SHOWN_EMAIL)


def test_fields_of_a_newer_protocol_stay():
    unknown = b"\xa2\x06\x03abc"  # field 100, three bytes
    body = redacted_payload(SENT.SerializeToString() + unknown, "protobuf", SETTINGS, KEY)
    assert body.endswith(unknown)


def test_bare_values_of_hand_made_json_are_redacted():
    body = json.dumps(
        {"resourceSpans": [{"resource": {"attributes": {"card": int(CARD), "n": 7, "ok": True}}}]}
    ).encode()
    shown = json.loads(redacted_payload(body, "json", SETTINGS, KEY))
    assert shown["resourceSpans"][0]["resource"]["attributes"] == {"card": SHOWN_CARD, "n": 7, "ok": True}


@pytest.mark.parametrize(("body", "encoding"), [(b"\xff\xff", "protobuf"), (b"{", "json"), (b"[" * 2_000, "json")])
def test_what_cannot_be_read_is_refused(body: bytes, encoding: Encoding):
    with pytest.raises(MalformedError):
        redacted_payload(body, encoding, SETTINGS, KEY)
