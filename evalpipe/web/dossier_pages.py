"""The page of one issue: /review/issues/ISSUE_ID. Its evaluator, what that was measured to be worth, and the evidence.

It decides nothing: that is done on the board (issue_pages.py). What is said of an evaluator is put together in
generation/dossier.py, how its figures are drawn in charts.py.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

import polars as pl
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.catalog import load
from evalpipe.evaluators.on_lake import standing
from evalpipe.generation.dossier import Dossier, dossier_of
from evalpipe.generation.triggers import waiting
from evalpipe.issues.board import Example
from evalpipe.lake.followed import Followed
from evalpipe.quality.trust import shortfall
from evalpipe.report.releases import release_frame
from evalpipe.review.desk.desk import Desk, Place
from evalpipe.settings import Settings
from evalpipe.tables import (
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    ISSUE_RATES,
    LABELS,
    SETTLED,
    VERDICT_COUNTS,
    VERIFICATIONS,
)
from evalpipe.web.charts import Axis, commonness_of, history_of, level
from evalpipe.web.issue_pages import ADDRESS, Boards, shown_to
from evalpipe.web.review_templates import page
from evalpipe.web.sign_in import Door

_MAX_EXAMPLES = 6  # what people wrote, the newest
_MAX_LINKS = 12  # traces named in a list
_HELD = 32  # issues whose tables are followed, and artifacts that stay checked


class Links(NamedTuple):
    """Traces of a list: those that the reader may open, and how many are not there to be opened."""

    open: list[tuple[str, str]]  # trace id, address
    n_unread: int  # in the reader's own queue and still to be read: what others say of them is kept from the reader
    n_elsewhere: int  # in no queue of the reader, or beyond what is listed


class _Evaluator(NamedTuple):
    """The evaluator of an issue as it stands today."""

    row: dict[str, Any]  # of `standing`
    artifact: Artifact
    dossier: Dossier
    lacks: str | None  # what keeps it from blocking


class _Tables:
    """What the tables say of one issue, read again only when somebody has written."""

    def __init__(self, boards: Boards, issue_id: str) -> None:
        is_it = pl.col("issue_id") == issue_id
        self.evaluators = Followed(boards.lake, EVALUATORS, is_it)
        self.quality = Followed(boards.lake, EVALUATOR_QUALITY, is_it)
        self.health = Followed(boards.lake, EVALUATOR_HEALTH, is_it)
        self.labels = Followed(boards.lake, LABELS, SETTLED, is_it)
        self.rates = Followed(boards.lake, ISSUE_RATES, is_it)
        self.counts = Followed(boards.lake, VERDICT_COUNTS, is_it)
        self.verification = Followed(boards.lake, VERIFICATIONS, is_it)


class DossierPages:
    """Its endpoint."""

    def __init__(self, boards: Boards, desk: Desk, door: Door, settings: Settings) -> None:
        self._boards = boards
        self._desk = desk
        self._door = door
        self._settings = settings
        self._tables = lru_cache(_HELD)(lambda issue_id: _Tables(boards, issue_id))
        self._checked = lru_cache(_HELD)(load)  # a learned evaluator takes a tenth of a second to check

    def routes(self) -> list[Route]:
        return [Route(ADDRESS + "/{issue_id}", self.show)]

    def show(self, request: Request) -> Response:
        """The issue; of one that was merged, where it went."""
        reviewer = self._door.reviewer(request)
        issue_id = request.path_params["issue_id"]
        now = self._boards.goes_by(issue_id)
        if now != issue_id:
            return self._gone(reviewer, issue_id, now)
        told, tables = self._boards.told(issue_id), self._tables(issue_id)
        labels, quality = tables.labels.now().rows, tables.quality.now().rows
        standing_now = standing(tables.evaluators.now().rows, quality, self._settings.quality, tables.health.now().rows)
        evaluator = self._evaluator(standing_now, labels)
        named = [each.trace_id for each in told.examples] + _named(evaluator)
        places = self._desk.places(reviewer, named)
        # What a candidate lacks is what it will lack when it is active.
        issue = pl.DataFrame({"issue_id": [issue_id], "state": ["active" if told.card.is_open else told.card.state]})
        waits = waiting(labels, issue, self._settings.generation)
        return page(
            "issue",
            reviewer=reviewer,
            n_pairs=self._boards.n_pairs(),
            card=told.card,
            examples=_telling(shown_to(told.examples, places=places, most=len(told.examples))),
            places=places,
            story=self._boards.story(issue_id),
            fix=next(iter(tables.verification.now().rows.to_dicts()), None),
            evaluator=evaluator,
            missing=waits[0].reason if waits else None,
            axis=Axis(self._settings.quality.monitor_mcc, self._settings.quality.block_mcc),
            history=history_of(quality),
            common=commonness_of(tables.rates.now().rows, release_frame(tables.counts.now().rows.lazy())),
            confidence=self._settings.monitor.confidence,
            level=level,
            links_of=lambda trace_ids: _links(trace_ids, places),
        )

    def _gone(self, reviewer: str, issue_id: str, into_id: str | None) -> Response:
        return page(
            "issue_gone",
            status=HTTPStatus.NOT_FOUND,
            reviewer=reviewer,
            n_pairs=self._boards.n_pairs(),
            was=self._boards.name_of(issue_id),
            into_id=into_id,
            into="" if into_id is None else self._boards.name_of(into_id),
        )

    def _evaluator(self, current: pl.DataFrame, labels: pl.DataFrame) -> _Evaluator | None:
        if current.is_empty():
            return None
        row = current.sort("version").row(-1, named=True)
        artifact = self._checked(row["artifact"], row["artifact_sha256"])
        n_positives = (row["tp"] or 0) + (row["fn"] or 0)
        lacks = shortfall(row["mcc"], row["mcc_lower"], n_positives, self._settings.quality, row["demotion"])
        return _Evaluator(row, artifact, dossier_of(artifact, labels, row), lacks)


def _telling(examples: list[Example]) -> list[Example]:
    """Those that say something in different words, else all."""
    different: dict[str, Example] = {}
    for each in examples:
        if words := each.comment or each.evidence:
            different.setdefault(" ".join(words.casefold().split()), each)
    return (list(different.values()) or examples)[:_MAX_EXAMPLES]


def _named(evaluator: _Evaluator | None) -> list[str]:
    """Every trace that the page could link to for the sake of the evaluator."""
    if evaluator is None:
        return []
    patterns = [pattern for family in evaluator.dossier.families for pattern in family.patterns]
    examples = [trace_id for pattern in patterns for trace_id in pattern.get("example_ids", ())]
    return [*examples, *evaluator.dossier.mistakes.missed, *evaluator.dossier.mistakes.false_alarms]


def _links(trace_ids: Sequence[str], places: Mapping[str, Place]) -> Links:
    mine = [(trace_id, places[trace_id]) for trace_id in trace_ids if trace_id in places]
    read = [(trace_id, f"/review/{place.cycle}/{trace_id}") for trace_id, place in mine if place.is_read]
    n_unread = len(mine) - len(read)
    shown = read[:_MAX_LINKS]
    return Links(shown, n_unread, len(trace_ids) - n_unread - len(shown))
