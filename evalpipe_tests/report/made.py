"""A loop with three issues: one that blocks, one that monitors, one uncovered; built from as few words as possible."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from evalpipe.report.releases import RELEASES
from evalpipe.report.summary import ReportTables
from evalpipe.tables import (
    AGREEMENT,
    CANDIDATES,
    COVERAGE,
    EVALUATOR_QUALITY,
    EVALUATORS,
    GATE_RESULTS,
    GATE_RUNS,
    ISSUE_PROPOSALS,
    ISSUE_RATES,
    ISSUES,
    LABELS,
    PREVALENCE,
    QUEUE_YIELD,
    Table,
)

NOW = datetime(2026, 3, 30, 9, 30, tzinfo=UTC)
MONDAY = NOW.date()
WEEKS = [NOW - timedelta(weeks=n) for n in (2, 1, 0)]


def frame(table: Table, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return table.conform(pl.DataFrame(rows, infer_schema_length=None)) if rows else table.empty()


def issue(letter: str, n_failures: int, name: str | None = None, state: str = "active") -> dict[str, Any]:
    times = dict.fromkeys(("first_seen_at", "last_seen_at", "updated_at"), NOW)
    lists = {"flags": ["new"], "services": ["shop"]}
    return (
        {"issue_id": f"iss_{letter}", "name": name or f"mode {letter}", "state": state, "n_failures": n_failures}
        | lists
        | times
    )


def evaluator(letter: str) -> dict[str, Any]:
    text = {
        "failure_mode": f"mode {letter}",
        "kind": "rule",
        "status": "active",
        "artifact": "{}",
        "artifact_sha256": "",
    }
    numbers = {"n_positives": 12, "n_negatives": 12, "labels_fingerprint": 0, "created_at": NOW, "reason": ""}
    return {"evaluator_id": f"ev_{letter}", "version": 1, "issue_id": f"iss_{letter}"} | text | numbers


def measured(
    letter: str, mcc: float | None, at: datetime = NOW, split: str = "held_out", **fields: Any
) -> dict[str, Any]:
    bounds = {
        "mcc": mcc,
        "mcc_lower": None if mcc is None else mcc - 0.15,
        "mcc_upper": None if mcc is None else mcc + 0.05,
    }
    counts = {"tp": 11, "fp": 2, "tn": 10, "fn": 1, "n_faults": 0, "n_sessions": 20, "confidence": 0.9}
    names = {"evaluator_id": f"ev_{letter}", "version": 1, "issue_id": f"iss_{letter}", "kind": "rule"}
    return names | bounds | counts | {"measured_at": at, "split": split, "labels_fingerprint": at.day} | fields


def covered(
    letter: str, status: str | None, at: datetime = NOW, n: int = 10, lacks: str | None = None, **fields: Any
) -> dict[str, Any]:
    by = {"evaluator_id": f"ev_{letter}" if status else None, "version": 1 if status else None, "status": status}
    shares = {"n_occurrences": n, "occurrence_share": 0.5, "traffic_share": 0.02 if status else None}
    is_covered = status in ("active", "monitoring")
    return (
        {"measured_at": at, "issue_id": f"iss_{letter}", "name": letter, "is_covered": is_covered}
        | by
        | shares
        | {
            "lacks": lacks,
            **fields,
        }
    )


def label(letter: str, number: int, is_failure: bool, is_disputed: bool = False) -> dict[str, Any]:
    names = {
        "trace_id": f"{number:032x}",
        "issue_id": f"iss_{letter}",
        "day": date(2026, 3, 30),
        "service_name": "shop",
    }
    what = {"is_failure": is_failure, "is_disputed": is_disputed, "weight": 1.0, "n_annotators": 1}
    return names | what | {"labelled_at": NOW, "sources": ["human"]}


def candidate(number: int, arm: str, cycle: str = "2026-W14", status: str = "queued") -> dict[str, Any]:
    names = {
        "cycle": cycle,
        "trace_id": f"{number:032x}",
        "reviewer": "ann",
        "day": date(2026, 3, 30),
        "queue": "hedging",
    }
    how = {
        "rank": number + 1,
        "priority": 1.0,
        "reasons": ["odd"],
        "pattern_id": "p",
        "pattern_frequency": 1,
        "arm": arm,
    }
    return names | how | {"service_name": "shop", "inclusion_probability": 0.5, "status": status}


def arm_yield(
    cycle: str, arm: str, n_reviewed: int, n_failures: int, lift: tuple[float | None, float, float | None] | None = None
) -> dict[str, Any]:
    """Of as many queued. `lift` is (value, lower, upper); its rate has an interval of 0.05 to either side."""
    rate = n_failures / n_reviewed if n_reviewed else None
    value, lower, upper = lift or (None, None, None)
    return {
        "cycle": cycle,
        "arm": arm,
        "n_queued": n_reviewed,
        "n_reviewed": n_reviewed,
        "n_failures": n_failures,
        "failure_rate": rate,
        "failure_rate_lower": None if rate is None else max(0.0, rate - 0.05),
        "failure_rate_upper": None if rate is None else rate + 0.05,
        "lift": value,
        "lift_lower": lower,
        "lift_upper": upper,
        "confidence": 0.9,
    }


def weekly(letter: str, weeks_ago: int, prevalence: float | None) -> dict[str, Any]:
    """What its evaluator found in one week."""
    is_known = prevalence is not None
    return {
        "issue_id": f"iss_{letter}",
        "first_day": MONDAY - timedelta(weeks=weeks_ago),
        "evaluator_id": f"ev_{letter}",
        "version": 1,
        "n_judged": 1_000,
        "n_flagged": 100,
        "flagged_share": 0.1,
        "prevalence": prevalence,
        "prevalence_lower": prevalence * 0.5 if is_known else None,
        "prevalence_upper": prevalence * 2 if is_known else None,
        "confidence": 0.95,
    }


def prevalent(letter: str, prevalence: float | None, recall: float | None) -> dict[str, Any]:
    def bounded(name: str, value: float | None) -> dict[str, float | None]:
        spread = None if value is None else value / 2
        return {name: value, f"{name}_lower": spread, f"{name}_upper": spread and min(1.0, value + spread)}  # type: ignore[operator]

    days = {"first_day": date(2026, 3, 3), "last_day": date(2026, 3, 30)}
    is_read = prevalence is not None
    counts = {"n_traces": 4_600, "n_reviewed": 60 * is_read, "n_failures": 3 * is_read, "confidence": 0.9}
    by = {"evaluator_id": f"ev_{letter}", "version": 1} if recall is not None else {"evaluator_id": None}
    return (
        {"issue_id": f"iss_{letter}"}
        | days
        | counts
        | by
        | bounded("prevalence", prevalence)
        | bounded("recall", recall)
    )


def agreed(scope: str, name: str, n_traces: int, figure: float | None) -> dict[str, Any]:
    """Kappa, alpha and ceiling are all `figure`, with an interval of 0.1 to either side."""
    figures = {
        f"{what}{bound}": None if figure is None else round(figure + by, 2)
        for what in ("kappa", "alpha", "ceiling")
        for bound, by in (("", 0.0), ("_lower", -0.1), ("_upper", 0.1))
    }
    return {"scope": scope, "name": name, "n_traces": n_traces, "n_annotators": 2, "confidence": 0.9} | figures


def proposal(letter: str, into: str, name: str | None = None) -> dict[str, Any]:
    names = {"name": name or f"mode {letter}", "into_name": f"mode {into}", "reason": "both say 'wrong', 'price'"}
    return {
        "issue_id": f"iss_{letter}",
        "into_issue_id": f"iss_{into}",
        "similarity": 0.6,
        "shared_words": ["wrong", "price"],
    } | names


def gate_run(number: int, decision: str, release: str | None = "1.0", *reasons: str) -> dict[str, Any]:
    counts = {"n_cases": 40, "n_evaluators": 1, "suite_pass_rate": 1.0 if decision == "pass" else 0.0}
    text = {"decision": decision, "reasons": list(reasons) or ["because"], "release": release, "source": "release"}
    return {"gate_id": f"gate_{number}", "decided_at": WEEKS[0] + timedelta(days=number)} | text | counts


def gate_result(number: int, letter: str, outcome: str, name: str | None = None) -> dict[str, Any]:
    names = {"gate_id": f"gate_{number}", "evaluator_id": f"ev_{letter}", "version": 1, "issue_id": f"iss_{letter}"}
    what = {"failure_mode": name or f"mode {letter}", "kind": "rule", "role": "blocking", "outcome": outcome}
    counts = {
        "n_pass": 30,
        "n_fail": 10,
        "n_fault": 0,
        "pass_rate": 0.75,
        "pass_rate_lower": 0.6,
        "pass_rate_upper": 0.86,
    }
    return (
        names
        | what
        | counts
        | {"mcc": 0.9, "mcc_lower": 0.7, "link": "known open", "failing_case_ids": ["c"], "reason": "r"}
    )


def tables(name_of_a: str | None = None) -> ReportTables:
    """a: 30 failures, blocks; b: 6 failures, monitors, belied by later annotations; c: 4 failures, uncovered.

    Two weeks were read; people agree on a to 0.85 (30 traces read twice), overall to 0.75; d may be c.
    """
    return ReportTables(
        issues=frame(
            ISSUES,
            [issue("c", 4), issue("a", 30, name_of_a), issue("b", 6), issue("d", 2, "mode d", "candidate")],
        ),
        evaluators=frame(EVALUATORS, [evaluator("a"), evaluator("b")]),
        quality=frame(
            EVALUATOR_QUALITY,
            [measured("a", mcc, at) for mcc, at in zip((0.6, 0.75, 0.9), WEEKS, strict=True)]
            + [measured("b", 0.55), measured("b", 0.1, split="prospective"), measured("b", 0.8, split="in_sample")],
        ),
        coverage=frame(
            COVERAGE,
            [
                covered("a", None, WEEKS[0]),
                covered("a", "active"),
                covered("b", "monitoring", lacks="its MCC of 0.55 is below 0.60"),
                covered("c", None, lacks="7 more bad and 2 more good annotations"),
            ],
        ),
        labels=frame(
            LABELS,
            [label("c", n, True, is_disputed=n == 0) for n in range(4)] + [label("c", n, False) for n in range(4, 12)],
        ),
        candidates=frame(
            CANDIDATES,
            [candidate(n, "anomaly") for n in (0, 1, 2, 5)]
            + [candidate(n, "control") for n in (3, 6, 7, 8)]
            + [candidate(n, "anomaly") for n in (50, 51)],
        ),
        queue_yield=frame(
            QUEUE_YIELD,
            [
                arm_yield("2026-W13", "anomaly", 90, 36, (4.0, 1.2, 30.0)),
                arm_yield("2026-W13", "control", 10, 1),
                arm_yield("2026-W14", "anomaly", 60, 30, (None, 2.1, None)),
                arm_yield("2026-W14", "control", 8, 0),
                arm_yield("all", "anomaly", 150, 66, (7.9, 2.4, 27.0)),
                arm_yield("all", "control", 18, 1),
            ],
        ),
        prevalence=frame(
            PREVALENCE, [prevalent("c", 0.05, None), prevalent("a", 0.2, 0.75), prevalent("d", None, None)]
        ),
        agreement=frame(
            AGREEMENT,
            [
                agreed("all", "", 40, 0.75),
                agreed("issue", "iss_a", 30, 0.85),
                agreed("issue", "iss_b", 5, 0.1),  # too few: it borrows the figure of all
                agreed("reviewer", "ann", 40, 0.75),
                agreed("reviewer", "bob", 40, 0.75),
                agreed("reviewer", "cleo", 0, None),  # nobody read with her
            ],
        ),
        rates=frame(ISSUE_RATES, [weekly("a", n, share) for n, share in ((5, 0.2), (4, 0.1), (2, 0.05), (1, None))]),
        releases=pl.DataFrame([("shop", "1.1", MONDAY - timedelta(days=25))], schema=RELEASES, orient="row"),
        proposals=frame(ISSUE_PROPOSALS, [proposal("d", "c", name_of_a)]),
        gate_runs=frame(GATE_RUNS, [gate_run(0, "pass"), gate_run(1, "block", "1.1", "Must not ship: mode a.")]),
        gate_results=frame(GATE_RESULTS, [gate_result(0, "a", "passed"), gate_result(1, "a", "failed", name_of_a)]),
    )
