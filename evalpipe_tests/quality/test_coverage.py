"""Coverage: which active issues an evaluator that can be trusted watches for."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from evalpipe.quality.coverage import coverage_figures, coverage_frame, latest_quality, verdict_rates
from evalpipe.settings import QualitySettings
from evalpipe.tables import COVERAGE, EVALUATOR_QUALITY, EVALUATORS, ISSUES, VERDICTS

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def issues(*rows: tuple[str, str, int]) -> pl.DataFrame:
    """(issue_id, state, annotated failures)"""
    times = dict.fromkeys(("first_seen_at", "last_seen_at", "updated_at"), NOW)
    return ISSUES.conform(
        pl.DataFrame(
            [
                {
                    "issue_id": i,
                    "name": f"name of {i}",
                    "state": s,
                    "flags": [],
                    "services": [],
                    "n_failures": n,
                    **times,
                }
                for i, s, n in rows
            ],
            schema_overrides={"flags": pl.List(pl.String), "services": pl.List(pl.String)},
        )
        if rows
        else ISSUES.empty()
    )


def evaluators(*rows: tuple[str, int, str]) -> pl.DataFrame:
    """(issue_id, version, status)"""
    same = {
        "failure_mode": "m",
        "kind": "rule",
        "artifact": "{}",
        "artifact_sha256": "",
        "n_positives": 12,
        "reason": "",
    }
    made = {"n_negatives": 12, "labels_fingerprint": 0, "created_at": NOW}
    return EVALUATORS.conform(
        pl.DataFrame(
            [{"evaluator_id": f"ev_{i}", "version": v, "issue_id": i, "status": s, **same, **made} for i, v, s in rows]
        )
        if rows
        else EVALUATORS.empty()
    )


def quality(
    *rows: tuple[str, int, float | None, float | None], split: str = "held_out", at: datetime = NOW
) -> pl.DataFrame:
    """(issue_id, version, mcc, mcc_lower), measured on 12 failures and 12 others"""
    counts = {"tp": 10, "fp": 1, "tn": 11, "fn": 2, "n_faults": 0, "confidence": 0.9, "n_sessions": 20}
    return EVALUATOR_QUALITY.conform(
        pl.DataFrame(
            [
                {
                    "evaluator_id": f"ev_{i}",
                    "version": v,
                    "issue_id": i,
                    "kind": "rule",
                    "measured_at": at,
                    "split": split,
                    "mcc": mcc,
                    "mcc_lower": lower,
                    "mcc_upper": mcc,
                    "labels_fingerprint": int(at.timestamp()),
                    **counts,
                }
                for i, v, mcc, lower in rows
            ],
            infer_schema_length=None,
        )
    )


def verdicts(*rows: tuple[str, str, int]) -> pl.DataFrame:
    """(issue_id, outcome, how many)"""
    flat = [(i, outcome, n) for i, outcome, times in rows for n in range(times)]
    return VERDICTS.conform(
        pl.DataFrame(
            [
                {
                    "evaluator_id": f"ev_{i}",
                    "version": 1,
                    "trace_id": f"{outcome}{n}",
                    "day": NOW.date(),
                    "issue_id": i,
                    "outcome": outcome,
                    "inclusion_probability": 1.0,
                }
                for i, outcome, n in flat
            ]
        )
        if flat
        else VERDICTS.empty()
    )


def cover(*args: pl.DataFrame) -> dict[str, dict]:
    frame = coverage_frame(*args, now=NOW, settings=QualitySettings())
    return {row["issue_id"]: row for row in frame.iter_rows(named=True)}


def test_an_issue_is_covered_from_monitoring_quality_on():
    found = cover(
        issues(("a", "active", 10), ("b", "active", 10), ("c", "active", 10), ("d", "active", 10)),
        evaluators(("a", 1, "active"), ("b", 1, "active"), ("c", 1, "candidate")),
        quality(("a", 1, 0.8, 0.6), ("b", 1, 0.5, 0.3), ("c", 1, 0.3, 0.1)),
        verdict_rates(VERDICTS.empty()),
    )
    assert [(row["is_covered"], row["status"]) for row in found.values()] == [
        (True, "active"),
        (True, "monitoring"),
        (False, "candidate"),
        (False, None),
    ]
    assert found["c"]["evaluator_id"] == "ev_c"  # named with its figure, though it covers nothing
    assert found["c"]["mcc"] == 0.3


def test_only_active_issues_count():
    found = cover(
        issues(("a", "resolved", 3), ("b", "candidate", 2), ("c", "active", 5)),
        evaluators(),
        quality(("a", 1, 0.9, 0.8)),
        verdict_rates(VERDICTS.empty()),
    )
    assert list(found) == ["c"]
    assert found["c"]["occurrence_share"] == 1.0


def test_the_status_is_what_the_latest_held_out_figures_give_not_what_it_was_made_with():
    earlier = NOW - timedelta(days=7)
    measured = pl.concat(
        [
            quality(("a", 1, 0.9, 0.8), at=earlier),
            quality(("a", 1, 0.3, 0.1)),
            quality(("a", 1, 1.0, 0.9), split="in_sample", at=NOW + timedelta(days=1)),
        ]
    )
    found = cover(issues(("a", "active", 4)), evaluators(("a", 1, "active")), measured, verdict_rates(VERDICTS.empty()))
    assert found["a"]["is_covered"] is False
    assert latest_quality(measured, "held_out")["mcc"].to_list() == [0.3]


def test_a_retired_evaluator_covers_nothing():
    rates = verdict_rates(VERDICTS.empty())
    found = cover(issues(("a", "active", 4)), evaluators(("a", 1, "retired")), quality(("a", 1, 0.9, 0.8)), rates)
    assert found["a"]["evaluator_id"] is None
    assert found["a"]["is_covered"] is False


def test_the_traffic_share_leaves_faults_out():
    # 3 of 3 + 7 judged traces fail; two faults were not judged.
    rates = verdict_rates(verdicts(("a", "fail", 3), ("a", "pass", 7), ("a", "fault", 2)))
    found = cover(issues(("a", "active", 4)), evaluators(("a", 1, "active")), quality(("a", 1, 0.9, 0.8)), rates)
    assert found["a"]["traffic_share"] == pytest.approx(0.3)


def test_an_uncovered_issue_has_no_traffic_share():
    rates = verdict_rates(verdicts(("a", "fail", 3)))
    found = cover(issues(("a", "active", 4)), evaluators(("a", 1, "active")), quality(("a", 1, 0.1, 0.0)), rates)
    assert found["a"]["traffic_share"] is None


def test_coverage_as_a_whole_counts_issues_and_weighs_them():
    frame = coverage_frame(
        issues(("a", "active", 30), ("b", "active", 10)),
        evaluators(("a", 1, "active")),
        quality(("a", 1, 0.9, 0.8)),
        verdict_rates(VERDICTS.empty()),
        now=NOW,
        settings=QualitySettings(),
    )
    figures = coverage_figures(frame)
    assert figures == (2, 1, 0.5, 0.75)  # one of two issues, 30 of 40 failures


def test_coverage_of_no_active_issue_is_undefined():
    figures = coverage_figures(COVERAGE.empty())
    assert figures == (0, 0, None, None)


def test_issues_nobody_annotated_a_failure_of_weigh_nothing():
    rates = verdict_rates(VERDICTS.empty())
    found = cover(issues(("a", "active", 0)), evaluators(), quality(("a", 1, 0.9, 0.8)), rates)
    assert found["a"]["occurrence_share"] == 0.0
