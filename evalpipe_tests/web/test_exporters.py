"""The exporters that a team has already, as they come: only an endpoint and a key are set."""

from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from evalpipe.otlp.inflate import inflate
from evalpipe_tests.otlp.made import START_NS
from evalpipe_tests.web.running import Running, running


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("receiver"), tokens=["KEY"]) as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch):
    for name in ("ENDPOINT", "HEADERS", "COMPRESSION", "INSECURE", "TIMEOUT", "CERTIFICATE"):
        for signal in ("", "TRACES_"):
            monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{signal}{name}", raising=False)


def export(exporter: SpanExporter, name: str) -> None:
    """One span by the SDK, of the receiver's own time."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("app").start_span(name, start_time=START_NS).end(START_NS + 5)
    provider.shutdown()


def names(receiver: Running) -> list[str]:
    """Names of the spans that the receiver has made durable."""
    found: list[str] = []
    for received in receiver.journalled():
        body = inflate(received.body, 1_000_000) if received.is_gzip else received.body
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            found += [span.name for scope_spans in resource_spans.scope_spans for span in scope_spans.spans]
    return found


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_over_http_with_a_header(receiver: Running, compression: Compression):
    key = {"Authorization": "Bearer KEY"}
    export(HttpExporter(receiver.traces, headers=key, compression=compression), f"http {compression.value}")

    assert names(receiver)[-1] == f"http {compression.value}"


def test_over_grpc_with_a_header(receiver: Running):
    export(GrpcExporter(receiver.grpc, insecure=True, headers={"authorization": "Bearer KEY"}), "grpc")

    assert names(receiver)[-1] == "grpc"


@pytest.mark.parametrize("header", ["Authorization=Bearer%20KEY", "x-api-key=KEY", "Authorization=Basic%20cGs6S0VZ"])
def test_with_nothing_but_environment_variables(receiver: Running, monkeypatch: pytest.MonkeyPatch, header: str):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", header)  # the last is base64 of "pk:KEY"

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http)
    export(HttpExporter(), f"http {header}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.grpc}")
    export(GrpcExporter(), f"grpc {header}")

    assert names(receiver)[-2:] == [f"http {header}", f"grpc {header}"]


def test_without_the_key_nothing_is_taken(receiver: Running, caplog: pytest.LogCaptureFixture):
    before = names(receiver)
    export(HttpExporter(receiver.traces, headers={"Authorization": "Bearer OTHER"}), "http")
    export(GrpcExporter(receiver.grpc, insecure=True), "grpc")

    assert names(receiver) == before
    assert "Unauthorized" in caplog.text
    assert "UNAUTHENTICATED" in caplog.text
