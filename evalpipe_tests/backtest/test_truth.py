"""What today's knowledge counts as a regression: events that are valid, and what people read without an evaluator."""

from datetime import datetime

import polars as pl

from evalpipe.backtest.known import ANNOTATED, History, known_at
from evalpipe.backtest.traffic import SAID, TRAFFIC, Seen, release_order
from evalpipe.backtest.truth import RATES, rates_by_release, regressions
from evalpipe.issues import decisions
from evalpipe.issues.events import event
from evalpipe.issues.replay import replay
from evalpipe.settings import Settings
from evalpipe.tables import ANNOTATIONS, EVALUATOR_QUALITY, EVALUATORS, VERDICT_COUNTS
from evalpipe_tests.backtest.made import FIRST, LAST, RUDE, SORRY, annotation, day, frame, id_on, promoted

HOW = Settings()
RELEASES = release_order(
    pl.DataFrame({"service_name": "shop", "release": ["1.0.0", "1.1.0"], "first_seen": [day(0), day(14)]})
)
SEEN = Seen(VERDICT_COUNTS.empty(), pl.DataFrame(schema=SAID), pl.DataFrame(schema=TRAFFIC), RELEASES)


def history(events: pl.DataFrame, read: pl.DataFrame | None = None, *said: dict) -> History:
    nobody = pl.DataFrame(schema=ANNOTATED)
    return History(
        annotations=frame(ANNOTATIONS, *said),
        annotated=nobody if read is None else read,
        events=events,
        evaluators=EVALUATORS.empty(),
        quality=EVALUATOR_QUALITY.empty(),
    )


def happened(events: pl.DataFrame, kind: str, at: datetime, **evidence: str) -> pl.DataFrame:
    issue = replay(events)[SORRY]
    return pl.concat([events, event(issue, kind, author="pipeline", now=at, evidence=evidence)])


def solved(at: datetime) -> pl.DataFrame:
    seen = promoted("sorry", "rude")
    return pl.concat([seen, decisions.resolve(replay(seen)[SORRY], author="ada", now=at)])


def found(events: pl.DataFrame) -> list[tuple]:
    today = known_at(history(events), None, HOW)
    rows = regressions(today, pl.DataFrame(schema=RATES), events, RELEASES, FIRST, LAST, HOW.verification)
    assert set(rows["issue_id"]) <= {SORRY}
    return rows.drop("issue_id", "service_name").rows()


def test_a_return_began_with_the_release_that_it_names():
    assert found(happened(solved(day(10)), "recurred", day(16.2), release="1.1.0")) == [
        ("1.1.0", day(14), ["recurred"])
    ]


def test_a_return_within_a_release_began_no_earlier_than_the_issue_was_solved():
    assert found(happened(solved(day(15)), "reopened", day(16.2))) == [("1.1.0", day(15), ["reopened"])]


def test_an_escalation_is_of_the_newest_release_and_began_with_the_hours_that_showed_it():
    rows = found(happened(promoted("sorry"), "escalated", day(13.75)))
    assert rows == [("1.0.0", day(13.5), ["escalated"])]  # six hours before


def test_an_event_that_the_states_did_not_allow_tells_of_nothing():
    assert found(happened(promoted("sorry"), "recurred", day(16), release="1.1.0")) == []


def test_an_issue_that_is_ignored_today_is_no_regression():
    events = happened(solved(day(10)), "recurred", day(16), release="1.1.0")
    ignored = decisions.ignore(replay(events)[SORRY], author="ada", now=day(40))
    assert found(pl.concat([events, ignored])) == []


def test_without_an_evaluator_the_traces_that_chance_chose_tell():
    # 1.0.0: 1 of 40 read at random is rude, 1.1.0: 10 of 40. Newcombe at 95 %: Wilson's bounds of 10 of 40 begin at
    # 0.1419, those of 1 of 40 end at 0.1288: 0.225 - hypot(0.1081, 0.1038) = 0.075. Those chosen count nowhere.
    places = [(n, place) for n in (0, 1, 14, 15) for place in range(20)]
    is_rude = [(n == 0 and place == 0) or (n >= 14 and place < 5) for n, place in places]
    said = [
        annotation(n, place, "rude" if rude else None, day(20))
        for (n, place), rude in zip(places, is_rude, strict=True)
    ]
    chosen = [annotation(2, place, "rude", day(20)) for place in range(20)]
    read = pl.DataFrame(
        {
            "trace_id": [id_on(*each) for each in places] + [id_on(2, place) for place in range(20)],
            "day": [day(n).date() for n, _ in places] + [day(2).date()] * 20,
            "session_id": "s",
            "service_name": "shop",
            "release": ["1.1.0" if n >= 14 else "1.0.0" for n, _ in places] + ["1.0.0"] * 20,
            "is_random": [True] * len(places) + [False] * 20,
        },
        schema_overrides=dict(ANNOTATED),
    )
    past = history(promoted("sorry", "rude"), read, *said, *chosen)
    today = known_at(past, None, HOW)
    rates = rates_by_release(today, SEEN, read, HOW)
    row = rates.row(0, named=True)
    assert (row["issue_id"], row["release"], row["before"], row["is_more"]) == (RUDE, "1.1.0", "1.0.0", True)
    assert (row["rate_before"], row["rate_after"]) == (1 / 40, 10 / 40)
    rows = regressions(today, rates, past.events, RELEASES, FIRST, LAST, HOW.verification)
    assert rows.drop("service_name").rows() == [(RUDE, "1.1.0", day(14), ["rate"])]
    later = regressions(today, rates, past.events, RELEASES, day(21).date(), LAST, HOW.verification)
    assert later.is_empty()  # it had begun before
