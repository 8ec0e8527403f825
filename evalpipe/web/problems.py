"""Every way in which a request is turned away, with its status over HTTP and over gRPC.

Over HTTP a client sends again after 429, 502, 503 and 504 alone, and over gRPC after UNAVAILABLE; anything else it
throws away. So what is not the request's fault is always 503. Source: opentelemetry-proto, docs/specification.md.
"""

from http import HTTPStatus
from typing import ClassVar

from grpc import StatusCode

from evalpipe.errors import EvalpipeError


class RequestError(EvalpipeError):
    """A request that is not taken; its text is for the client."""

    http_status: ClassVar[HTTPStatus]
    rpc_status: ClassVar[StatusCode]
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()  # over HTTP, beside the usual ones
    retry_after_s: int | None = None

    @property
    def rpc_code(self) -> int:
        """The number of the gRPC status, which is also its google.rpc.Code."""
        return self.rpc_status.value[0]


class BadRequestError(RequestError):
    """Its body is no export request. It is remembered as a rejection."""

    http_status = HTTPStatus.BAD_REQUEST
    rpc_status = StatusCode.INVALID_ARGUMENT


class TooLargeError(RequestError):
    """Its body is larger than the limit, as sent or inflated."""

    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    rpc_status = StatusCode.RESOURCE_EXHAUSTED  # without a delay in its details: not to be sent again


class UnauthorisedError(RequestError):
    """It brings no token, or a wrong one."""

    http_status = HTTPStatus.UNAUTHORIZED
    rpc_status = StatusCode.UNAUTHENTICATED
    headers = (("www-authenticate", 'Bearer realm="evalpipe"'),)


class UnsupportedError(RequestError):
    """Its media type or its compression is none of those that are read."""

    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    rpc_status = StatusCode.UNIMPLEMENTED
    headers = (("accept-post", "application/x-protobuf, application/json"), ("accept-encoding", "gzip, identity"))


class WrongMethodError(RequestError):
    """OTLP is POST."""

    http_status = HTTPStatus.METHOD_NOT_ALLOWED
    rpc_status = StatusCode.UNIMPLEMENTED
    headers = (("allow", "POST"),)


class NothingHereError(RequestError):
    """A path that serves nothing, or a signal that evalpipe does not take."""

    http_status = HTTPStatus.NOT_FOUND
    rpc_status = StatusCode.UNIMPLEMENTED


class TooSlowError(RequestError):
    """Its body did not arrive in time."""

    http_status = HTTPStatus.REQUEST_TIMEOUT
    rpc_status = StatusCode.DEADLINE_EXCEEDED
    headers = (("connection", "close"),)


class BusyError(RequestError):
    """More has arrived than is worked off. The client keeps it and comes again."""

    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    rpc_status = StatusCode.UNAVAILABLE

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotDurableError(BusyError):
    """It could not be written to disk. To say otherwise would lose it."""
