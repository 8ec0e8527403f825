"""Queues and what they say of traffic, over a small lake of one or two weeks."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evalpipe.errors import StateError
from evalpipe.lake.store import Lake
from evalpipe.review.on_lake import prevalence, queue_now, queue_of_cycle, queue_yield
from evalpipe.review.queue.reviewers import Reviewer
from evalpipe.settings import ReviewSettings
from evalpipe.tables import (
    ANNOTATIONS,
    CANDIDATES,
    EVALUATORS,
    ISSUES,
    LABELS,
    REVIEW_EVENTS,
    TRACE_SIGNALS,
    TRACES,
    VERDICTS,
    VERIFICATIONS,
)
from evalpipe_tests.review.made import CYCLE, DAY, NOON, annotation, annotations, made_id, signals, traces

NEXT, NEXT_DAY = "2026-W11", DAY + timedelta(days=7)
SETTINGS = ReviewSettings()
ADA = Reviewer("ada", 20)
N = 60  # traces a week


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Week 10 has traces 0 to 59, of which the last 20 are flagged; week 11 the same with other ids."""
    lake = Lake(tmp_path)
    scores = [0.3] * (N - 20) + [0.9] * 20
    for day, first in ((DAY, 0), (NEXT_DAY, N)):
        moved = [pl.lit(day).alias("day"), pl.Series("trace_id", [made_id(first + i) for i in range(N)])]
        lake.replace(TRACES, traces(N).with_columns(moved), partition=str(day))
        lake.replace(TRACE_SIGNALS, signals(scores).with_columns(moved), partition=str(day))
    return lake


def build(lake: Lake, cycle: str = CYCLE, reviewers: tuple[Reviewer, ...] = (ADA,)) -> pl.DataFrame:
    rows = queue_of_cycle(lake, cycle, reviewers, SETTINGS)
    lake.replace(CANDIDATES, rows, partition=cycle)
    return rows


def say(lake: Lake, *rows: dict[str, Any]) -> None:
    lake.append_new(ANNOTATIONS, annotations(*rows))


def number(trace_id: str) -> int:
    return int(trace_id, 16) - 1


def numbers(rows: pl.DataFrame) -> list[int]:
    return [number(trace_id) for trace_id in rows["trace_id"]]


def test_a_queue_holds_traces_of_its_cycle_only(lake: Lake):
    assert build(lake)["day"].unique().to_list() == [DAY]
    assert build(lake, NEXT).filter(pl.col("carried_from").is_null())["day"].unique().to_list() == [NEXT_DAY]


def test_an_annotator_by_another_name_has_read_for_the_first_reader(lake: Lake):
    first = build(lake, reviewers=(ADA, Reviewer("bo", 20)))
    twice = number(first.filter("is_second_opinion")["trace_id"][0])
    say(lake, annotation(twice, annotator="dana"))
    status = queue_now(lake, CYCLE).filter(pl.col("trace_id") == made_id(twice))
    assert sorted(status.select("is_second_opinion", "status").rows()) == [(False, "reviewed"), (True, "queued")]


def test_each_reader_of_two_has_read_what_they_annotated(lake: Lake):
    first = build(lake, reviewers=(ADA, Reviewer("bo", 20)))
    second = first.filter("is_second_opinion").to_dicts()[0]
    say(lake, annotation(number(second["trace_id"]), annotator=second["reviewer"]))
    read = queue_now(lake, CYCLE).filter(pl.col("status") == "reviewed")
    assert read.select("trace_id", "reviewer").rows() == [(second["trace_id"], second["reviewer"])]


def test_what_a_model_said_is_not_read(lake: Lake):
    first = build(lake)
    say(lake, annotation(number(first["trace_id"][0]), annotator="gpt", label_source="model"))
    assert (queue_now(lake, CYCLE)["status"] == "queued").all()
    assert build(lake).equals(first)


def test_a_skipped_trace_is_gone_until_it_is_unskipped(lake: Lake):
    first = build(lake)
    skipped = first.filter(pl.col("arm") == "anomaly")["trace_id"][0]
    for minute, kind in enumerate(("skipped", "unskipped")):
        event = {"event_id": kind, "kind": kind, "cycle": CYCLE, "trace_id": skipped, "reviewer": "ada", "reason": "?"}
        lake.append_new(REVIEW_EVENTS, pl.DataFrame([{**event, "at": NOON + timedelta(minutes=minute)}]))
        assert (skipped in set(build(lake)["trace_id"])) == (kind == "unskipped")
    assert build(lake).equals(first)


def test_what_was_unread_comes_back_in_the_next_week_and_what_was_read_does_not(lake: Lake):
    first = build(lake)
    anomaly = first.filter(pl.col("arm") == "anomaly")
    read, unread = anomaly.head(5), anomaly.slice(5)
    say(lake, *(annotation(i) for i in numbers(read)))
    carried = set(build(lake, NEXT).filter(pl.col("carried_from") == CYCLE)["trace_id"])
    assert carried <= set(unread["trace_id"])
    assert carried
    assert DAY not in set(queue_of_cycle(lake, "2026-W12", [ADA], SETTINGS)["day"])  # by then it has expired


def test_a_pattern_that_people_found_good_sinks_in_the_next_week(lake: Lake):
    """What was read of hedging was good, all else a failure; both weeks are alike."""
    first = build(lake)
    flagged = numbers(first.filter(pl.col("queue") == "hedging"))
    others = numbers(first.filter(pl.col("queue") != "hedging"))
    say(lake, *(annotation(i) for i in flagged), *(annotation(i, "bad", "rude") for i in others))
    after = build(lake, NEXT).filter(pl.col("carried_from").is_null(), pl.col("queue") == "hedging")
    before = first.filter(pl.col("queue") == "hedging")
    assert set(after["pattern_id"]) == set(before["pattern_id"])
    assert after["priority"].max() < 0.5 * before["priority"].max()


def judged(lake: Lake, version: int, created_at: Any, outcome: str, ids: range) -> None:
    row = {"evaluator_id": "ev_slow", "version": version, "issue_id": "iss_slow", "failure_mode": "slow",
           "kind": "rule", "status": "active", "artifact": "{}", "artifact_sha256": "0", "n_positives": 1,
           "n_negatives": 1, "labels_fingerprint": 1, "created_at": created_at, "reason": "first"}  # fmt: skip
    lake.append_new(EVALUATORS, pl.DataFrame([row], schema_overrides={"version": pl.Int32}))
    said = {"evaluator_id": "ev_slow", "version": version, "day": DAY, "issue_id": "iss_slow", "outcome": outcome,
            "score": 0.5, "inclusion_probability": 1.0}  # fmt: skip
    lake.append_new(VERDICTS, pl.DataFrame([{**said, "trace_id": made_id(i)} for i in ids]))


def test_unsure_verdicts_fill_an_arm_but_not_those_that_learned_from_this_queue(lake: Lake):
    judged(lake, 1, NOON - timedelta(days=7), "pass", range(10))
    first = build(lake)
    arm = first.filter(pl.col("arm") == "uncertainty")
    assert arm.height
    assert set(numbers(arm)) <= set(range(10))
    say(lake, annotation(numbers(arm)[0], "bad", "slow"))
    judged(lake, 2, NOON + timedelta(hours=1), "fault", range(30))
    again = build(lake)
    assert again.select("trace_id", "arm", "inclusion_probability").equals(
        first.select("trace_id", "arm", "inclusion_probability")
    )


def test_queues_of_a_lake_without_one_are_named(lake: Lake):
    with pytest.raises(StateError, match="no queue was built yet"):
        queue_now(lake, None)
    build(lake)
    with pytest.raises(StateError, match=f"no queue for {NEXT}; there are {CYCLE}"):
        queue_now(lake, NEXT)


def test_yield_is_measured_on_the_annotations_of_each_queue(lake: Lake):
    rows = build(lake)
    control, anomaly = (numbers(rows.filter(pl.col("arm") == arm)) for arm in ("control", "anomaly"))
    say(lake, *(annotation(i, "bad", "rude") for i in anomaly[:4]), *(annotation(i) for i in control))
    found = {row["arm"]: row for row in queue_yield(lake, SETTINGS).filter(pl.col("cycle") == CYCLE).to_dicts()}
    assert (found["anomaly"]["n_reviewed"], found["anomaly"]["n_failures"]) == (4, 4)
    assert (found["control"]["n_reviewed"], found["control"]["n_failures"]) == (len(control), 0)


def test_without_a_queue_nothing_is_estimated(lake: Lake):
    assert prevalence(lake, SETTINGS).is_empty()
    assert queue_yield(lake, SETTINGS).is_empty()


def test_prevalence_speaks_for_the_days_up_to_the_last_queue(lake: Lake):
    rows = build(lake)
    control = rows.filter(pl.col("arm") == "control")
    label = {"issue_id": "iss_slow", "day": DAY, "service_name": "shop", "is_failure": True, "weight": 1.0,
             "n_annotators": 1, "is_disputed": False, "labelled_at": NOON, "sources": ["human"]}  # fmt: skip
    lake.replace(LABELS, pl.DataFrame([{**label, "trace_id": trace_id} for trace_id in control["trace_id"]]))
    issue = {"issue_id": "iss_slow", "name": "slow", "state": "active", "flags": [], "services": ["shop"],
             "n_failures": 1, "first_seen_at": NOON, "last_seen_at": NOON, "updated_at": NOON}  # fmt: skip
    lake.replace(ISSUES, pl.DataFrame([issue]))
    row = prevalence(lake, SETTINGS).to_dicts()[0]
    assert (row["n_traces"], row["n_reviewed"], row["prevalence"]) == (N, control.height, 1.0)
    assert (row["first_day"], row["last_day"]) == (DAY, DAY)  # not week 11, which has no queue


def test_a_failure_that_one_reader_alone_saw_in_a_fixed_release_goes_to_another(lake: Lake):
    both = (ADA, Reviewer("ben", 20))
    seen = build(lake, reviewers=both).filter(pl.col("reviewer") == "ada", ~pl.col("is_second_opinion"))["trace_id"][0]
    label = {"trace_id": seen, "issue_id": "iss_1", "day": DAY, "service_name": "shop", "is_failure": True}
    label |= {"n_annotators": 1, "n_yes": 1, "n_no": 0, "is_disputed": False, "weight": 1.0, "labelled_at": NOON}
    lake.replace(LABELS, LABELS.conform(pl.DataFrame([label | {"sources": ["human"]}])))
    say(lake, annotation(number(seen), "bad", "slow"))
    again = pl.col("trace_id") == seen
    assert build(lake, NEXT, both).filter(again).is_empty()  # of an issue that is not being verified it is one of many
    verification = {name: 0 for name, dtype in VERIFICATIONS.schema.items() if dtype.is_numeric()}
    verification |= {"issue_id": "iss_1", "state": "verifying", "finding": "reading", "reason": ""}
    lake.replace(VERIFICATIONS, VERIFICATIONS.conform(pl.DataFrame([verification])))
    assert build(lake, NEXT, both).filter(again)["reviewer"].to_list() == ["ben"]
