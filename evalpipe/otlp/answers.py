"""What a receiver says back: the response messages of OTLP, in the encoding of the request.

Which answer a request gets is the question of the web room. Source: opentelemetry-proto, docs/specification.md.
"""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.code_pb2 import INVALID_ARGUMENT
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from evalpipe.otlp.payload import Encoding


def success(encoding: Encoding) -> bytes:
    """Everything was taken. In protobuf that is no byte at all."""
    return b"{}" if encoding == "json" else b""


def partial(encoding: Encoding, n_rejected: int, message: str) -> bytes:
    """The request was taken and `n_rejected` of its spans will not be used; the client must not send it again."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = n_rejected
    response.partial_success.error_message = message
    return _written(response, encoding)


def failure(encoding: Encoding, code: int, message: str, *, retry_after_s: int | None = None) -> bytes:
    """The request was not taken: a google.rpc.Status. `code` is a google.rpc.Code, the same number as gRPC's.

    The details say when to come again, which gRPC clients read there, or that the request itself is at fault. The
    protobuf form is also what gRPC carries in `grpc-status-details-bin`.
    """
    status = Status(code=code, message=message)
    if code == INVALID_ARGUMENT:
        status.details.add().Pack(BadRequest(field_violations=[BadRequest.FieldViolation(description=message)]))
    if retry_after_s is not None:
        status.details.add().Pack(_retry_info(retry_after_s))
    return _written(status, encoding)


def retry_info(retry_after_s: int) -> bytes:
    """When to come again, alone: the exporter of the Python SDK looks for it in a trailer of its own."""
    return _retry_info(retry_after_s).SerializeToString()


def _retry_info(retry_after_s: int) -> RetryInfo:
    return RetryInfo(retry_delay=Duration(seconds=retry_after_s))


def _written(message: Message, encoding: Encoding) -> bytes:
    if encoding == "json":
        return MessageToJson(message, indent=None).encode()
    return message.SerializeToString()
