import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from evalpipe.settings import ObserveSettings
from evalpipe_tests.otlp.made import bare_span, request_of
from evalpipe_tests.web.running import Running, body_of, request, running

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("receiver")) as receiver:
        yield receiver


@contextmanager
def client(receiver: Running) -> Iterator[TraceServiceStub]:
    with grpc.insecure_channel(receiver.grpc) as channel:
        yield TraceServiceStub(channel)


def failed(receiver: Running, message: ExportTraceServiceRequest, **call) -> grpc.Call:
    with client(receiver) as stub, pytest.raises(grpc.RpcError) as raised:
        stub.Export(message, timeout=10, **call)
    return raised.value


def test_spans_are_taken_as_the_bytes_that_came(receiver: Running):
    with client(receiver) as stub:
        response = stub.Export(request(1), timeout=10)

    assert not response.HasField("partial_success")
    last = receiver.journalled()[-1]
    assert last == (body_of(1), "protobuf", False, receiver.now_ns, "grpc 127.0.0.1", None)


def test_a_compressed_message_is_taken(receiver: Running):
    with client(receiver) as stub:
        stub.Export(request(*range(1, 200)), timeout=10, compression=grpc.Compression.Gzip)

    assert receiver.journalled()[-1].body == body_of(*range(1, 200))


def test_an_empty_request_is_a_success_and_leaves_nothing(receiver: Running):
    n_before = len(receiver.journalled())
    with client(receiver) as stub:
        assert not stub.Export(ExportTraceServiceRequest(), timeout=10).HasField("partial_success")
    assert len(receiver.journalled()) == n_before


def test_spans_that_cannot_be_used_are_a_partial_success(receiver: Running):
    with client(receiver) as stub:
        response = stub.Export(request_of(bare_span(1), bare_span(2, span_id=bytes(8))), timeout=10)

    assert response.partial_success.rejected_spans == 1
    assert "1 of 2 spans" in response.partial_success.error_message


def test_bytes_that_are_no_export_are_an_invalid_argument_and_are_remembered(receiver: Running):
    with grpc.insecure_channel(receiver.grpc) as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(EXPORT)(b"\xff no protobuf", timeout=10)

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    remembered = receiver.journalled()[-1]
    assert remembered.body == b"\xff no protobuf"
    assert remembered.refusal is not None


def test_other_signals_are_not_implemented(receiver: Running):
    with grpc.insecure_channel(receiver.grpc) as channel, pytest.raises(grpc.RpcError) as raised:
        MetricsServiceStub(channel).Export(ExportMetricsServiceRequest(), timeout=10)

    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused_and_not_sent_again(tmp_path, compression: grpc.Compression):
    with running(tmp_path, observe=ObserveSettings(max_payload_bytes=10_000)) as receiver:
        error = failed(receiver, request(*range(1, 400)), compression=compression)

        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "grpc-status-details-bin" not in dict(error.trailing_metadata())  # without a delay: do not retry
        assert receiver.journalled() == []


def test_who_must_wait_is_told_how_long(tmp_path):
    with running(tmp_path, max_waiting_bytes=10, retry_after_s=3) as receiver:
        error = failed(receiver, request(1))

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    trailers = dict(error.trailing_metadata())
    status, delay = Status.FromString(trailers["grpc-status-details-bin"]), RetryInfo()
    assert (status.code, status.message) == (14, error.details())
    assert status.details[0].Unpack(delay)
    assert delay.retry_delay.seconds == 3
    assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]) == delay


def test_a_backlog_turns_requests_away(tmp_path):
    with running(tmp_path, max_backlog_bytes=10) as receiver:
        receiver.n_backlog_bytes = 11
        time.sleep(1.2)  # it is measured once a second
        assert failed(receiver, request(1)).code() is grpc.StatusCode.UNAVAILABLE


def test_a_token_is_asked_for(tmp_path):
    with running(tmp_path, tokens=["one", "two"]) as receiver, client(receiver) as stub:
        assert failed(receiver, request(1)).code() is grpc.StatusCode.UNAUTHENTICATED
        wrong = [("authorization", "Bearer three")]
        assert failed(receiver, request(1), metadata=wrong).code() is grpc.StatusCode.UNAUTHENTICATED
        stub.Export(request(1), timeout=10, metadata=[("authorization", "Bearer two")])

        assert len(receiver.journalled()) == 1


def test_probes_are_answered_by_the_health_service(receiver: Running):
    with grpc.insecure_channel(receiver.grpc) as channel:
        for service in ("", "opentelemetry.proto.collector.trace.v1.TraceService"):
            answer = HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=10)
            assert answer.status == HealthCheckResponse.SERVING
