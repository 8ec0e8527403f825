"""Whether an evaluator still holds, from its labels and what it says; and what that does to its standing."""

from datetime import UTC, date, datetime, timedelta

import polars as pl

from evalpipe.evaluators.health import health_of
from evalpipe.evaluators.on_lake import standing
from evalpipe.settings import Settings
from evalpipe.tables import EVALUATOR_HEALTH, EVALUATOR_QUALITY, EVALUATORS, LABELS
from evalpipe_tests.evaluators.made import rule_artifact, trace_id

MADE = datetime(2026, 3, 2, tzinfo=UTC)  # when every artifact of made.py was
PROMISED = [(True, True)] * 18 + [(True, False)] * 2 + [(False, True)] * 2 + [(False, False)] * 38
GOOD = [(True, True)] * 9 + [(True, False)] + [(False, True)] + [(False, False)] * 19
BAD = [(True, True)] * 3 + [(True, False)] * 12 + [(False, True)] * 4 + [(False, False)] * 16
Said = list[tuple[bool, bool]]  # the label, and whether it was flagged


def health(recent: Said, *, shifted: tuple[str, ...] = (), promised: Said = PROMISED, services=("shop",)) -> dict:
    held_out = {trace_id(n): flagged for n, (_, flagged) in enumerate(promised)}
    every = [*promised, *recent]
    labels = LABELS.conform(
        pl.DataFrame(
            {
                "trace_id": [trace_id(n) for n in range(len(every))],
                "issue_id": "iss_1",
                "day": date(2026, 3, 2),
                "service_name": "shop",
                "is_failure": [failure for failure, _ in every],
                "weight": 1.0,
                "n_annotators": 1,
                "is_disputed": False,
                "labelled_at": [MADE - timedelta(days=1)] * len(promised) + [MADE + timedelta(days=1)] * len(recent),
                "sources": [["human"]] * len(every),
            }
        )
    )
    outcomes = pl.DataFrame(
        {"trace_id": labels["trace_id"], "outcome": ["fail" if flagged else "pass" for _, flagged in every]}
    )
    made = rule_artifact({"op": "constant", "value": False}, held_out=held_out, services=list(services))
    rows = health_of(made, labels, outcomes, EVALUATOR_QUALITY.empty(), shifted_services=shifted, settings=Settings())
    assert rows.schema == EVALUATOR_HEALTH.schema
    return rows.row(0, named=True)


def test_new_labels_are_held_against_what_was_promised_out_of_fold():
    row = health(GOOD)
    # (18*38 - 2*2) / sqrt(20*20*40*40) = 680/800; (9*19 - 1*1) / sqrt(10*10*20*20) = 170/200
    assert (row["mcc_held_out"], row["mcc_recent"], row["n_recent"], row["n_recent_failures"]) == (0.85, 0.85, 30, 10)
    assert (row["finding"], row["is_demoted"]) == ("holds", False)


def test_one_that_fell_beyond_noise_is_demoted():
    row = health(BAD)
    assert row["is_demoted"]
    assert row["change_upper"] < 0
    assert row["reason"].startswith("its agreement fell from 0.85 to 0.00 on 35 new labels")


def test_only_a_shift_of_its_own_services_counts():
    assert health(GOOD, shifted=("shop",))["has_traffic_shifted"]
    assert not health(GOOD, shifted=("desk",))["has_traffic_shifted"]
    assert health(GOOD, shifted=("desk",), services=())["has_traffic_shifted"]  # it judges all


def test_one_without_new_labels_is_unknown():
    row = health([])
    assert (row["finding"], row["is_demoted"], row["mcc_recent"], row["n_recent"]) == ("unknown", False, None, 0)


def standing_of(version: int, health: pl.DataFrame) -> tuple[str, str | None]:
    text = {"failure_mode": "m", "kind": "rule", "status": "active", "artifact": "{}", "artifact_sha256": "0"}
    counts = {"n_positives": 20, "n_negatives": 40, "labels_fingerprint": 1, "created_at": MADE, "reason": ""}
    names = {"evaluator_id": "ev_1", "version": version, "issue_id": "iss_1"}
    evaluators = EVALUATORS.conform(pl.DataFrame([names | text | counts]))
    figures = {"tp": 18, "fp": 2, "tn": 38, "fn": 2, "n_faults": 0, "mcc": 0.85, "mcc_lower": 0.7, "mcc_upper": 0.9}
    rest = {"kind": "rule", "measured_at": MADE, "split": "held_out", "confidence": 0.9, "n_sessions": 60}
    quality = EVALUATOR_QUALITY.conform(pl.DataFrame([names | figures | rest | {"labels_fingerprint": 1}]))
    return standing(evaluators, quality, Settings().quality, health).select("status", "demotion").row(0)


def test_a_demoted_version_monitors_until_it_holds_again_or_is_replaced():
    fell, held = (EVALUATOR_HEALTH.conform(pl.DataFrame([health(said)])) for said in (BAD, GOOD))
    assert standing_of(1, fell) == ("monitoring", "its agreement fell from 0.85 to 0.00 on 35 new labels")
    assert standing_of(1, held) == ("active", None)
    assert standing_of(2, fell) == ("active", None)
