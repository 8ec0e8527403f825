"""Coverage: which active issues an evaluator that can be trusted watches for."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from evalpipe.quality.coverage import (
    CoverageTables,
    coverage_figures,
    coverage_frame,
    latest_coverage,
    latest_quality,
    verdict_rates,
)
from evalpipe.settings import Settings
from evalpipe.tables import (
    COVERAGE,
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    ISSUE_RATES,
    ISSUES,
    LABELS,
    PREVALENCE,
    VERDICTS,
)

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


def coverage(*of: pl.DataFrame, **more: pl.DataFrame) -> pl.DataFrame:
    """Of issues, evaluators, quality and rates, in this order; `more` are further tables by name."""
    given = dict(zip(("issues", "evaluators", "quality", "rates"), of, strict=False)) | more
    return coverage_frame(CoverageTables(**given), now=NOW, settings=Settings())


def cover(*of: pl.DataFrame, **more: pl.DataFrame) -> dict[str, dict]:
    return {row["issue_id"]: row for row in coverage(*of, **more).iter_rows(named=True)}


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
    figures = coverage_figures(
        coverage(
            issues(("a", "active", 30), ("b", "active", 10), ("c", "verifying", 0)),
            evaluators(("a", 1, "active"), ("c", 1, "active")),
            quality(("a", 1, 0.9, 0.8), ("c", 1, 0.5, 0.3)),
            prevalence=prevalence(("a", 0.02), ("b", 0.06)),
        )
    )
    assert figures[:4] == (3, 2, 1, 1)  # one blocks, one only monitors
    # two of three issues; 30 of 40 failures; of 0.02 + 0.06 of the traffic 0.02, that of c is not known
    assert figures[4:] == pytest.approx((2 / 3, 0.75, 0.25))


def test_coverage_of_no_active_issue_is_undefined():
    figures = coverage_figures(COVERAGE.empty())
    assert figures == (0, 0, 0, 0, None, None, None)


def prevalence(*rows: tuple[str, float | None]) -> pl.DataFrame:
    """(issue_id, share of traffic that shows it)"""
    days = {"first_day": NOW.date(), "last_day": NOW.date(), "n_traces": 100, "n_reviewed": 50, "n_failures": 1}
    return PREVALENCE.conform(
        pl.DataFrame(
            [{"issue_id": i, "prevalence": share, "confidence": 0.9, **days} for i, share in rows],
            schema_overrides={"prevalence": pl.Float64},
        )
    )


def week(issue_id: str, week: int, share: float | None) -> pl.DataFrame:
    names = {"issue_id": issue_id, "first_day": NOW.date() + timedelta(weeks=week), "evaluator_id": f"ev_{issue_id}"}
    counts = {"version": 1, "n_judged": 100, "n_flagged": 9, "confidence": 0.95}
    return ISSUE_RATES.conform(pl.DataFrame([names | counts | {"prevalence": share}]))


def test_the_prevalence_is_that_of_the_latest_week_that_tells_it_else_that_of_the_queues():
    found = cover(
        issues(("a", "active", 1), ("b", "active", 1), ("c", "active", 1), ("d", "active", 1)),
        issue_rates=pl.concat([week("a", 1, 0.03), week("a", 0, 0.09), week("a", 2, None)]),
        prevalence=prevalence(("a", 0.5), ("b", 0.04), ("c", None), ("d", 0.0)),
    )
    # Of d none was seen among those read by chance, which says only that it is rare.
    assert [found[i]["prevalence"] for i in "abcd"] == [0.03, 0.04, None, None]


def test_harm_weighs_the_share_of_traffic_by_severity_and_orders_the_issues():
    told = issues(("a", "active", 5), ("b", "active", 4), ("c", "active", 1)).with_columns(
        severity=pl.Series(["minor", "critical", None])
    )
    found = coverage(told, prevalence=prevalence(("a", 0.1), ("b", 0.05)))
    # b: 0.05 * 9; c: 1 of 10 annotated failures * 3, for major; a: 0.1 * 1
    assert found["issue_id"].to_list() == ["b", "c", "a"]
    assert found["harm"].to_list() == pytest.approx([0.45, 0.3, 0.1])
    assert found["severity"].to_list() == ["critical", "major", "minor"]


def labels(n_bad: int, n_good: int, n_disputed: int = 0) -> pl.DataFrame:
    n = n_bad + n_good + n_disputed
    return LABELS.conform(
        pl.DataFrame(
            {
                "trace_id": [f"{i:032x}" for i in range(n)],
                "issue_id": "a",
                "day": NOW.date(),
                "service_name": "shop",
                "is_failure": [i < n_bad for i in range(n)],
                "is_disputed": [i >= n_bad + n_good for i in range(n)],
                "weight": 1.0,
                "n_annotators": 1,
                "labelled_at": NOW,
                "sources": [["human"]] * n,
            }
        )
    )


def lacks(*rows: tuple[str, int, float | None, float | None], health: pl.DataFrame | None = None, **of: int) -> str:
    made = evaluators(*((i, version, "active") for i, version, *_ in rows))
    measured = quality(*rows) if rows else EVALUATOR_QUALITY.empty()
    more = {"labels": labels(**of)} | ({} if health is None else {"health": health})
    return cover(issues(("a", "active", 4)), made, measured, **more)["a"]["lacks"]


def test_an_uncovered_issue_says_what_it_lacks():
    # 10 failures and 10 others are needed; a disputed label is neither
    assert lacks(n_bad=4, n_good=8, n_disputed=1) == "6 more bad and 2 more good annotations"
    assert lacks(n_bad=9, n_good=10) == "1 more bad annotation"
    assert lacks(n_bad=10, n_good=10) == "nothing but its evaluator: run evalpipe generate"


def test_an_evaluator_that_agrees_too_little_asks_for_a_sharper_definition():
    assert lacks(("a", 1, 0.31, 0.1), n_bad=20, n_good=20).startswith("its MCC reaches only 0.31: say more sharply")
    assert lacks(("a", 1, None, None), n_bad=20, n_good=20).startswith("its MCC is undefined: say")
    assert lacks(("a", 1, 0.45, -0.1), n_bad=20, n_good=20).startswith("its MCC of 0.45 may be chance")
    disputed = lacks(("a", 1, 0.31, 0.1), n_bad=20, n_good=20, n_disputed=3)
    assert disputed == "people disagree: agree on what counts as this failure, 3 labels are disputed"


def test_one_that_monitors_says_what_keeps_it_from_blocking_and_one_that_blocks_lacks_nothing():
    assert lacks(("a", 1, 0.55, 0.45), n_bad=20, n_good=20) == "its MCC of 0.55 is below 0.60"
    assert lacks(("a", 1, 0.9, 0.8), n_bad=20, n_good=20) is None


def test_a_demoted_evaluator_covers_its_issue_but_only_monitors():
    figures = {"mcc_held_out": 0.9, "mcc_recent": 0.3, "n_recent": 30, "n_recent_failures": 9, "n_prequential": 0}
    said = {"finding": "drifted", "is_demoted": True, "has_traffic_shifted": True, "reason": "", "confidence": 0.9}
    names = {"evaluator_id": "ev_a", "version": 1, "issue_id": "a"}
    health = EVALUATOR_HEALTH.conform(pl.DataFrame([names | figures | said]))
    row = cover(issues(("a", "active", 4)), evaluators(("a", 1, "active")), quality(("a", 1, 0.9, 0.8)), health=health)
    assert (row["a"]["is_covered"], row["a"]["status"]) == (True, "monitoring")
    assert row["a"]["lacks"] == "demoted: its agreement fell from 0.90 to 0.30 on 30 new labels"


def test_the_last_measurement_is_the_one_that_counts():
    first = coverage(issues(("a", "active", 5), ("b", "active", 5)))
    later = coverage_frame(
        CoverageTables(issues=issues(("b", "active", 5))), now=NOW + timedelta(days=7), settings=Settings()
    )
    assert latest_coverage(pl.concat([first, later]))["issue_id"].to_list() == ["b"]


def test_issues_nobody_annotated_a_failure_of_weigh_nothing():
    rates = verdict_rates(VERDICTS.empty())
    found = cover(issues(("a", "active", 0)), evaluators(), quality(("a", 1, 0.9, 0.8)), rates)
    assert found["a"]["occurrence_share"] == 0.0
