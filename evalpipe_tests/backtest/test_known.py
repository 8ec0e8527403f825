"""What was known at a moment: nothing dated later has a part in it, whatever it is."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.backtest.known import History, Known, known_at, mondays
from evalpipe.issues import decisions
from evalpipe.issues.events import sighted
from evalpipe.issues.replay import replay
from evalpipe.settings import Settings
from evalpipe.tables import ANNOTATIONS, EVALUATOR_QUALITY, EVALUATORS, VERDICT_COUNTS
from evalpipe_tests.backtest.made import FIRST, LAST, RUDE, SORRY, annotation, day, evaluator, frame, measured, promoted
from evalpipe_tests.backtest.made import id_on as trace

THEN = day(14)
HOW = Settings()


def history() -> History:
    annotated = [trace(n, place) for n in range(4) for place in range(8)]
    return History(
        annotations=frame(ANNOTATIONS, *[annotation(n, 1, "rude", day(n + 1.5)) for n in range(4)]),
        annotated=pl.DataFrame({"trace_id": annotated}).with_columns(
            day=pl.lit(FIRST), session_id=pl.lit("s"), service_name=pl.lit("shop"), release=pl.lit("1.0.0"),
            is_random=pl.lit(False),
        ),
        events=promoted("sorry", "rude"),
        evaluators=frame(EVALUATORS, evaluator("sorry", day(6))),
        quality=frame(EVALUATOR_QUALITY, measured("sorry", day(6))),
    )  # fmt: skip


PAST = history()


def same(one: Known, other: Known) -> bool:
    frames = ((one.versions, other.versions), (one.suite, other.suite), (one.labels, other.labels))
    return one.issues == other.issues and all(mine.equals(others) for mine, others in frames)


def with_more(past: History, what: str, days_later: float) -> History:
    """The history with one thing more, so many days after `THEN`."""
    at = THEN + timedelta(days=days_later)
    issues = replay(PAST.events)
    by = {"author": "ada", "now": at}
    events = {
        "resolved": lambda: decisions.resolve(issues[SORRY], **by),
        "merged": lambda: decisions.merge(issues[SORRY], issues[RUDE], **by),
        "sighted": lambda: sighted("odd", failure_mode="odd", at=at, trace_id=trace(0, 5)),
    }
    rows = {
        "annotation": ("annotations", ANNOTATIONS, lambda: annotation(1, 2, "sorry", at)),
        "withdrawal": ("annotations", ANNOTATIONS, lambda: annotation(1, 1, None, at) | {"verdict": "withdrawn"}),
        "version": ("evaluators", EVALUATORS, lambda: evaluator("sorry", at, version=2, flags="done")),
        "retirement": ("evaluators", EVALUATORS, lambda: evaluator("sorry", at, version=3, status="retired")),
        "evaluator": ("evaluators", EVALUATORS, lambda: evaluator("rude", at)),
        "measurement": ("quality", EVALUATOR_QUALITY, lambda: measured("sorry", at, mcc=-0.5)),
    }
    if what in events:
        return replace(past, events=pl.concat([past.events, events[what]()]))
    field, table, made = rows[what]
    return replace(past, **{field: pl.concat([getattr(past, field), frame(table, made())])})


WHATS = [
    "resolved",
    "merged",
    "sighted",
    "annotation",
    "withdrawal",
    "version",
    "retirement",
    "evaluator",
    "measurement",
]


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from(WHATS), st.floats(0, 400)), min_size=1, unique_by=lambda each: each[0]))
def test_nothing_that_is_dated_later_changes_what_was_known(later: list[tuple[str, float]]):
    whole = PAST
    for what, days_later in later:
        whole = with_more(whole, what, days_later)
    assert same(known_at(PAST, THEN, HOW), known_at(whole, THEN, HOW))


@pytest.mark.parametrize("what", WHATS)
def test_the_same_thing_dated_earlier_changes_it(what: str):
    assert not same(known_at(PAST, THEN, HOW), known_at(with_more(PAST, what, -1), THEN, HOW))


def test_what_is_known_today_is_everything():
    whole = with_more(PAST, "evaluator", 300)
    assert set(known_at(whole, None, HOW).suite["issue_id"]) == {SORRY, RUDE}


def test_a_version_speaks_of_no_day_further_back_than_a_new_version_judges():
    known = known_at(PAST, THEN, HOW)
    days = [day(6 - 28).date(), day(6 - 29).date(), day(20).date()]
    versions = {"day": days, "evaluator_id": known.versions["evaluator_id"].item(), "version": 1}
    counts = pl.DataFrame(versions, schema_overrides={"version": pl.Int32})
    whole = counts.with_columns(
        pl.lit(None, VERDICT_COUNTS.schema[name]).alias(name)
        for name in VERDICT_COUNTS.column_names
        if name not in ("day", "evaluator_id", "version")
    )
    assert known.counts(whole, THEN.date(), 28)["day"].to_list() == days[:1]


def test_weeks_begin_on_the_monday_of_the_first_day():
    assert mondays(FIRST + timedelta(days=2), LAST) == [FIRST + timedelta(weeks=n) for n in range(4)]
