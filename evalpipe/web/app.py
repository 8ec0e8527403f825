"""The web application: which path is answered by what. The endpoints of one thing live in its own file."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from evalpipe.web.hook_http import Hook
from evalpipe.web.intake import Intake
from evalpipe.web.otlp_http import TraceReceiver, nothing_here


async def healthz(_: Request) -> Response:
    """200 while the process answers at all."""
    return JSONResponse({"status": "up"})


def web_app(
    intake: Intake,
    digests: Sequence[bytes],
    *,
    is_absorbing: Callable[[], bool],
    review: ASGIApp | None = None,
    hook: Hook | None = None,
) -> Starlette:
    """All of the web room. `is_absorbing` tells whether journals become segments.

    Without `review` there is no page, without `hook` nothing at /gate.
    """

    async def readyz(_: Request) -> Response:
        """503, and which of them is not as it should be, when requests are better sent elsewhere for now."""
        checks = {"journal": intake.is_writing, "backlog": intake.has_room, "absorber": is_absorbing()}
        return JSONResponse(checks, status_code=200 if all(checks.values()) else 503)

    routes = [
        Route("/v1/traces", TraceReceiver(intake, digests)),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]
    if review is not None:
        routes += [Route("/review", review), Route("/review/{rest:path}", review)]
    if hook is not None:
        routes += hook.routes()
    return Starlette(routes=routes, exception_handlers={404: nothing_here})
