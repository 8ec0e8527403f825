"""The webhook over HTTP: POST /gate and GET /gate/ID. What becomes of a request is hook_desk.py's.

A body is counted while it is read, so that one that is too large is never held.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from evalpipe.settings import HookSettings
from evalpipe.web.hook_desk import Desk, TurnedAwayError
from evalpipe.web.hook_ledger import Entry

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_MAX_BODIES = 8  # held at once, each of up to max_body_bytes: the receivers of traces live in the same process
_STATUS_OF = {
    "done": HTTPStatus.OK,
    "refused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "failed": HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Hook:
    """Its endpoints. Without a desk nobody may ask. `closing` ends what is held."""

    def __init__(self, desk: Desk | None, settings: HookSettings, *, timeout_s: float, closing: asyncio.Event) -> None:
        self._desk = desk
        self._settings = settings
        self._timeout_s = timeout_s
        self._closing = closing
        self._rooms = asyncio.Semaphore(_MAX_BODIES)

    def routes(self) -> list[Route]:
        return [Route("/gate", self.ask, methods=["POST"]), Route("/gate/{request_id}", self.show)]

    async def ask(self, request: Request) -> Response:
        """202 and where to look; with ?wait=1 the decision itself, when it is there in time."""
        try:
            if self._desk is None:
                raise TurnedAwayError(
                    HTTPStatus.FORBIDDEN,
                    "nobody may ask here yet. Set EVALPIPE_GATE_SECRETS=NAME=KEY and start the server again",
                )
            media_type, _, _ = request.headers.get("content-type", "").partition(";")
            if media_type.strip().lower() != "application/json":
                raise TurnedAwayError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json")
            headers = dict(request.scope["headers"])
            self._desk.require_signature(headers)
            async with self._room():
                entry = await self._desk.take(headers, await self._body(request))
            if _is_waited_for(request):
                entry = await self._held(self._desk, entry)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except TurnedAwayError as away:
            return _json(away.status, {"error": str(away)}, away.headers)
        where = {"location": f"/gate/{entry.id}"}
        if not _is_waited_for(request) or entry.status == "queued":
            return _json(HTTPStatus.ACCEPTED, self._told(self._desk, entry), where)
        if entry.decision is not None:
            headers = where | {"gate-exit-code": str(entry.exit_code)}
            return Response(entry.decision, HTTPStatus.OK, _HEADERS | headers, "application/json")
        return _json(_STATUS_OF[entry.status], self._told(self._desk, entry), where)

    async def show(self, request: Request) -> Response:
        """What became of a request, with the decision when there is one."""
        desk, request_id = self._desk, request.path_params["request_id"]
        entry = None if desk is None else await desk.entry(request_id)
        if desk is None or entry is None:
            return _json(HTTPStatus.NOT_FOUND, {"error": "there is no such gate, or it is so old that it is forgotten"})
        if _is_waited_for(request):
            entry = await self._held(desk, entry)
        return _json(HTTPStatus.OK, self._told(desk, entry))

    def _told(self, desk: Desk, entry: Entry) -> dict[str, Any]:
        status = "failed" if entry.status == "refused" else entry.status
        told: dict[str, Any] = {"id": entry.id, "status": status, "url": f"/gate/{entry.id}"}
        if entry.status == "queued" and desk.is_running(entry.id):
            told["status"] = "running"
        if entry.run_id is not None:
            told["run_id"] = entry.run_id
        if entry.error is not None:
            told |= {"error": entry.error, "exit_code": 2}
        if entry.decision is not None:
            told |= {"gate_id": entry.gate_id, "exit_code": entry.exit_code, "decision": orjson.loads(entry.decision)}
        if entry.told is not None:
            told["github"] = entry.told
        return told

    async def _held(self, desk: Desk, entry: Entry) -> Entry:
        """Until it is finished, for a while; at the end of the server not at all."""
        done = asyncio.create_task(desk.finished(entry.id, self._settings.max_wait_s))
        ending = asyncio.create_task(self._closing.wait())
        await asyncio.wait({done, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not done.done():
            done.cancel()
            return entry
        return done.result() or entry

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        """For one body: who sent it is not known before it is read. Raises TurnedAwayError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._rooms.acquire()
        except TimeoutError as error:
            raise TurnedAwayError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{_MAX_BODIES} requests are being read already",
                {"retry-after": "5", "connection": "close"},
            ) from error
        try:
            yield
        finally:
            self._rooms.release()

    async def _body(self, request: Request) -> bytes:
        limit = self._settings.max_body_bytes
        length = request.headers.get("content-length", "0")
        body = bytearray()
        is_too_large = length.isdigit() and int(length) > limit
        try:
            async with asyncio.timeout(self._timeout_s):
                if not is_too_large:
                    async for chunk in request.stream():
                        body += chunk
                        if len(body) > limit:
                            is_too_large = True
                            break
        except TimeoutError as error:
            raise TurnedAwayError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the body did not arrive within {self._timeout_s:g} s; send it again",
                {"connection": "close"},
            ) from error
        if is_too_large:
            raise TurnedAwayError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body is larger than {limit:,} bytes. Send fewer cases, or traces to the receiver and a gate_ref",
            )
        return bytes(body)


def _is_waited_for(request: Request) -> bool:
    return request.query_params.get("wait", "") not in ("", "0")


def _json(status: HTTPStatus, content: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content) + b"\n", status, _HEADERS | (headers or {}), "application/json")
