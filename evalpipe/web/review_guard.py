"""What stands before every review page: whose request it is willing to hear at all, and what its answers forbid.

Nothing here knows reviewers; who somebody is, is sign_in.py's question. Traces are hostile text, and the page can
write: so no other site may call it, frame it, or have its own script run in it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evalpipe.web.tokens import is_loopback

Form = dict[str, str]
"""The fields of a form by name."""

_MAX_FORM_BYTES = 256 * 1024  # an answer with a long correction is a few kilobytes
_MAX_FIELDS = 20
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guarded:
    """`app` with these headers on every answer, deaf to other sites.

    With `only_loopback` it hears requests for this machine's own names alone: a page elsewhere whose name is made to
    resolve to 127.0.0.1 (DNS rebinding) asks for another.
    """

    def __init__(self, app: ASGIApp, *, only_loopback: bool) -> None:
        self._app = app
        self._only_loopback = only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)  # a page that is one whole file has a policy of its own
                # What has an etag is a file of this package; all else is what somebody's users said.
                headers.setdefault("cache-control", "no-cache" if "etag" in headers else "no-store")
            await send(message)

        problem = self._problem(request)
        app = self._app if problem is None else PlainTextResponse(problem, 403)
        # What the routes before this app made of the address is not its own parameters.
        await app({**scope, "path_params": {}}, receive, send_guarded)

    def _problem(self, request: Request) -> str | None:
        host = request.headers.get("host", "").lower()
        if self._only_loopback and not is_loopback(_hostname(host)):
            return (
                f"This review page answers on this machine only, not for the host {host[:200]!r}. Open it as "
                "http://localhost, or have the proxy before it send its own Host header as that.\n"
            )
        if request.method not in ("GET", "HEAD") and not _is_from_here(request, host):
            return "This form was sent by another site, so nothing was done. Send it from the review page itself.\n"
        return None


def takes_form(act: Callable[[Request, Form], Response], timeout_s: float) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint that calls `act` with the form of a request, in a thread: `act` may block."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(act, request, await read_form(request, timeout_s))

    return endpoint


async def read_form(request: Request, timeout_s: float) -> Form:
    """The fields of a form, trimmed, with newlines as \\n; of a name that comes twice the last.

    Raises HTTPException: 413 when it is too large, 415 or 400 when it is no form, 408 when it does not arrive in time.
    """
    media_type, _, _ = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "This is not the form of the review page.")
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_FORM_BYTES:
                    raise HTTPException(
                        413,
                        f"An answer may have {_MAX_FORM_BYTES // 1024} KiB. Shorten the evidence or the correction.",
                    )
    except TimeoutError as error:
        raise HTTPException(408, "The answer did not arrive in time. Send it again.") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "The connection ended before the answer had arrived.") from error
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise HTTPException(400, "This is not the form of the review page.") from error
    return {name: value.replace("\r\n", "\n").strip() for name, value in fields}


def _is_from_here(request: Request, host: str) -> bool:
    """Browsers say where a request comes from; a client that says nothing is no browser, and no site can drive it."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or origin.lower() in (f"http://{host}", f"https://{host}")


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
