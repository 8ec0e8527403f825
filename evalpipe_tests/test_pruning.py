"""Which evaluators have outlived their use."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from evalpipe.errors import StateError
from evalpipe.evaluators.catalog import current_evaluators, load, read_artifact
from evalpipe.lake.store import Lake
from evalpipe.pruning import STALE, PruningTables, prune, restore, stale_evaluators
from evalpipe.settings import MonitorSettings
from evalpipe.tables import (
    EVALUATOR_QUALITY,
    EVALUATORS,
    GATE_RESULTS,
    GATE_RUNS,
    ISSUE_EVENTS,
    ISSUES,
    LABELS,
    VERDICTS,
)
from evalpipe_tests.evaluators.made import rule_artifact
from evalpipe_tests.report.made import frame, gate_result, gate_run

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD, RECENT = NOW - timedelta(days=120), NOW - timedelta(days=10)


def evaluator(status: str = "active", created_at: datetime = OLD) -> pl.DataFrame:
    row = {"evaluator_id": "ev_a", "version": 3, "issue_id": "iss_a", "failure_mode": "m", "kind": "rule"}
    rest = {"artifact": "{}", "artifact_sha256": "", "n_positives": 10, "n_negatives": 10, "labels_fingerprint": 0}
    return EVALUATORS.conform(pl.DataFrame([row | rest | {"status": status, "created_at": created_at, "reason": ""}]))


def issue(state: str = "active") -> pl.DataFrame:
    times = dict.fromkeys(("first_seen_at", "last_seen_at", "updated_at"), OLD)
    row = {"issue_id": "iss_a", "name": "m", "state": state, "flags": ["new"], "services": ["s"], "n_failures": 9}
    return ISSUES.conform(pl.DataFrame([row | times]))


def verdicts(*said: tuple[str, datetime], version: int = 3) -> pl.DataFrame:
    rows = [
        {
            "evaluator_id": "ev_a",
            "version": version,
            "trace_id": f"{i:032x}",
            "day": at.date(),
            "issue_id": "iss_a",
            "outcome": outcome,
            "inclusion_probability": 1.0,
        }
        for i, (outcome, at) in enumerate(said)
    ]
    return VERDICTS.conform(pl.DataFrame(rows)) if rows else VERDICTS.empty()


def label(is_failure: bool, at: datetime) -> pl.DataFrame:
    row = {"trace_id": "0" * 32, "issue_id": "iss_a", "day": at.date(), "service_name": "s", "is_failure": is_failure}
    rest = {"weight": 1.0, "n_annotators": 1, "is_disputed": False, "labelled_at": at, "sources": ["human"]}
    return LABELS.conform(pl.DataFrame([row | rest]))


QUIET = verdicts(("pass", RECENT), ("pass", RECENT), ("fail", OLD))


def stale(evaluators=None, issues=None, said=QUIET, labels=None, **more) -> pl.DataFrame:
    tables = PruningTables(
        evaluators=evaluator() if evaluators is None else evaluators,
        issues=issue() if issues is None else issues,
        verdicts=said,
        labels=LABELS.empty() if labels is None else labels,
        **more,
    )
    return stale_evaluators(tables, now=NOW, settings=MonitorSettings())


def test_an_evaluator_that_found_nothing_for_90_days_is_stale():
    found = stale()
    assert found.schema == STALE
    assert found.select("evaluator_id", "version").row(0) == ("ev_a", 3)
    assert found["reason"][0] == "failed none of 2 traces and nobody annotated its failure in 90 days"


@pytest.mark.parametrize("state", ["merged", "ignored"])
def test_an_evaluator_of_a_closed_issue_is_stale_whatever_it_finds(state):
    found = stale(issues=issue(state), said=verdicts(("fail", RECENT)), labels=label(True, RECENT))
    assert state in found["reason"][0]


def test_one_failing_trace_keeps_it():
    assert stale(said=verdicts(("pass", RECENT), ("fail", RECENT))).is_empty()


def test_what_an_earlier_version_caught_counts():
    assert stale(said=verdicts(("fail", RECENT), version=2)).is_empty()


def test_an_annotated_failure_keeps_it():
    assert stale(labels=label(True, RECENT)).is_empty()


def test_an_old_failure_or_a_healthy_trace_does_not_keep_it():
    assert stale(labels=label(True, OLD)).height == 1
    assert stale(labels=label(False, RECENT)).height == 1


def test_an_evaluator_that_judged_nothing_is_not_stale():
    assert stale(said=VERDICTS.empty()).is_empty()
    assert stale(said=verdicts(("fault", RECENT))).is_empty()  # it looked, and could not tell


def test_a_young_evaluator_is_not_stale():
    assert stale(evaluators=evaluator(created_at=RECENT)).is_empty()


def test_a_retired_evaluator_is_not_retired_again():
    assert stale(evaluators=evaluator(status="retired"), issues=issue("merged")).is_empty()


RESOLVED = issue("resolved").with_columns(resolved_at=pl.lit(OLD))
FINDS = verdicts(("fail", RECENT), ("pass", RECENT))


def test_a_solved_issue_that_is_not_seen_for_90_days_lets_its_evaluator_go():
    [reason] = stale(issues=RESOLVED, said=FINDS)["reason"]
    assert reason == "its issue was resolved on 2026-02-01 and has not been seen in 90 days"
    assert stale(issues=RESOLVED, said=FINDS, labels=label(True, RECENT)).is_empty()  # somebody saw it
    assert stale(issues=RESOLVED.with_columns(resolved_at=pl.lit(RECENT)), said=FINDS).is_empty()


def event(kind: str, at: datetime) -> pl.DataFrame:
    row = {"event_id": "e", "issue_id": "iss_a", "kind": kind, "at": at, "author": "pipeline", "evidence": "{}"}
    return ISSUE_EVENTS.conform(pl.DataFrame([row]))


def test_one_whose_issue_recurred_stays():
    assert stale(issues=RESOLVED, events=event("recurred", RECENT)).is_empty()
    assert stale(issues=RESOLVED, events=event("recurred", OLD)).height == 1
    assert stale(issues=RESOLVED, events=event("escalated", RECENT)).height == 1


def gates(*results: dict, at: datetime = RECENT) -> dict[str, pl.DataFrame]:
    runs = frame(GATE_RUNS, [gate_run(0, "block") | {"decided_at": at}])
    return {"gate_runs": runs, "gate_results": frame(GATE_RESULTS, list(results))}


def test_the_only_one_that_caught_a_regression_stays_until_that_is_long_ago():
    caught = gate_result(0, "a", "failed") | {"link": "new regression"}
    other = gate_result(0, "b", "failed")
    assert stale(issues=RESOLVED, **gates(caught, gate_result(0, "b", "passed"))).is_empty()
    assert stale(issues=RESOLVED, **gates(caught, other)).height == 1  # another one caught it too
    assert stale(issues=RESOLVED, **gates(caught | {"link": "known open"})).height == 1
    assert stale(issues=RESOLVED, **gates(caught, at=OLD)).height == 1


def test_one_that_costs_more_than_it_finds_is_stale():
    dear = FINDS.with_columns(cost_usd=pl.lit(3.0))
    # 6 USD: more than 5 without a find; trace 0 is the one it fails
    [reason] = stale(said=dear, labels=label(False, RECENT))["reason"]
    assert reason == "cost 6.0 USD in 90 days and found 0 confirmed failures: more than 5.0 USD each"
    assert stale(said=dear).is_empty()  # nobody read a trace, so nothing could be confirmed
    assert stale(said=FINDS.with_columns(cost_usd=pl.lit(2.0)), labels=label(True, RECENT)).is_empty()
    twice = FINDS.with_columns(cost_usd=pl.lit(9.0))
    assert "found 1 confirmed failure:" in stale(said=twice, labels=label(True, RECENT))["reason"][0]


def twins(n: int, n_extra: int = 0, services: str = '{"services":["s"]}') -> dict:
    """ev_a and ev_b fail the same `n` traces, ev_b `n_extra` more; the first is annotated for iss_a."""
    flagged = verdicts(*[("fail", RECENT)] * (n + n_extra))
    of_b = flagged.with_columns(evaluator_id=pl.lit("ev_b"), issue_id=pl.lit("iss_b"))
    a = evaluator().with_columns(artifact=pl.lit('{"services":["s"]}'))
    b = a.with_columns(evaluator_id=pl.lit("ev_b"), issue_id=pl.lit("iss_b"), artifact=pl.lit(services))
    return {
        "evaluators": pl.concat([a, b]),
        "issues": pl.concat([issue(), issue().with_columns(issue_id=pl.lit("iss_b"))]),
        "said": pl.concat([flagged.head(n), flagged.tail(n_extra).with_columns(outcome=pl.lit("pass")), of_b]),
        "labels": label(True, RECENT),
    }


def mcc(a: float, b: float) -> pl.DataFrame:
    same = {"version": 3, "kind": "rule", "measured_at": NOW, "split": "held_out", "tp": 9, "fp": 1, "tn": 9, "fn": 1}
    rest = {"n_faults": 0, "confidence": 0.9, "n_sessions": 20, "labels_fingerprint": 1}
    rows = [{"evaluator_id": f"ev_{i}", "issue_id": f"iss_{i}", "mcc": value} for i, value in (("a", a), ("b", b))]
    return EVALUATOR_QUALITY.conform(pl.DataFrame([row | same | rest for row in rows]))


def test_of_two_that_flag_the_same_traces_the_one_that_agrees_better_with_people_stays():
    found = stale(**twins(12), quality=mcc(0.6, 0.9))
    assert found.select("evaluator_id", "reason").rows() == [
        ("ev_a", "ev_b (m) agrees at least as well with people and flags the same: 12 of 12 traces")
    ]
    assert stale(**twins(12), quality=mcc(0.9, 0.6))["evaluator_id"].to_list() == ["ev_b"]


def test_two_that_flag_few_or_different_traces_or_of_other_services_both_stay():
    assert stale(**twins(9), quality=mcc(0.6, 0.9)).is_empty()
    assert stale(**twins(12, 2), quality=mcc(0.6, 0.9)).is_empty()  # 12 of 14 are 0.86
    assert stale(**twins(12, services='{"services":["t"]}'), quality=mcc(0.6, 0.9)).is_empty()
    unlabelled = twins(12) | {"labels": label(False, RECENT)}
    assert stale(**unlabelled, quality=mcc(0.6, 0.9)).is_empty()


def living(tmp_path) -> Lake:
    """A lake with one evaluator, whose issue was ignored."""
    made = rule_artifact({"op": "constant", "value": False}, evaluator_id="ev_a", issue_id="iss_a", version=3)
    lake = Lake(tmp_path / "lake")
    row = evaluator().with_columns(artifact=pl.lit(made.to_json()), artifact_sha256=pl.lit(made.sha256))
    lake.append_new(EVALUATORS, row)
    lake.replace(ISSUES, issue("ignored"))
    return lake


def test_a_rehearsal_says_what_would_be_retired_and_changes_nothing(tmp_path):
    lake = living(tmp_path)
    assert prune(lake, MonitorSettings(), NOW, is_rehearsal=True).height == 1
    assert lake.read(EVALUATORS).height == 1


def test_a_retired_evaluator_is_restored_as_a_version_that_says_by_whom(tmp_path):
    lake = living(tmp_path)
    with pytest.raises(StateError, match="is not retired"):
        restore(lake, tmp_path, "iss_a", by="ana", now=NOW)
    prune(lake, MonitorSettings(), NOW)
    assert current_evaluators(lake.read(EVALUATORS)).is_empty()
    restore(lake, tmp_path, "iss_a", by="ana", now=NOW + timedelta(days=1))
    row = current_evaluators(lake.read(EVALUATORS)).row(0, named=True)
    assert (row["version"], row["status"]) == (5, "active")
    assert row["reason"] == "restored by ana, as version 3 was; it had been retired: its issue was ignored"
    assert load(row["artifact"], row["artifact_sha256"]).version == 5
    assert read_artifact(tmp_path, "iss_a").version == 5
    with pytest.raises(StateError, match="never had an evaluator"):
        restore(lake, tmp_path, "iss_b", by="ana", now=NOW)


def test_what_a_person_restored_is_left_alone_for_as_long():
    brought_back = evaluator(created_at=RECENT).with_columns(reason=pl.lit("restored by ana, as version 1 was"))
    assert stale(evaluators=brought_back, issues=RESOLVED).is_empty()
    assert stale(evaluators=brought_back.with_columns(created_at=pl.lit(OLD)), issues=RESOLVED).height == 1
    assert stale(evaluators=brought_back, issues=issue("ignored")).height == 1  # but not when its issue is gone
