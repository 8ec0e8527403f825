"""Which evaluators have outlived their use."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from evalpipe.pruning import STALE, stale_evaluators
from evalpipe.settings import MonitorSettings
from evalpipe.tables import EVALUATORS, ISSUES, LABELS, VERDICTS

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


def stale(evaluators=None, issues=None, said=QUIET, labels=None) -> pl.DataFrame:
    return stale_evaluators(
        evaluator() if evaluators is None else evaluators,
        issue() if issues is None else issues,
        said,
        LABELS.empty() if labels is None else labels,
        now=NOW,
        settings=MonitorSettings(),
    )


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
