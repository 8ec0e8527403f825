"""The life of an evaluator, in order."""

from datetime import UTC, datetime, timedelta

import polars as pl

from evalpipe.evaluators.history import HISTORY, history_frame
from evalpipe.tables import EVALUATOR_HEALTH, EVALUATOR_QUALITY, EVALUATORS, GATE_RESULTS, GATE_RUNS
from evalpipe_tests.report.made import evaluator, frame, gate_result, gate_run, measured

BORN = datetime(2026, 3, 2, tzinfo=UTC)


def version(number: int, days: int, reason: str, status: str = "active") -> dict:
    row = {"version": number, "created_at": BORN + timedelta(days=days), "reason": reason, "status": status}
    return evaluator("a") | row


def of_day(days: int, mcc: float, split: str, number: int = 2) -> dict:
    return measured("a", mcc, BORN + timedelta(days=days), split) | {"version": number}


def test_a_life_is_told_from_birth_to_restoration():
    versions = [
        version(1, 0, "no evaluator yet"),
        version(2, 10, "0.90 against 0.80 on the same traces"),
        version(3, 40, "its issue was ignored", "retired"),
        version(4, 41, "restored by ana, as version 2 was", "active"),
    ]
    quality = [of_day(10, 0.9, "held_out"), of_day(20, 0.9, "held_out"), of_day(20, 0.4, "prequential")]
    fallen = {"mcc_held_out": 0.9, "mcc_recent": 0.3, "n_recent": 30, "n_recent_failures": 9, "n_prequential": 30}
    said = {
        "finding": "drifted",
        "is_demoted": True,
        "has_traffic_shifted": True,
        "reason": "it fell",
        "confidence": 0.9,
    }
    health = {"evaluator_id": "ev_a", "version": 2, "issue_id": "iss_a"} | fallen | said
    run = gate_run(0, "block", "1.1") | {"decided_at": BORN + timedelta(days=15)}
    caught = gate_result(0, "a", "failed") | {"version": 2, "link": "new regression"}
    found = history_frame(
        frame(EVALUATORS, versions),
        frame(EVALUATOR_QUALITY, quality),
        frame(EVALUATOR_HEALTH, [health]),
        frame(GATE_RUNS, [run]),
        frame(GATE_RESULTS, [caught]),
    )
    assert found.schema == HISTORY
    assert found.select("version", "what").rows() == [
        (1, "made"),
        (2, "replaced"),
        (2, "measured"),
        (2, "caught"),
        (2, "measured"),
        (2, "demoted"),
        (3, "retired"),
        (4, "restored"),
    ]
    details = found["detail"].to_list()
    assert details[0] == "no evaluator yet; rule, from 12 failures and 12 other traces"
    assert details[3] == "new regression in release 1.1: 10 of 40 cases"
    assert details[4] == ("MCC held out 0.9 [0.75, 0.95] on 24 labels; MCC prequential 0.4 [0.25, 0.45] on 24 labels")
    assert found.filter(pl.col("what") == "measured").select("mcc_held_out", "mcc_prequential").rows() == [
        (0.9, None),
        (0.9, 0.4),
    ]


def test_without_evaluators_there_is_no_history():
    tables = (EVALUATORS, EVALUATOR_QUALITY, EVALUATOR_HEALTH, GATE_RUNS, GATE_RESULTS)
    found = history_frame(*(table.empty() for table in tables))
    assert found.is_empty()
    assert found.schema == HISTORY
