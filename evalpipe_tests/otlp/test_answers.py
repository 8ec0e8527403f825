import json

from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from evalpipe.otlp import answers


def test_success_is_no_byte_or_an_empty_object():
    assert answers.success("protobuf") == ExportTraceServiceResponse().SerializeToString() == b""
    assert json.loads(answers.success("json")) == {}


def test_a_partial_success_counts_the_rejected_spans():
    message = ExportTraceServiceResponse.FromString(answers.partial("protobuf", 3, "why"))
    assert (message.partial_success.rejected_spans, message.partial_success.error_message) == (3, "why")
    # 64-bit integers are text in proto3 JSON.
    assert json.loads(answers.partial("json", 3, "why")) == {
        "partialSuccess": {"rejectedSpans": "3", "errorMessage": "why"}
    }


def test_a_failure_of_the_request_says_that_it_is_the_requests():
    status, details = Status.FromString(answers.failure("protobuf", 3, "no spans here")), BadRequest()
    assert (status.code, status.message) == (3, "no spans here")
    assert status.details[0].Unpack(details)
    assert details.field_violations[0].description == "no spans here"


def test_a_failure_that_passes_says_when():
    status, details = Status.FromString(answers.failure("protobuf", 14, "busy", retry_after_s=5)), RetryInfo()
    assert status.details[0].Unpack(details)
    assert details.retry_delay.seconds == RetryInfo.FromString(answers.retry_info(5)).retry_delay.seconds == 5
    assert json.loads(answers.failure("json", 14, "busy", retry_after_s=5)) == {
        "code": 14,
        "message": "busy",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "5s"}],
    }


def test_any_other_failure_has_no_details():
    assert json.loads(answers.failure("json", 16, "who are you?")) == {"code": 16, "message": "who are you?"}
