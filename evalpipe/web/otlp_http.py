"""OTLP over HTTP: POST /v1/traces, as protobuf or JSON, plain or gzip. What a body is worth is intake.py's question.

Plain ASGI up to the answer, because each chunk of a body must be counted before the next is read.
Source: opentelemetry-proto, docs/specification.md, "OTLP/HTTP".
"""

import asyncio
from collections.abc import Callable, Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from evalpipe.otlp import answers
from evalpipe.otlp.journal import Received
from evalpipe.otlp.payload import Encoding
from evalpipe.web.intake import Intake
from evalpipe.web.problems import (
    NothingHereError,
    RequestError,
    TooLargeError,
    TooSlowError,
    UnauthorisedError,
    UnsupportedError,
    WrongMethodError,
)
from evalpipe.web.tokens import is_authorised

_ENCODINGS: dict[bytes, Encoding] = {
    b"application/x-protobuf": "protobuf",
    b"application/protobuf": "protobuf",
    b"application/json": "json",
}
_MEDIA_TYPES: dict[Encoding, str] = {"protobuf": "application/x-protobuf", "json": "application/json"}
_IS_GZIP = {b"": False, b"identity": False, b"gzip": True}

Headers = dict[bytes, bytes]


class TraceReceiver:
    """The endpoint of /v1/traces."""

    def __init__(self, intake: Intake, digests: Sequence[bytes]) -> None:
        self._intake = intake
        self._digests = digests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._response(scope, receive)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _response(self, scope: Scope, receive: Receive) -> Response:
        headers: Headers = dict(scope["headers"])
        encoding = _encoding(headers)
        try:
            if scope["method"] != "POST":
                raise WrongMethodError(f"{scope['method']} is not for this path; send spans by POST")
            if not is_authorised(scope["headers"], self._digests):
                raise UnauthorisedError("no valid token came with the request; send Authorization: Bearer TOKEN")
            if encoding is None:
                raise UnsupportedError("the content type must be application/x-protobuf or application/json")
            is_gzip = _is_gzip(headers)
            self._require_length(int(headers.get(b"content-length", b"0")))
            self._intake.require_room()
            with self._intake.room() as hold:
                body = await self._body(receive, hold)
                accepted = await self._intake.accept(
                    Received(body, encoding, is_gzip, self._intake.clock_ns(), _source(scope))
                )
        except RequestError as problem:
            return problem_response(problem, encoding)
        if accepted.n_rejected:
            answer = answers.partial(encoding, accepted.n_rejected, accepted.message)
        else:
            answer = answers.success(encoding)
        return Response(answer, media_type=_MEDIA_TYPES[encoding])

    async def _body(self, receive: Receive, hold: Callable[[int], None]) -> bytes:
        """The whole body. Raises ClientDisconnect when the client goes away before its end."""
        timeout_s = self._intake.settings.ingest.request_timeout_s
        chunks: list[bytes] = []
        n_bytes = 0
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk: bytes = message.get("body", b"")
                    n_bytes += len(chunk)
                    self._require_length(n_bytes)
                    hold(len(chunk))
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError as error:
            raise TooSlowError(f"the body did not arrive within {timeout_s:g} s; send it again") from error

    def _require_length(self, n_bytes: int) -> None:
        limit = self._intake.settings.observe.max_payload_bytes
        if n_bytes > limit:
            raise TooLargeError(f"the body is larger than {limit:,} bytes; send smaller batches")


def problem_response(problem: RequestError, encoding: Encoding | None) -> Response:
    """A google.rpc.Status, as JSON where the encoding of the request is not known."""
    encoding = encoding or "json"
    body = answers.failure(encoding, problem.rpc_code, str(problem), retry_after_s=problem.retry_after_s)
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(problem.retry_after_s)
    return Response(body, problem.http_status, headers, _MEDIA_TYPES[encoding])


async def nothing_here(request: Request, _: Exception) -> Response:
    """The answer on every path that takes nothing; among them /v1/metrics and /v1/logs."""
    message = f"nothing is served at {request.url.path}: evalpipe takes traces only, by POST to /v1/traces"
    return problem_response(NothingHereError(message), _encoding(dict(request.scope["headers"])))


def _encoding(headers: Headers) -> Encoding | None:
    media_type, _, _ = headers.get(b"content-type", b"").partition(b";")
    return _ENCODINGS.get(media_type.strip().lower())


def _is_gzip(headers: Headers) -> bool:
    coding = headers.get(b"content-encoding", b"").strip().lower()
    if coding not in _IS_GZIP:
        raise UnsupportedError(f"the content encoding {coding.decode(errors='replace')} is not read; send gzip or none")
    return _IS_GZIP[coding]


def _source(scope: Scope) -> str:
    return f"http {scope['client'][0]}" if scope["client"] else "http"
