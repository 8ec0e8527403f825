"""The page on which reviewers agree what a failure is called: /review/issues. What is true of issues is in issues/.

Everybody who reviews may decide here, and every decision is an event with a name on it.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

import polars as pl
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from evalpipe.errors import InputError, StateError
from evalpipe.issues import decisions
from evalpipe.issues.board import Board, Card, Example, OpenPair, board_of, examples_of, open_pairs
from evalpipe.issues.on_lake import Command, decide
from evalpipe.issues.replay import Issues, replay, root_of
from evalpipe.issues.telling import LIFE, story
from evalpipe.issues.telling import Told as Happened
from evalpipe.issues.undo import Act, last_act, undoing
from evalpipe.lake.followed import Followed
from evalpipe.lake.store import Lake
from evalpipe.review.annotations import effective_annotations
from evalpipe.review.desk.desk import Desk, Place
from evalpipe.tables import ANNOTATIONS, ISSUE_EVENTS, ISSUE_PROPOSALS, ISSUES, TRUTH_SOURCES
from evalpipe.web.review_guard import Form, takes_form
from evalpipe.web.review_templates import page
from evalpipe.web.sign_in import Door

ADDRESS = "/review/issues"

_MAX_PAIRS = 20  # shown at once: when they are decided on, the others come
_MAX_CARDS = 200
_MAX_EXAMPLES = 3  # of an issue in a pair
_SITTING = timedelta(hours=12)  # what was decided before it is not taken back by a slip of the finger
_ADVICE = re.compile(r"[^.;]*\brun: evalpipe .*", re.IGNORECASE | re.DOTALL)  # for a command line; it comes last


class Told(NamedTuple):
    """One issue that is not merged: as the board has it, and what people wrote of it."""

    card: Card
    examples: list[Example]


class _Opened(NamedTuple):
    versions: tuple[int | None, int | None]  # of ISSUE_EVENTS and ISSUE_PROPOSALS
    issues: Issues
    pairs: list[OpenPair]


class Boards:
    """The board of issues as the tables are now, kept from one page to the next."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._events = Followed(lake, ISSUE_EVENTS)
        self._proposals = Followed(lake, ISSUE_PROPOSALS)
        self._issues = Followed(lake, ISSUES)
        self._annotations = Followed(lake, ANNOTATIONS, pl.col("label_source").is_in(TRUTH_SOURCES))
        self._opened: _Opened | None = None
        self._board: tuple[object, Board] | None = None  # with what it was made from

    def now(self) -> Board:
        """Everything that there is to decide on."""
        opened, annotations, table = self._open(), self._annotations.now(), self._issues.now()
        made_from = (opened.versions, annotations.version, table.version)
        held = self._board
        if held is None or held[0] != made_from:
            board = board_of(opened.issues, opened.pairs, effective_annotations(annotations.rows), table.rows)
            held = self._board = (made_from, board)
        return held[1]

    def n_pairs(self) -> int:
        """How many proposals wait for somebody to decide."""
        return len(self._open().pairs)

    def last_act(self, reviewer: str, now: datetime) -> Act | None:
        """What the reviewer decided last in this sitting."""
        return last_act(self._events.now().rows, reviewer, since=now - _SITTING)

    def name_of(self, issue_id: str) -> str:
        """What people call the issue; what is no issue's id stays as it is."""
        issues = self._open().issues
        return issues[issue_id].name if issue_id in issues else issue_id

    def goes_by(self, issue_id: str) -> str | None:
        """The id that the issue goes by now, after merges; None when there is no such issue."""
        issues = self._open().issues
        return root_of(issues, issue_id).issue_id if issue_id in issues else None

    def told(self, issue_id: str) -> Told:
        """All that is said of an issue that is not merged."""
        issues, annotations = self._open().issues, self._annotations.now().rows
        card = next(card for card in self.now().cards if card.issue_id == issue_id)
        return Told(card, examples_of(issue_id, issues, effective_annotations(annotations)))

    def story(self, issue_id: str) -> list[Happened]:
        """What moved the issue or flagged it, the newest first."""
        return [each for each in reversed(story(self._events.now().rows, issue_id)) if each.kind in LIFE]

    def _open(self) -> _Opened:
        events, proposals = self._events.now(), self._proposals.now()
        versions = (events.version, proposals.version)
        held = self._opened
        if held is None or held.versions != versions:
            issues = replay(events.rows)
            held = self._opened = _Opened(versions, issues, open_pairs(proposals.rows, issues))
        return held


class IssuePages:
    """Its endpoints. `timeout_s` is how long a form may take to arrive."""

    def __init__(
        self, boards: Boards, desk: Desk, door: Door, *, clock: Callable[[], datetime], timeout_s: float
    ) -> None:
        self._boards = boards
        self._desk = desk
        self._door = door
        self._clock = clock
        self._doing = partial(takes_form, timeout_s=timeout_s)

    def routes(self) -> list[Route]:
        return [Route(ADDRESS, self.show), Route(ADDRESS, self._doing(self.decide), methods=["POST"])]

    def show(self, request: Request) -> Response:
        return self._page(self._door.reviewer(request))

    def decide(self, request: Request, form: Form) -> Response:
        """Do what the button `do` says, in the name of who presses it; what cannot be done is said on the page."""
        reviewer = self._door.writer(request, form)
        now = self._clock()
        try:
            if form.get("do") == "undo":
                act = self._boards.last_act(reviewer, now)
                if act is None or act.event_id != form.get("act"):
                    raise StateError("it is not your last decision any more.")
                decide(self._boards.lake, act.before.issue_id, undoing(act), author=reviewer, now=now)
            else:
                reference, command = _command_of(form)
                decide(self._boards.lake, reference, command, author=reviewer, now=now)
        except StateError as error:
            return self._page(reviewer, problem=self._in_words(error))
        return RedirectResponse(ADDRESS, HTTPStatus.SEE_OTHER)

    def _page(self, reviewer: str, problem: str | None = None) -> Response:
        board = self._boards.now()
        pairs = board.pairs[:_MAX_PAIRS]
        examples = [each for pair in pairs for card in (pair.issue, pair.into) for each in card.examples]
        places = self._desk.places(reviewer, [each.trace_id for each in examples])
        act = self._boards.last_act(reviewer, self._clock())
        return page(
            "issues",
            status=HTTPStatus.OK if problem is None else HTTPStatus.CONFLICT,
            reviewer=reviewer,
            n_pairs=len(board.pairs),
            pairs=pairs,
            cards=board.cards[:_MAX_CARDS],
            n_cards=len(board.cards),
            shown_of=partial(shown_to, places=places),
            places=places,
            act=act,
            other="" if act is None else self._boards.name_of(act.other),
            problem=problem,
        )

    def _in_words(self, error: StateError) -> str:
        """The error with names for ids, and without its advice for the command line."""
        return re.sub(
            r"\biss_[0-9a-f]+", lambda found: f"“{self._boards.name_of(found[0])}”", _ADVICE.sub("", str(error))
        ).strip()


def _command_of(form: Form) -> tuple[str, Command]:
    """The issue that the form is about, and what is to become of it. Raises InputError when it says neither."""
    issue, other, into = (form.get(name, "") for name in ("issue", "other", "into"))
    match form.get("do"):
        case "merge" if issue and into:
            goes = other if other and into == issue else issue
            return goes, lambda found, issues, **by: decisions.merge(found, decisions.find(issues, into), **by)
        case "apart" if issue and other:
            return issue, lambda found, issues, **by: decisions.keep_apart(found, decisions.find(issues, other), **by)
        case "rename" if issue:
            name = form.get("name", "")
            return issue, lambda found, issues, **by: decisions.rename(found, name, issues=issues, **by)
        case "split" if issue:
            modes = [form.get("mode", "")]
            return issue, lambda found, issues, **by: decisions.split(found, modes, issues=issues, **by)
        case _:
            raise InputError("the form does not say what is to be done with which issue. Send it from the page itself.")


def shown_to(examples: list[Example], *, places: Mapping[str, Place], most: int = _MAX_EXAMPLES) -> list[Example]:
    """The newest that the reader may see: what others say of a trace is kept from who is still to read it."""
    return [each for each in examples if each.trace_id not in places or places[each.trace_id].is_read][:most]
