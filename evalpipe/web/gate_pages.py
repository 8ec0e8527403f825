"""The gates that were decided: /review/gates, and the page of each, which the gate wrote itself.

What a page says is gate/render's; nothing is decided here.
"""

from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from evalpipe.gate.render.forms import KEPT
from evalpipe.ids import is_safe_name
from evalpipe.lake.followed import Followed
from evalpipe.tables import GATE_RUNS
from evalpipe.web.issue_pages import Boards
from evalpipe.web.review_templates import page
from evalpipe.web.sign_in import Door

ADDRESS = "/review/gates"

_MAX_LISTED = 100  # the newest
# The page is one file with its own styles; no script of anybody runs in it, and nothing is loaded.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


class GatePages:
    """Its endpoints. `artifacts` is where gates write their pages."""

    def __init__(self, boards: Boards, door: Door, artifacts: Path) -> None:
        self._boards = boards
        self._door = door
        self._folder = artifacts / "gates"
        self._runs = Followed(boards.lake, GATE_RUNS)

    def routes(self) -> list[Route]:
        return [Route(ADDRESS, self.list), Route(ADDRESS + "/{gate_id}", self.show)]

    def list(self, request: Request) -> Response:
        """The newest decisions, the newest first."""
        reviewer = self._door.reviewer(request)
        rows = self._runs.now().rows.sort("decided_at", "gate_id", descending=True).head(_MAX_LISTED).to_dicts()
        for row in rows:
            row["has_page"] = self._path(row["gate_id"]) is not None
        return page("gates", reviewer=reviewer, n_pairs=self._boards.n_pairs(), gates=rows)

    def show(self, request: Request) -> Response:
        """The page of one gate."""
        self._door.reviewer(request)
        path = self._path(request.path_params["gate_id"])
        if path is None:
            what = "There is no page of such a gate here. Its decision may be older than the pages, or its id mistyped."
            return page("message", status=HTTPStatus.NOT_FOUND, title="No such gate", what=what, leads_back=True)
        headers = {"content-security-policy": _POLICY, "cache-control": "no-store"}
        return FileResponse(path, headers=headers, media_type="text/html; charset=utf-8")

    def _path(self, gate_id: str) -> Path | None:
        if not is_safe_name(gate_id):
            return None
        path = self._folder / gate_id / KEPT["html"]
        return path if path.is_file() else None
