"""What the versions of an evaluator say of labelled traces: read where it was said, else said now."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from evalpipe.evaluators.health import health_of_all
from evalpipe.evaluators.on_lake import quality_of_all, verdicts_on_labels
from evalpipe.lake.store import Lake
from evalpipe.settings import Settings
from evalpipe.tables import EVALUATORS, LABELS, TRACES, VERDICTS
from evalpipe_tests.evaluators.made import rule_artifact, trace_id, traces, transcript

DAY = date(2026, 3, 2)
FIRST = datetime(2026, 3, 2, tzinfo=UTC)
ALWAYS, NEVER = ({"op": "constant", "value": value} for value in (True, False))


def version(number: int, rule: dict, days: int, made_from: tuple[int, ...] = ()) -> pl.DataFrame:
    made = rule_artifact(
        rule,
        version=number,
        held_out={trace_id(n): False for n in made_from},
        created_at=(FIRST + timedelta(days=days)).isoformat(),
    )
    text = {"failure_mode": "m", "kind": "rule", "status": "active", "artifact": made.to_json(), "reason": ""}
    counts = {"n_positives": 1, "n_negatives": 1, "labels_fingerprint": 1, "created_at": FIRST + timedelta(days=days)}
    names = {"evaluator_id": "ev_1", "version": number, "issue_id": "iss_1", "artifact_sha256": made.sha256}
    return EVALUATORS.conform(pl.DataFrame([names | text | counts]))


def lake_of(root: Path) -> Lake:
    """Four traces, labelled on days 1, 3, 5 and 5; version 1 of day 2 says always, version 2 of day 4 never."""
    lake = Lake(root / "lake")
    lake.replace(TRACES, traces(*[transcript(("user", "hello"), ("assistant", "sorry"))] * 4), partition=DAY)
    lake.append_new(EVALUATORS, pl.concat([version(1, ALWAYS, 2, (0,)), version(2, NEVER, 4, (0, 1))]))
    rows = {
        "trace_id": [trace_id(n) for n in range(4)],
        "issue_id": "iss_1",
        "day": DAY,
        "service_name": "shop",
        "is_failure": [True, True, False, True],
        "weight": 1.0,
        "n_annotators": 1,
        "is_disputed": False,
        "labelled_at": [FIRST + timedelta(days=n) for n in (1, 3, 5, 5)],
        "sources": [["human"]] * 4,
    }
    lake.replace(LABELS, LABELS.conform(pl.DataFrame(rows)))
    return lake


def said(lake: Lake) -> tuple[dict, dict]:
    found = verdicts_on_labels(lake, lake.read(EVALUATORS), lake.read(LABELS), Settings())
    now, then = (dict(zip(each["trace_id"].to_list(), each["outcome"], strict=True)) for each in found)
    return now, then


def test_each_label_meets_the_version_of_its_day_and_all_meet_the_newest(tmp_path: Path):
    now, then = said(lake_of(tmp_path))
    assert now == {trace_id(n): "pass" for n in range(4)}
    assert then == {trace_id(1): "fail", trace_id(2): "pass", trace_id(3): "pass"}  # 0 came before version 1


def test_a_verdict_that_was_given_on_the_traffic_is_taken_from_there(tmp_path: Path):
    lake = lake_of(tmp_path)
    names = {"evaluator_id": "ev_1", "version": 2, "day": DAY, "issue_id": "iss_1", "inclusion_probability": 1.0}
    given = [
        names | {"trace_id": trace_id(2), "outcome": "fail"},
        names | {"trace_id": trace_id(3), "outcome": "fault"},
    ]
    lake.replace(VERDICTS, VERDICTS.conform(pl.DataFrame(given)), partition=DAY)
    now, then = said(lake)
    assert (now[trace_id(2)], then[trace_id(2)]) == ("fail", "fail")
    assert now[trace_id(3)] == "pass"  # a fault is no verdict: it is asked again


def test_the_quality_and_health_of_the_lake_pool_what_each_version_said(tmp_path: Path):
    lake = lake_of(tmp_path)
    rows = quality_of_all(lake, Settings(), FIRST + timedelta(days=6))
    counts = {row["split"]: (row["version"], row["tp"], row["fp"], row["tn"], row["fn"]) for row in rows.to_dicts()}
    assert counts["prequential"] == (2, 1, 0, 1, 1)
    assert counts["prospective"] == (2, 0, 0, 1, 1)
    health = health_of_all(lake, Settings()).row(0, named=True)
    assert (health["version"], health["n_recent"], health["finding"]) == (2, 2, "unknown")
