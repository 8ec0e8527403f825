"""A reviewer's desk: the queue of a cycle, each trace as a sheet to read, and what the reviewer says of it.

It answers from memory, in milliseconds, and writes to the tables before it returns. A reviewer sees nobody else's
opinion of a trace, because how far people agree is measured. Pages are in web/.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import polars as pl

from evalpipe.errors import ConflictError, InputError, StateError
from evalpipe.lake.followed import Followed
from evalpipe.lake.store import Lake
from evalpipe.review.desk import opinions
from evalpipe.review.desk.modes import Mode, Modes
from evalpipe.review.desk.opinions import Answer, Opinion, Skip, Stance
from evalpipe.review.desk.reading import Reading, Shelf, read_queue
from evalpipe.review.desk.sheet import Facts, Mark, SheetStep, Turn
from evalpipe.settings import Settings
from evalpipe.tables import ANNOTATIONS, CANDIDATES, ISSUES, REVIEW_EVENTS

__all__ = [
    "Answer",
    "Desk",
    "Facts",
    "Item",
    "Mark",
    "Mode",
    "Opinion",
    "Overview",
    "Place",
    "Sheet",
    "SheetStep",
    "Turn",
]

_MAX_REQUEST_CHARS = 160  # of a request in a list: two lines
_OF_CANDIDATE = (
    "rank", "trace_id", "service_name", "day", "queue", "arm", "reasons", "pattern_id", "pattern_frequency",
    "carried_from",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """A trace in a reviewer's queue."""

    rank: int
    trace_id: str
    service_name: str
    day: date
    queue: str  # the signal it is here for, or 'control'
    arm: str
    reasons: list[str]
    status: str  # queued, done or skipped
    verdict: str | None  # the reviewer's own
    failure_mode: str | None
    pattern_id: str
    pattern_frequency: int
    is_second_opinion: bool
    carried_from: str | None
    request: str | None  # its first 160 characters


@dataclass(frozen=True, slots=True)
class Overview:
    """A reviewer's queue of a cycle in reading order, and how far it was read."""

    reviewer: str
    cycle: str
    cycles: list[str]  # of this reviewer, newest first
    items: list[Item]
    n_total: int
    n_done: int
    n_skipped: int
    next_unread: str | None  # the first queued trace

    @property
    def n_left(self) -> int:
        return self.n_total - self.n_done - self.n_skipped


@dataclass(frozen=True, slots=True)
class Sheet:
    """A trace as a reviewer reads it. `seen` names the newest thing this reviewer said of it, withdrawn or not."""

    item: Item
    steps: list[SheetStep]
    facts: Facts
    session: list[Turn]
    mine: Opinion | None
    seen: str | None
    previous: str | None  # trace ids in reading order
    next: str | None


class Place(NamedTuple):
    """Where a trace lies for a reviewer: the newest cycle it was queued in, and whether it was read."""

    cycle: str
    is_read: bool


class Desk:
    """Every reviewer's queue and answers. Thread-safe; one serves a whole process, and others may run beside it."""

    def __init__(self, lake: Lake, settings: Settings) -> None:
        self._lake = lake
        self._session_days = settings.observe.session_days
        self._candidates = Followed(lake, CANDIDATES)
        self._annotations = Followed(lake, ANNOTATIONS, pl.col("label_source") == "human")
        self._events = Followed(lake, REVIEW_EVENTS)
        self._issues = Followed(lake, ISSUES)
        self._shelf = Shelf(settings.review.desk_bytes)
        self._modes: tuple[object, Modes] | None = None  # with what it was made from

    def reviewers(self) -> list[str]:
        """Who has a queue in any cycle, sorted."""
        return sorted(self._candidates.now().rows["reviewer"].unique())

    def cycles(self, reviewer: str) -> list[str]:
        """The cycles in which the reviewer has a queue, the newest first."""
        queued = self._candidates.now().rows.filter(pl.col("reviewer") == reviewer)
        return sorted(queued["cycle"].unique(), reverse=True)

    def overview(self, reviewer: str, cycle: str | None = None) -> Overview:
        """The queue of a cycle (None: the newest). Raises StateError where there is none.

        What its traces say is read here, once for a queue, so that each sheet is there at once.
        """
        cycles = self.cycles(reviewer)
        if not cycles:
            raise StateError(f"nothing is queued for {reviewer!r}. Build a queue with: evalpipe queue build")
        queue = self._queue(reviewer, cycle or cycles[0])
        reading, said = self._reading(queue), self._said(queue, queue.frame["trace_id"])
        items = [_item(row, reading, said) for row in queue.rows]
        n_done, n_skipped = (sum(item.status == status for item in items) for status in ("done", "skipped"))
        unread = (item.trace_id for item in items if item.status == "queued")
        return Overview(reviewer, queue.cycle, cycles, items, len(items), n_done, n_skipped, next(unread, None))

    def sheet(self, reviewer: str, cycle: str, trace_id: str) -> Sheet:
        """One trace of the queue. Raises StateError when it is not in it, or no longer in the tables."""
        queue = self._queue(reviewer, cycle)
        place = queue.place_of(trace_id)
        reading = self._reading(queue)
        said = self._said(queue, reading.shown)
        stance = said.stances.get(trace_id)
        return Sheet(
            item=_item(queue.rows[place], reading, said),
            steps=reading.steps(trace_id),
            facts=reading.facts(trace_id),
            session=reading.session(trace_id, said.verdicts),
            mine=stance.opinion if stance else None,
            seen=stance.seen if stance else None,
            previous=queue.rows[place - 1]["trace_id"] if place > 0 else None,
            next=queue.rows[place + 1]["trace_id"] if place + 1 < len(queue.rows) else None,
        )

    def places(self, reviewer: str, trace_ids: Sequence[str]) -> dict[str, Place]:
        """Those of these traces that ever were in the reviewer's queue, and where."""
        is_asked = pl.col("trace_id").is_in(trace_ids)
        queued = self._candidates.now().rows.filter(is_asked, pl.col("reviewer") == reviewer).sort("cycle")
        said = opinions.stances(self._annotations.now().rows.filter(is_asked), reviewer)
        return {
            row["trace_id"]: Place(row["cycle"], _is_read(row, said.get(row["trace_id"])))
            for row in queued.select("trace_id", "cycle", "status").iter_rows(named=True)
        }

    def modes(self, service_name: str | None = None) -> list[Mode]:
        """The failure modes to complete from: open ones first, of those the service's own, of those the frequent."""
        tables = [table.now() for table in (self._issues, self._annotations, self._candidates)]
        versions = [table.version for table in tables]
        held = self._modes
        if held is None or held[0] != versions:
            held = self._modes = (versions, Modes(*(table.rows for table in tables)))
        return held[1].of(service_name)

    def answer(
        self, reviewer: str, cycle: str, trace_id: str, answer: Answer, *, seen: str | None, now: datetime
    ) -> str:
        """Make `answer` what the reviewer says of the trace; its annotation id. Durable on return.

        An answer that stands already, such as a submit that was sent again, changes nothing. Raises InputError when it
        cannot be taken, ConflictError when `seen` (of the sheet) is not the newest thing this reviewer said.
        """
        if answer.verdict not in ("good", "bad", "partial"):
            raise InputError(f"verdict {answer.verdict[:60]!r} is none of good, bad, partial")
        self._queue(reviewer, cycle).place_of(trace_id)
        annotation_id = ""

        def rows_of(annotations: pl.DataFrame) -> pl.DataFrame:
            nonlocal annotation_id
            stance = opinions.stance_on(annotations, reviewer, trace_id)
            if stance is not None and opinions.is_same(answer, stance.opinion):
                annotation_id = stance.standing[-1]["annotation_id"]
                return annotations.clear()
            _require_seen(stance, seen, trace_id)
            rows = opinions.answer_rows(answer, stance, reviewer=reviewer, cycle=cycle, trace_id=trace_id, now=now)
            annotation_id = rows["annotation_id"].last()
            return rows

        self._annotations.add(rows_of)
        return annotation_id

    def withdraw(self, reviewer: str, cycle: str, trace_id: str, *, seen: str | None, now: datetime) -> None:
        """Take back what the reviewer says of the trace: it is unread again. Nothing where nothing stands.

        Raises ConflictError when `seen` is not the newest thing this reviewer said.
        """
        self._queue(reviewer, cycle).place_of(trace_id)

        def rows_of(annotations: pl.DataFrame) -> pl.DataFrame:
            stance = opinions.stance_on(annotations, reviewer, trace_id)
            if stance is None or stance.opinion is None:
                return annotations.clear()
            _require_seen(stance, seen, trace_id)
            return opinions.withdrawal_rows(stance, reviewer=reviewer, cycle=cycle, trace_id=trace_id, now=now)

        self._annotations.add(rows_of)

    def skip(self, reviewer: str, cycle: str, trace_id: str, reason: str, *, now: datetime) -> None:
        """Leave the trace unread, for a reason in words. Raises InputError without one.

        Raises ConflictError where the reviewer has answered: that is taken back first.
        """
        if not reason.strip():
            raise InputError("a skip needs a reason: it tells whether somebody else should read the trace")
        stance = opinions.stance_on(self._annotations.now().rows, reviewer, trace_id)
        if stance is not None and stance.standing:
            raise ConflictError(f"trace {trace_id} has your answer. Undo that before you skip it.")
        self._set_skip(reviewer, cycle, trace_id, reason.strip(), now)

    def unskip(self, reviewer: str, cycle: str, trace_id: str, *, now: datetime) -> None:
        """Take a skip back. Nothing where the trace is not skipped."""
        self._set_skip(reviewer, cycle, trace_id, None, now)

    def undo(self, reviewer: str, cycle: str, *, now: datetime) -> str | None:
        """Take back the newest answer or skip that was given here in this cycle and still stands; its trace id.

        Done again, it takes back the one before. None when none is left. What an answer had replaced stays withdrawn.
        Raises ConflictError when another window came first.
        """
        queue = self._queue(reviewer, cycle)
        said = self._said(queue, queue.frame["trace_id"])
        last = said.last_act(cycle)
        if last is None:
            return None
        _, trace_id, is_skip = last
        if is_skip:
            self.unskip(reviewer, cycle, trace_id, now=now)
        else:
            self.withdraw(reviewer, cycle, trace_id, seen=said.stances[trace_id].seen, now=now)
        return trace_id

    def _queue(self, reviewer: str, cycle: str) -> "_Queue":
        version, candidates = self._candidates.now()
        ours = candidates.filter(pl.col("reviewer") == reviewer, pl.col("cycle") == cycle).sort("rank")
        if not ours.height:
            there_are = ", ".join(self.cycles(reviewer)) or "none"
            raise StateError(f"there is no queue of {reviewer!r} for {cycle!r}; there are: {there_are}")
        return _Queue(reviewer, cycle, version, ours, ours.to_dicts())

    def _reading(self, queue: "_Queue") -> Reading:
        key = (queue.reviewer, queue.cycle, queue.version)
        return self._shelf.get(key, lambda: read_queue(self._lake, queue.frame, self._session_days))

    def _said(self, queue: "_Queue", trace_ids: pl.Series) -> "_Said":
        is_asked = pl.col("trace_id").is_in(trace_ids.implode())
        return _Said(
            opinions.stances(self._annotations.now().rows.filter(is_asked), queue.reviewer),
            opinions.skips(self._events.now().rows.filter(is_asked), queue.reviewer, queue.cycle),
        )

    def _set_skip(self, reviewer: str, cycle: str, trace_id: str, reason: str | None, now: datetime) -> None:
        self._queue(reviewer, cycle).place_of(trace_id)

        def rows_of(events: pl.DataFrame) -> pl.DataFrame:
            skip = opinions.skips(events, reviewer, cycle).get(trace_id)
            return opinions.skip_rows(reason, skip, reviewer=reviewer, cycle=cycle, trace_id=trace_id, now=now)

        self._events.add(rows_of)


class _Queue(NamedTuple):
    """One reviewer's queue of one cycle, in reading order."""

    reviewer: str
    cycle: str
    version: int | None  # of CANDIDATES
    frame: pl.DataFrame
    rows: list[dict[str, Any]]

    def place_of(self, trace_id: str) -> int:
        for place, row in enumerate(self.rows):
            if row["trace_id"] == trace_id:
                return place
        raise StateError(f"trace {trace_id} is not in the queue of {self.reviewer!r} for {self.cycle}")


class _Said(NamedTuple):
    """What one reviewer says of some traces, and which of them were skipped in one cycle."""

    stances: dict[str, Stance]
    skips: dict[str, Skip]

    @property
    def verdicts(self) -> dict[str, str]:
        return {trace_id: stance.opinion.verdict for trace_id, stance in self.stances.items() if stance.opinion}

    def last_act(self, cycle: str) -> tuple[datetime, str, bool] | None:
        """When, of which trace, and whether it was a skip; None without one. What a file brought is no act."""
        acts = [
            (stance.said_at, trace_id, False)
            for trace_id, stance in self.stances.items()
            if stance.standing
            and (stance.standing[-1]["source"], stance.standing[-1]["cycle"]) == (opinions.SOURCE, cycle)
        ]
        acts += [(skip.at, trace_id, True) for trace_id, skip in self.skips.items() if skip.reason is not None]
        return max(acts, default=None)


def _item(row: dict[str, Any], reading: Reading, said: _Said) -> Item:
    trace_id = row["trace_id"]
    stance = said.stances.get(trace_id)
    opinion = stance.opinion if stance else None
    skip = said.skips.get(trace_id)
    status = (
        "done" if _is_read(row, stance) else "skipped" if skip is not None and skip.reason is not None else "queued"
    )
    request = reading.request(trace_id)
    return Item(
        **{name: row[name] for name in _OF_CANDIDATE},
        is_second_opinion=bool(row["is_second_opinion"]),
        status=status,
        verdict=opinion.verdict if opinion else None,
        failure_mode=opinion.failure_mode if opinion else None,
        request=request[:_MAX_REQUEST_CHARS] if request else None,
    )


def _is_read(row: Mapping[str, Any], stance: Stance | None) -> bool:
    # Read under another name, it is read: annotators need not go by the names of the queue.
    return stance.opinion is not None if stance else row["status"] == "reviewed"


def _require_seen(stance: Stance | None, seen: str | None, trace_id: str) -> None:
    if seen != (stance.seen if stance else None):
        raise ConflictError(f"trace {trace_id}: you answered it in another window since. Look at that answer first.")
