"""Evaluation events, sent to a real HTTP server that reads OTLP."""

import builtins
import gzip
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from evalpipe.gate.export import export_events
from evalpipe_tests.gate.made import NOW, answers, judge, suite
from evalpipe_tests.gate.render.made import REFUND, SORRY, blocked_gate, faulted_gate


class Backend(ThreadingHTTPServer):
    """A collector: keeps the requests it takes; `answers` are the status codes that it gives first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[ExportLogsServiceRequest] = []
        self.seen: list[tuple[str, str | None]] = []  # path and content type
        self.answers: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def records(self) -> list[LogRecord]:
        scopes = [scope for one in self.requests for of in one.resource_logs for scope in of.scope_logs]
        return [record for scope in scopes for record in scope.log_records]


class Handler(BaseHTTPRequestHandler):
    server: Backend

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.seen.append((self.path, self.headers["Content-Type"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.requests.append(ExportLogsServiceRequest.FromString(body))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(ExportLogsServiceResponse().SerializeToString())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def backend() -> Iterator[Backend]:
    server = Backend()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(record: LogRecord) -> dict:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in record.attributes}


def test_each_verdict_becomes_an_event_by_the_conventions(tmp_path, backend):
    outcome = blocked_gate(tmp_path)
    said = export_events(outcome, backend.url)
    assert (said.n_sent, said.n_events, said.problem) == (8, 8, None)
    assert backend.seen == [("/v1/logs", "application/x-protobuf")]
    assert {record.event_name for record in backend.records} == {"gen_ai.evaluation.result"}
    first = next(a for a in map(attributes, backend.records) if a["evalpipe.case.id"] == "c1")
    assert first["gen_ai.evaluation.name"].startswith("a|b `code`")
    assert (first["gen_ai.evaluation.score.value"], first["gen_ai.evaluation.score.label"]) == (1.0, "fail")
    assert "sorry" in first["gen_ai.evaluation.explanation"]
    assert "error.type" not in first
    assert {record.time_unix_nano for record in backend.records} == {int(NOW.timestamp()) * 10**9}
    (resource,) = {of.resource.SerializeToString() for one in backend.requests for of in one.resource_logs}
    assert b"service.version" in resource
    assert b"1.4|2" in resource


def test_a_fault_has_an_error_type_and_neither_score_nor_label(tmp_path, backend):
    export_events(faulted_gate(tmp_path), backend.url)
    faults = [a for a in map(attributes, backend.records) if a["evalpipe.evaluator.id"] == "ev_1"]
    assert [fault["error.type"] for fault in faults] == ["evaluator_fault"] * 2
    assert not any(name.startswith("gen_ai.evaluation.score") for fault in faults for name in fault)


def test_of_traffic_the_event_belongs_to_the_root_span_of_the_trace(tmp_path, backend):
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    traces = answers(tmp_path, "sorry").with_columns(trace_id=pl.lit(trace))
    outcome = judge(traces, suite(SORRY))
    of_release = replace(outcome, run=outcome.run.with_columns(source=pl.lit("release")))
    export_events(of_release, backend.url + "/v1/logs", root_spans={trace: span})
    (record,) = backend.records
    assert (record.trace_id.hex(), record.span_id.hex()) == (trace, span)
    backend.requests.clear()
    export_events(outcome, backend.url)  # a case of a file is no trace, however it is named
    assert (backend.records[0].trace_id, backend.records[0].span_id) == (b"", b"")


def test_many_events_go_in_batches(tmp_path, backend):
    said = export_events(judge(answers(tmp_path, *["fine"] * 600), suite(REFUND)), backend.url)
    assert said.in_words == "600 of 600 evaluation events were sent"
    assert [sum(len(s.log_records) for of in one.resource_logs for s in of.scope_logs) for one in backend.requests] == [
        512,
        88,
    ]


def test_a_backend_that_is_busy_is_asked_again(tmp_path, backend):
    backend.answers = [503]
    assert export_events(blocked_gate(tmp_path), backend.url).n_sent == 8
    assert len(backend.seen) == 2


def test_a_backend_that_refuses_is_told_and_asked_no_more(tmp_path, backend):
    backend.answers = [400, 400]
    said = export_events(judge(answers(tmp_path, *["fine"] * 600), suite(REFUND)), backend.url)
    assert (said.n_sent, said.n_events) == (0, 600)
    assert "400" in str(said.problem)
    assert len(backend.seen) == 1


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "no address", ""])
def test_a_backend_that_is_not_there_is_told_and_raises_nothing(tmp_path, endpoint):
    said = export_events(blocked_gate(tmp_path), endpoint, timeout_s=0.2)
    assert said.n_sent == 0
    assert said.problem


def test_without_the_exporter_it_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("opentelemetry.exporter.otlp.proto.http"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert "pip install 'evalpipe[export]'" in export_events(blocked_gate(tmp_path), "http://127.0.0.1:9").in_words
