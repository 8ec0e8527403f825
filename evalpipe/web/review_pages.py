"""The review page: which address shows or does what. What is true of a queue and a trace is review/desk.py's.

Pages are made on the server and work as plain forms; static/review.js adds keys, drafts and a connection that may
fail. Reading and writing tables blocks, so it happens in threads, beside the receivers' event loop.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from evalpipe.errors import ConflictError, EvalpipeError, InputError, StateError
from evalpipe.home import Home
from evalpipe.review.desk.desk import Answer, Desk, Overview
from evalpipe.web.dossier_pages import DossierPages
from evalpipe.web.gate_pages import GatePages
from evalpipe.web.issue_pages import Boards, IssuePages
from evalpipe.web.review_guard import Form, Guarded, takes_form
from evalpipe.web.review_templates import page
from evalpipe.web.sign_in import SIGN_IN, Door, SignInNeededError
from evalpipe.web.tokens import is_loopback

_MAX_MODES = 200  # to complete from; they are sent with each trace


def review_of(home: Home) -> ASGIApp:
    """All of /review of a home, at the address of its settings."""
    desk, boards = Desk(home.lake, home.settings), Boards(home.lake)
    ingest = home.settings.ingest
    door = Door(home.review_tokens, only_loopback=is_loopback(ingest.host), reviewers=desk.reviewers)
    timing = {"clock": lambda: datetime.now(UTC), "timeout_s": ingest.request_timeout_s}
    issues, traces = IssuePages(boards, desk, door, **timing), ReviewPages(boards, desk, door, **timing)
    handlers = {
        SignInNeededError: _sign_in_needed,
        EvalpipeError: _cannot,
        HTTPException: _refused,
        Exception: _failed,
    }
    dossiers = DossierPages(boards, desk, door, home.settings)
    gates = GatePages(boards, door, home.artifacts)
    routes = [*issues.routes(), *dossiers.routes(), *gates.routes(), *traces.routes()]
    app = Starlette(routes=routes, exception_handlers=handlers)  # pyright: ignore[reportArgumentType]
    return Guarded(app, only_loopback=door.only_loopback)


class ReviewPages:
    """The endpoints of queues and traces, and the way in. `timeout_s` is how long a form may take to arrive."""

    def __init__(
        self, boards: Boards, desk: Desk, door: Door, *, clock: Callable[[], datetime], timeout_s: float
    ) -> None:
        self._boards = boards
        self._desk = desk
        self._door = door
        self._clock = clock
        self._doing = partial(takes_form, timeout_s=timeout_s)

    def routes(self) -> list[Route | Mount]:
        """Addresses hold a cycle and a trace id, nothing that a stranger named."""
        queue = "/review/{cycle:cycle}"
        trace = f"{queue}/{{trace_id:trace_id}}"
        return [
            Route("/review", self.start),
            Route(SIGN_IN, self._door.form),
            Route(SIGN_IN, self._doing(self._door.sign_in), methods=["POST"]),
            Route("/review/sign-out", self._doing(lambda _, __: self._door.sign_out()), methods=["POST"]),
            Mount("/review/static", StaticFiles(packages=[("evalpipe.web", "static")])),
            Route(queue, self.queue),
            Route(f"{queue}/undo", self._doing(self.undo), methods=["POST"]),
            Route(trace, self.trace),
            Route(trace, self._doing(self.answer), methods=["POST"]),
            Route(f"{trace}/skip", self._doing(self.skip), methods=["POST"]),
            Route(f"{trace}/unskip", self._doing(self.unskip), methods=["POST"]),
            Route(f"{trace}/withdraw", self._doing(self.withdraw), methods=["POST"]),
        ]

    def start(self, request: Request) -> Response:
        """The newest queue of who asks."""
        reviewer = self._door.reviewer(request)
        cycles = self._desk.cycles(reviewer)
        if not cycles:
            return page("nothing", reviewer=reviewer, n_pairs=self._boards.n_pairs())
        return _to(f"/review/{cycles[0]}")

    def queue(self, request: Request) -> Response:
        reviewer = self._door.reviewer(request)
        overview = self._desk.overview(reviewer, request.path_params["cycle"])
        return page("queue", overview=overview, reviewer=reviewer, n_pairs=self._boards.n_pairs())

    def trace(self, request: Request) -> Response:
        return self._trace_page(self._door.reviewer(request), **request.path_params)

    def answer(self, request: Request, form: Form) -> Response:
        """Say what the trace is worth, and go on to the next."""
        reviewer = self._door.writer(request, form)
        verdict = form.get("verdict", "")
        said = Answer(
            verdict=verdict,
            failure_mode=None if verdict == "good" else form.get("failure_mode") or None,
            correction=form.get("correction") or None,
            comment=form.get("comment") or None,
            evidence=form.get("evidence") or None,
        )
        try:
            self._desk.answer(
                reviewer, **request.path_params, answer=said, seen=form.get("seen") or None, now=self._clock()
            )
        except ConflictError:
            return self._conflict_page(reviewer, said, **request.path_params)
        return self._onwards(reviewer, **request.path_params)

    def skip(self, request: Request, form: Form) -> Response:
        reviewer = self._door.writer(request, form)
        reason = form.get("own_reason") or form.get("reason") or "no reason given"
        self._desk.skip(reviewer, **request.path_params, reason=reason, now=self._clock())
        return self._onwards(reviewer, **request.path_params)

    def unskip(self, request: Request, form: Form) -> Response:
        self._desk.unskip(self._door.writer(request, form), **request.path_params, now=self._clock())
        return _to("/review/{cycle}/{trace_id}".format(**request.path_params))

    def withdraw(self, request: Request, form: Form) -> Response:
        """Take back what was said of the trace, and stay at it."""
        reviewer = self._door.writer(request, form)
        self._desk.withdraw(reviewer, **request.path_params, seen=form.get("seen") or None, now=self._clock())
        return _to("/review/{cycle}/{trace_id}".format(**request.path_params))

    def undo(self, request: Request, form: Form) -> Response:
        """Take back the last answer or skip, and go to its trace; 204 when there is none."""
        cycle = request.path_params["cycle"]
        trace_id = self._desk.undo(self._door.writer(request, form), cycle, now=self._clock())
        return Response(status_code=204) if trace_id is None else _to(f"/review/{cycle}/{trace_id}")

    def _trace_page(self, reviewer: str, cycle: str, trace_id: str) -> Response:
        overview = self._desk.overview(reviewer, cycle)
        try:
            sheet = self._desk.sheet(reviewer, cycle, trace_id)
        except StateError as error:
            if all(item.trace_id != trace_id for item in overview.items):
                raise
            return page(
                "gone", status=HTTPStatus.GONE, overview=overview, trace_id=trace_id, what=str(error), reviewer=reviewer
            )
        return page(
            "trace",
            sheet=sheet,
            overview=overview,
            modes=self._desk.modes(sheet.item.service_name)[:_MAX_MODES],
            reviewer=reviewer,
        )

    def _conflict_page(self, reviewer: str, said: Answer, cycle: str, trace_id: str) -> Response:
        """Both opinions, to choose from: which one is right is not for the later click to decide."""
        return page(
            "conflict",
            status=HTTPStatus.CONFLICT,
            sheet=self._desk.sheet(reviewer, cycle, trace_id),
            said=said,
            overview=self._desk.overview(reviewer, cycle),
            reviewer=reviewer,
        )

    def _onwards(self, reviewer: str, cycle: str, trace_id: str) -> Response:
        following = next_to_read(self._desk.overview(reviewer, cycle), trace_id)
        return _to(f"/review/{cycle}" if following is None else f"/review/{cycle}/{following}")


def next_to_read(overview: Overview, trace_id: str) -> str | None:
    """The first unread trace after `trace_id` in reading order, else the first unread one; None when all is read."""
    order = [item.trace_id for item in overview.items]
    at = order.index(trace_id) + 1 if trace_id in order else 0
    following = [item.trace_id for item in overview.items[at:] if item.status == "queued"]
    return following[0] if following else overview.next_unread


class _Cycle(Convertor[str]):
    """An ISO week, such as 2026-W47."""

    regex = "[0-9]{4}-W[0-9]{2}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _TraceId(_Cycle):
    """32 lower-case hex digits."""

    regex = "[0-9a-f]{32}"


register_url_convertor("cycle", _Cycle())
register_url_convertor("trace_id", _TraceId())


def _to(address: str) -> Response:
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)


def _sign_in_needed(request: Request, _: Exception) -> Response:
    """Reading goes to the sign-in page. What was to be written is not lost on the way: its page keeps it."""
    if request.method in ("GET", "HEAD"):
        return _to(SIGN_IN)
    return _message(HTTPStatus.UNAUTHORIZED, "You are not signed in", "Sign in again; what you wrote is kept here.")


def _cannot(_: Request, error: Exception) -> Response:
    match error:
        case ConflictError():
            return _message(HTTPStatus.CONFLICT, "Changed in another window", str(error))
        case StateError():
            return _message(HTTPStatus.NOT_FOUND, "Not in your queue", str(error))
        case InputError():
            return _message(HTTPStatus.BAD_REQUEST, "This cannot be saved", str(error))
        case _:
            return _message(HTTPStatus.SERVICE_UNAVAILABLE, "Not now", f"{error} Try again in a moment.")


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    titles = {403: "Closed", 404: "Nothing here", 405: "Nothing here", 409: "Somebody else is signed in"}
    what = "There is no such page. " if error.status_code in (404, 405) else error.detail
    return _message(error.status_code, titles.get(error.status_code, "This cannot be saved"), what)


async def _failed(_: Request, __: Exception) -> Response:
    return _message(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Something broke on our side",
        "What you wrote is kept in this browser and is sent again. The log of the server says what happened.",
    )


def _message(status: int, title: str, what: str) -> Response:
    # Where the door is closed, the way back leads to it again.
    return page("message", status=status, title=title, what=what, leads_back=status != HTTPStatus.FORBIDDEN)
