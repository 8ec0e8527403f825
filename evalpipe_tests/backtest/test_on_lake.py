"""The history of made.py replayed: what is caught when, what nobody could catch, what is a false alarm."""

import shutil
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from evalpipe.backtest.on_lake import Backtest, backtest
from evalpipe.errors import InputError, StateError
from evalpipe.ids import evaluator_id, issue_id
from evalpipe.issues import decisions
from evalpipe.issues.events import event
from evalpipe.issues.replay import replay
from evalpipe.lake.store import Lake
from evalpipe.settings import Settings
from evalpipe.tables import (
    ANNOTATIONS,
    BACKTESTS,
    EVALUATOR_QUALITY,
    EVALUATORS,
    ISSUE_EVENTS,
    TRACES,
    VERDICTS,
)
from evalpipe_tests.backtest.made import (
    FIRST,
    LAST,
    ODD,
    RUDE,
    SORRY,
    annotation,
    day,
    evaluator,
    frame,
    id_on,
    measured,
    promoted,
    write,
)
from evalpipe_tests.evaluators.made import artifact

HOW = Settings()
LOUD = issue_id("loud")
TOLD = ["issue_id", "release", "caught_at", "caught_how", "caught_by", "version", "role", "mcc", "gate"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of made.py. Do not write to it."""
    path = tmp_path_factory.mktemp("made") / "lake"
    write(Lake(path))
    return path


@pytest.fixture(scope="module")
def found(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Backtest]:
    lake = Lake(shutil.copytree(made, tmp_path_factory.mktemp("found") / "lake"))
    return lake, backtest(lake, FIRST, LAST, HOW)


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    """A copy, for a test that changes the history."""
    return Lake(shutil.copytree(made, tmp_path / "lake"))


def row_of(of: Backtest, issue: str) -> dict:
    return of.rows.row(by_predicate=pl.col("issue_id") == issue, named=True)


def test_a_regression_is_caught_at_the_end_of_the_first_day_that_tells(found):
    # 1.1.0 is flagged in 3 of 20 traces a day, 1.0.0 was in 14 of 280. Newcombe's lower bound of the difference of 0.1,
    # at 1 - 2 * 0.05 / (k (k + 1)): Wilson's bounds are
    #   k = 1, 95 %:      3 of 20 from 0.0524, 14 of 280 to 0.0821: 0.1 - hypot(0.0976, 0.0321) = -0.003
    #   k = 2, 98.33 %:   6 of 40 from 0.0601, 14 of 280 to 0.0912: 0.1 - hypot(0.0899, 0.0412) = 0.001
    # So after two days and their 40 traces.
    row = row_of(found[1], SORRY)
    assert (row["regressed_at"], row["caught_at"], row["delay_days"], row["delay_traces"]) == (
        day(14),
        day(16),
        2.0,
        40,
    )
    assert (row["caught_how"], row["version"], row["role"], row["mcc"]) == ("rate", 1, "blocking", 0.9)
    assert row["reason"] == "6 of 40 traces of 1.1.0 flagged, against 14 of 280 of 1.0.0"
    assert not row["is_false_alarm"]


def test_the_rates_are_corrected_by_the_errors_that_are_known_today(found):
    # tpr 0.95, fpr 0.01: (14/280 - 0.01) / 0.94 and (42/280 - 0.01) / 0.94
    row = row_of(found[1], SORRY)
    assert (row["rate_before"], row["rate_after"]) == pytest.approx((0.04 / 0.94, 0.14 / 0.94))
    assert row["rate_after_lower"] < row["rate_after"] < row["rate_after_upper"]


def test_the_gate_lets_a_rare_failure_pass_in_production_traffic(found):
    assert row_of(found[1], SORRY)["gate"] == "passed"  # 21 of 140 traces of the first week fail: a pass rate of 85 %


def test_what_no_evaluator_checked_nobody_could_catch_and_it_says_since_when_one_does(found):
    row = row_of(found[1], RUDE)
    assert (row["caught_at"], row["caught_by"], row["gate"], row["delay_days"]) == (None, None, None, None)
    assert (row["exposed_until"], row["delay_traces"]) == (day(27 + 20 / 24), 14 * 20)  # to 20 o'clock of the last day
    assert row["reason"] == (
        "nobody could: its first evaluator was made on 2026-03-30; people had annotated 4 traces that show it when the "
        "week began"
    )


def test_an_alarm_of_what_is_no_regression_is_a_false_one(found):
    # Six odd answers at 14 to 19 o'clock of the first day of 1.1.0: five of them within the window that ends with the
    # hour from 18 on, six in the next, and two windows in a row escalate, at 20 o'clock. Over all its 280 traces 1.1.0
    # has 6, where 1.0.0 had 14: fewer.
    row = row_of(found[1], ODD)
    assert row["is_false_alarm"]
    assert (row["caught_at"], row["caught_how"]) == (datetime.fromisoformat("2026-03-16T20:00+00:00"), "escalation")
    assert (row["role"], row["regressed_at"], row["delay_days"]) == ("monitoring", None, None)  # an MCC of 0.5 watches


def test_asking_again_adds_no_row(found):
    lake, first = found
    version = lake.version(BACKTESTS)
    again = backtest(lake, date(2026, 3, 4), LAST, HOW)  # the same weeks
    assert again.backtest_id == first.backtest_id
    assert again.rows.equals(first.rows)
    assert lake.version(BACKTESTS) == version
    assert lake.read(BACKTESTS).sort("issue_id").equals(first.rows.sort("issue_id"))


def test_a_version_that_was_made_within_a_week_tells_from_the_next_one_on(lake: Lake):
    # Made on Wednesday the 18th, it is known on Monday the 23rd. At the end of that day, the eighth: 24 of 160 against
    # 14 of 280 at 1 - 0.1 / 72 (z = 3.20): 0.1 - hypot(0.15 - 0.081, 0.110 - 0.05) = 0.009
    lake.replace(EVALUATORS, lake.read(EVALUATORS, pl.col("issue_id") != RUDE))
    lake.append_new(EVALUATORS, frame(EVALUATORS, evaluator("rude", day(16.5))))
    lake.append_new(EVALUATOR_QUALITY, frame(EVALUATOR_QUALITY, measured("rude", day(16.5), mcc=0.5)))
    row = row_of(backtest(lake, FIRST, LAST, HOW), RUDE)
    assert (row["caught_at"], row["delay_days"], row["delay_traces"]) == (day(22), 8.0, 160)
    assert (row["role"], row["gate"]) == ("monitoring", None)  # in the release's first week nothing could be asked
    assert row["reason"].startswith("nobody could before 2026-03-23, for want of a trusted evaluator; then 24 of 160")


def test_what_came_after_the_last_week_changes_nothing_of_what_was_told(lake: Lake):
    end = date(2026, 3, 22)
    before = backtest(lake, FIRST, end, HOW).rows.select(TOLD)
    issues = replay(lake.read(ISSUE_EVENTS))
    lake.append_new(ISSUE_EVENTS, decisions.resolve(issues[SORRY], author="ada", now=day(21)))
    lake.append_new(ANNOTATIONS, frame(ANNOTATIONS, annotation(15, 0, None, day(22)), annotation(3, 9, "odd", day(21))))
    newer = [evaluator("sorry", day(21), 2, flags="done"), evaluator("odd", day(21), 2, flags="sorry")]
    lake.append_new(EVALUATORS, frame(EVALUATORS, *newer))
    worse = [measured("sorry", day(21), mcc=-0.5), measured("odd", day(21), mcc=0.99, version=2)]
    lake.append_new(EVALUATOR_QUALITY, frame(EVALUATOR_QUALITY, *worse))
    late = lake.read(TRACES, pl.col("day") >= day(21).date()).with_columns(service_version=pl.lit("1.2.0"))
    for on_day in late.partition_by("day"):
        lake.replace(TRACES, on_day, partition=on_day["day"][0])
    after = backtest(lake, FIRST, end, HOW).rows.select(TOLD)
    told = before.filter(pl.col("caught_at").is_not_null())
    assert told.height == 2
    assert told.join(after, on=TOLD, how="anti", nulls_equal=True).is_empty()


def test_a_solved_issue_that_returns_is_told_by_its_running_test_and_blocks_nothing(lake: Lake):
    # Called solved on the third day, though 17 of 20 answers still show it. Its evaluator is made on the sixth, so that
    # it is known on Monday, the seventh day after the first, and what it says of the days before tells at once.
    seen = promoted("loud")
    solved = decisions.resolve(replay(seen)[LOUD], author="ada", now=day(3))
    returned = replay(pl.concat([seen, solved]))[LOUD]
    recurred = event(returned, "recurred", author="pipeline", now=day(12), evidence={"release": "1.0.0"})
    lake.append_new(ISSUE_EVENTS, pl.concat([seen, solved, recurred]))
    lake.append_new(EVALUATORS, frame(EVALUATORS, evaluator("loud", day(6), flags="done")))
    lake.append_new(EVALUATOR_QUALITY, frame(EVALUATOR_QUALITY, measured("loud", day(6))))
    row = row_of(backtest(lake, FIRST, LAST, HOW), LOUD)
    assert (row["release"], row["known_by"], row["regressed_at"]) == ("1.0.0", ["recurred"], day(3))
    assert (row["caught_how"], row["caught_at"], row["role"]) == ("recurrence", day(7), "monitoring")
    assert (row["delay_days"], row["delay_traces"]) == (4.0, 80)
    assert row["reason"].startswith("nobody could before 2026-03-09")


def test_what_an_evaluator_said_then_counts_and_it_is_not_asked_again(lake: Lake):
    said = {"evaluator_id": evaluator("sorry", day(6))["evaluator_id"], "version": 1, "issue_id": SORRY}
    rows = [
        said | {"trace_id": id_on(n, place), "day": day(n).date(), "outcome": "pass", "inclusion_probability": 1.0}
        for n in range(14, 28)
        for place in range(20)
    ]
    lake.append_new(VERDICTS, frame(VERDICTS, *rows))
    assert SORRY not in backtest(lake, FIRST, LAST, HOW).rows["issue_id"].to_list()


def test_a_judge_is_not_asked_again_and_what_it_said_of_its_sample_counts(lake: Lake):
    # It read every other trace of the last three weeks. On the first day of 1.1.0 it failed 6 of 10, before 7 of 70:
    # 0.5 - hypot(0.6 - 0.313, 0.192 - 0.1) = 0.2 at 95 %. Asked, it would have faulted: there is no model.
    program = {"instruction": "It is loud.", "model": None, "max_chars": 24_000}
    made = artifact(program, "judge", evaluator_id=evaluator_id(LOUD), issue_id=LOUD, failure_mode="loud")
    of_artifact = {"kind": "judge", "artifact": made.to_json(), "artifact_sha256": made.sha256}
    lake.append_new(ISSUE_EVENTS, promoted("loud"))
    lake.append_new(EVALUATORS, frame(EVALUATORS, evaluator("loud", day(6)) | of_artifact))
    lake.append_new(EVALUATOR_QUALITY, frame(EVALUATOR_QUALITY, measured("loud", day(6))))
    said = {"evaluator_id": made.evaluator_id, "version": 1, "issue_id": LOUD, "inclusion_probability": 0.5}
    rows = [
        said | {"trace_id": id_on(n, place), "day": day(n).date(), "outcome": "fail" if place < n_failed else "pass"}
        for n in range(7, 28)
        for n_failed in [6 if n >= 14 else 1]
        for place in range(10)
    ]
    lake.append_new(VERDICTS, frame(VERDICTS, *rows))
    row = row_of(backtest(lake, FIRST, LAST, HOW), LOUD)
    assert (row["caught_at"], row["gate"]) == (day(15), "blocked")  # 42 of 70 of the first week fail
    assert row["reason"] == "6 of 10 traces of 1.1.0 flagged, against 7 of 70 of 1.0.0"


def test_progress_is_told_by_weeks_of_traffic(lake: Lake):
    told: list[tuple[int, int]] = []
    backtest(lake, FIRST, date(2026, 3, 10), HOW, progress=lambda *done: told.append(done))
    assert told == [(n, 6) for n in range(1, 7)]  # four weeks before the first, that one, and three days of the next


def test_a_range_without_traffic_says_where_there_is_some(made: Path):
    with pytest.raises(StateError, match=r"no trace lies between 2027-01-04 and 2027-01-11.*2026-03-02 to 2026-03-29"):
        backtest(Lake(made), date(2027, 1, 5), date(2027, 1, 11), HOW)


def test_a_range_that_ends_before_it_begins_is_refused(made: Path):
    with pytest.raises(InputError, match="--to 2026-03-02 comes before --from 2026-03-29"):
        backtest(Lake(made), LAST, FIRST, HOW)
