import gzip
import json
import resource
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)

from evalpipe.settings import ObserveSettings
from evalpipe_tests.otlp.bomb import gzip_of_zeros
from evalpipe_tests.otlp.made import DAY_NS, START_NS, bare_span, json_bytes, request_of
from evalpipe_tests.web.running import JSON, PROTOBUF, Running, body_of, request, running

GZIP = {"content-encoding": "gzip"}


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("receiver")) as receiver:
        yield receiver


@pytest.mark.parametrize("media_type", ["application/x-protobuf", "application/protobuf", "APPLICATION/X-Protobuf;v=1"])
def test_protobuf_is_taken_and_answered_with_nothing(receiver: Running, media_type: str):
    response = httpx.post(receiver.traces, content=body_of(1), headers={"content-type": media_type})

    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == "application/x-protobuf"
    last = receiver.journalled()[-1]
    assert (last.body, last.encoding, last.is_gzip, last.source) == (body_of(1), "protobuf", False, "http 127.0.0.1")
    assert (last.received_ns, last.refusal) == (receiver.now_ns, None)


def test_json_is_taken_and_answered_in_json(receiver: Running):
    sent = json_bytes(request(2))

    response = httpx.post(receiver.traces, content=sent, headers={"content-type": "application/json; charset=utf-8"})

    assert (response.status_code, response.content) == (200, b"{}")
    assert response.headers["content-type"] == "application/json"
    assert (receiver.journalled()[-1].body, receiver.journalled()[-1].encoding) == (sent, "json")


def test_a_gzip_body_is_kept_as_it_came(receiver: Running):
    sent = gzip.compress(body_of(3))

    assert httpx.post(receiver.traces, content=sent, headers=PROTOBUF | GZIP).status_code == 200
    assert receiver.journalled()[-1][:3] == (sent, "protobuf", True)


def test_a_chunked_body_is_put_together(receiver: Running):
    body = body_of(*range(1, 400))
    chunks = (body[start : start + 1000] for start in range(0, len(body), 1000))

    assert httpx.post(receiver.traces, content=chunks, headers=PROTOBUF).status_code == 200
    assert receiver.journalled()[-1].body == body


@pytest.mark.parametrize(
    ("headers", "body"), [(PROTOBUF, b""), (JSON, b"{}"), (PROTOBUF | GZIP, gzip.compress(b"", mtime=0))]
)
def test_an_empty_request_is_a_success_and_leaves_nothing(receiver: Running, headers: dict[str, str], body: bytes):
    n_before = len(receiver.journalled())

    assert httpx.post(receiver.traces, content=body, headers=headers).status_code == 200
    assert len(receiver.journalled()) == n_before


def test_unknown_fields_of_a_newer_protocol_are_let_through(receiver: Running):
    # Field 1000 as a varint, at the end of the message: tag (1000 << 3) | 0 = 8000 -> c0 3e, value 1.
    newer = body_of(4) + b"\xc0\x3e\x01"
    newer_json = json.loads(json_bytes(request(4))) | {"resourceMood": {"is": "good"}}

    assert httpx.post(receiver.traces, content=newer, headers=PROTOBUF).content == b""
    assert httpx.post(receiver.traces, json=newer_json).json() == {}


def test_spans_that_cannot_be_used_are_a_partial_success(receiver: Running):
    mixed = request_of(bare_span(5), bare_span(6, trace_id=bytes(16)), bare_span(7, start_time_unix_nano=DAY_NS))

    response = httpx.post(receiver.traces, content=mixed.SerializeToString(), headers=PROTOBUF)

    assert response.status_code == 200
    partial = ExportTraceServiceResponse.FromString(response.content).partial_success
    assert partial.rejected_spans == 2  # one without a trace id, one from 1970
    assert "2 of 3 spans" in partial.error_message
    assert "trace id is all zeros" in partial.error_message
    assert receiver.journalled()[-1].body == mixed.SerializeToString()


def test_a_count_of_rejected_spans_is_text_in_json(receiver: Running):
    mixed = request_of(bare_span(8), bare_span(9, trace_id=bytes(16)))

    response = httpx.post(receiver.traces, content=json_bytes(mixed), headers=JSON)

    assert response.json()["partialSuccess"]["rejectedSpans"] == "1"


def test_a_request_without_a_usable_span_is_kept_all_the_same(receiver: Running):
    # The receiver's clock says ten seconds after START_NS, and a sender's may be a day ahead of it.
    too_early = request_of(bare_span(10, start_time_unix_nano=DAY_NS, end_time_unix_nano=0))
    too_late = request_of(bare_span(11, start_time_unix_nano=START_NS + DAY_NS + 11 * 10**9, end_time_unix_nano=0))
    for nothing in (too_early, too_late):
        response = httpx.post(receiver.traces, content=nothing.SerializeToString(), headers=PROTOBUF)

        partial = ExportTraceServiceResponse.FromString(response.content).partial_success
        assert (response.status_code, partial.rejected_spans) == (200, 1)
        assert "between 2024-01-01 and 2026-02-17T00:00:10Z" in partial.error_message
        assert receiver.journalled()[-1].body == nothing.SerializeToString()


def test_a_clock_that_is_ahead_by_less_than_a_day_is_no_mistake(receiver: Running):
    ahead = request_of(bare_span(12, start_time_unix_nano=START_NS + DAY_NS + 9 * 10**9, end_time_unix_nano=0))

    assert httpx.post(receiver.traces, content=ahead.SerializeToString(), headers=PROTOBUF).content == b""


@pytest.mark.parametrize(
    ("headers", "body", "kept", "reason"),
    [
        (PROTOBUF, b"\xff not protobuf", b"\xff not protobuf", "no protobuf ExportTraceServiceRequest"),
        (PROTOBUF | GZIP, gzip.compress(b"\xff not protobuf", mtime=0), b"\xff not protobuf", "no protobuf"),
        (PROTOBUF | GZIP, b"this is certainly no gzip", b"this is certainly no gzip", "no sound gzip"),
        (PROTOBUF | GZIP, gzip.compress(b"x" * 100, mtime=0)[:-9], gzip.compress(b"x" * 100, mtime=0)[:-9], "cut off"),
        (JSON, b'{"resourceSpans": 3}', b'{"resourceSpans": 3}', "an array is expected"),
        (JSON, b"{", b"{", "JSON"),
    ],
)
def test_a_body_that_is_no_export_is_a_400_and_is_remembered(
    receiver: Running, headers: dict[str, str], body: bytes, kept: bytes, reason: str
):
    response = httpx.post(receiver.traces, content=body, headers=headers)

    assert response.status_code == 400
    if headers["content-type"] == "application/json":
        status = response.json()
        assert status["code"] == 3
        message = status["message"]
    else:
        status = Status.FromString(response.content)
        assert status.code == 3  # google.rpc.Code.INVALID_ARGUMENT
        message = status.message
    assert reason in message
    remembered = receiver.journalled()[-1]
    assert (remembered.body, remembered.is_gzip) == (kept, False)
    assert remembered.refusal is not None
    assert reason in remembered.refusal


def test_of_a_refused_body_64_kib_are_remembered(receiver: Running):
    body = gzip.compress(b"\xff" * 100_000)

    assert httpx.post(receiver.traces, content=body, headers=PROTOBUF | GZIP).status_code == 400
    assert receiver.journalled()[-1].body == b"\xff" * 65_536


def test_metrics_and_logs_are_not_taken(receiver: Running):
    for path in ("/v1/metrics", "/v1/logs", "/", "/v2/traces"):
        response = httpx.post(f"{receiver.http}{path}", content=b"", headers=PROTOBUF)

        assert response.status_code == 404
        assert "traces only" in Status.FromString(response.content).message


def test_only_post_is_for_traces(receiver: Running):
    for method in ("GET", "PUT", "OPTIONS", "DELETE"):
        response = httpx.request(method, receiver.traces)

        assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        PROTOBUF | {"content-encoding": "br"},
        JSON | {"content-encoding": "gzip, gzip"},
    ],
)
def test_what_cannot_be_read_is_a_415_which_says_what_can(receiver: Running, headers: dict[str, str]):
    response = httpx.post(receiver.traces, content=body_of(1), headers=headers)

    assert response.status_code == 415
    assert response.headers["accept-post"] == "application/x-protobuf, application/json"
    assert response.headers["accept-encoding"] == "gzip, identity"


def test_a_connection_serves_many_requests_even_after_a_refused_body(receiver: Running):
    with httpx.Client(headers=PROTOBUF) as client:
        for body, status in ((body_of(1), 200), (b"\xff" * 200_000, 400), (body_of(2), 200)):
            assert client.post(receiver.traces, content=body).status_code == status
        unread = client.post(receiver.traces, content=b"x" * 1_000_000, headers={"content-type": "text/plain"})
        assert unread.status_code == 415
        assert client.post(receiver.traces, content=body_of(3)).status_code == 200


def test_a_body_over_the_limit_is_a_413_as_sent_in_chunks_and_inflated(tmp_path):
    with running(tmp_path, observe=ObserveSettings(max_payload_bytes=10_000)) as receiver:
        big = body_of(*range(1, 400))
        assert len(big) > 10_000
        for headers, content in (
            (PROTOBUF, big),
            (PROTOBUF, iter([big[:6_000], big[6_000:]])),
            (PROTOBUF | GZIP, gzip.compress(big)),
        ):
            response = httpx.post(receiver.traces, content=content, headers=headers)
            assert response.status_code == 413
            assert "send smaller batches" in Status.FromString(response.content).message
        just_fits = body_of(*range(1, 100))
        assert httpx.post(receiver.traces, content=just_fits, headers=PROTOBUF).status_code == 200
        assert [received.body for received in receiver.journalled()] == [just_fits]


def test_a_zip_bomb_is_a_413_and_costs_no_memory(receiver: Running):
    bomb = gzip_of_zeros(1024**3)
    assert len(bomb) < 2 * 1024**2
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    response = httpx.post(receiver.traces, content=bomb, headers=PROTOBUF | GZIP)

    assert response.status_code == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 200 * 1024  # the limit is 64 MiB
    assert httpx.post(receiver.traces, content=body_of(1), headers=PROTOBUF).status_code == 200


def test_a_body_that_stops_half_way_is_a_408_and_the_others_are_served(tmp_path):
    with (
        running(tmp_path, request_timeout_s=0.3) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)) as half,
    ):
        half.sendall(
            b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        assert httpx.post(receiver.traces, content=body_of(1), headers=PROTOBUF).status_code == 200

        half.settimeout(5)
        answer = b"".join(iter(lambda: half.recv(65_536), b""))  # until the server closes

        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer
        assert httpx.post(receiver.traces, content=body_of(2), headers=PROTOBUF).status_code == 200


def test_a_client_that_goes_away_within_its_body_leaves_nothing(tmp_path):
    with running(tmp_path, max_waiting_bytes=1_000) as receiver:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", receiver.port)) as gone:
                gone.sendall(
                    b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
                    b"content-length: 900\r\n\r\n" + b"x" * 800
                )
        time.sleep(0.2)
        # What they had sent is not counted as waiting any longer: this one has room.
        assert httpx.post(receiver.traces, content=body_of(1), headers=PROTOBUF).status_code == 200
        assert [received.body for received in receiver.journalled()] == [body_of(1)]


def test_too_many_waiting_bytes_are_a_503_that_says_when_to_come_again(tmp_path):
    with running(tmp_path, max_waiting_bytes=100, retry_after_s=7) as receiver:
        response = httpx.post(receiver.traces, content=body_of(1, 2, 3), headers=PROTOBUF)

        assert (response.status_code, response.headers["retry-after"]) == (503, "7")
        status = Status.FromString(response.content)
        assert status.code == 14  # google.rpc.Code.UNAVAILABLE
        delay = RetryInfo()
        assert status.details[0].Unpack(delay)
        assert delay.retry_delay.seconds == 7
        assert receiver.journalled() == []


def test_a_backlog_turns_requests_away_until_it_is_worked_off(tmp_path):
    def status() -> int:
        return httpx.post(receiver.traces, content=body_of(1), headers=PROTOBUF).status_code

    def becomes(expected: int) -> bool:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if status() == expected:
                return True
            time.sleep(0.05)
        return False

    with running(tmp_path, max_backlog_bytes=1_000) as receiver:
        assert status() == 200
        receiver.n_backlog_bytes = 1_001
        assert becomes(503)
        assert httpx.get(f"{receiver.http}/readyz").json() == {"journal": True, "backlog": False, "absorber": True}
        receiver.n_backlog_bytes = 1_000
        assert becomes(200)
