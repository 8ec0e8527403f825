from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from evalpipe.evaluators.measure import current_when_labelled, labels_fingerprint, measure, prequential, status_of
from evalpipe.settings import QualitySettings
from evalpipe.tables import EVALUATOR_QUALITY, EVALUATORS, LABELS
from evalpipe_tests.evaluators.made import rule_artifact, trace_id

NOW = datetime(2026, 3, 9, tzinfo=UTC)
QUALITY = QualitySettings()
NEVER = {"op": "constant", "value": False}


def labels(*is_failure: bool, sessions: list[str | None] | None = None) -> pl.DataFrame:
    """LABELS of one issue: the i-th says whether trace i shows it."""
    n = len(is_failure)
    rows = {
        "trace_id": [trace_id(i) for i in range(n)],
        "issue_id": ["iss_1"] * n,
        "day": [date(2026, 3, 2)] * n,
        "session_id": sessions or [f"s{i}" for i in range(n)],
        "service_name": ["shop"] * n,
        "is_failure": list(is_failure),
        "weight": [1.0] * n,
        "n_annotators": [1] * n,
        "is_disputed": [False] * n,
        "labelled_at": [NOW] * n,
        "sources": [["human"]] * n,
    }
    return LABELS.conform(pl.DataFrame(rows, schema_overrides={"session_id": pl.String}))


def outcomes(*said: str | None) -> pl.DataFrame:
    rows = [{"trace_id": trace_id(i), "outcome": outcome} for i, outcome in enumerate(said) if outcome]
    return pl.DataFrame(rows, schema={"trace_id": pl.String, "outcome": pl.String})


def measured(made_from: dict[int, bool], truth: pl.DataFrame, said: pl.DataFrame) -> dict[str, dict]:
    made = rule_artifact(NEVER, held_out={trace_id(i): flagged for i, flagged in made_from.items()})
    rows = measure(made, truth, said, now=NOW, quality=QUALITY, seed=7)
    assert rows.schema == EVALUATOR_QUALITY.schema
    return {row["split"]: row for row in rows.iter_rows(named=True)}


def counts(row: dict) -> tuple[int, int, int, int]:
    return row["tp"], row["fp"], row["tn"], row["fn"]


def test_held_out_counts_what_unseeing_programs_said_and_later_traces_what_this_one_says():
    truth = labels(True, True, False, False, True, False)
    # Made from 0..3; out of fold it flagged 0 and 2. It says fail of 4 and pass of 5, which came later.
    rows = measured(
        {0: True, 1: False, 2: True, 3: False}, truth, outcomes("fail", "fail", "pass", "pass", "fail", "pass")
    )
    # 0 tp, 1 fn, 2 fp, 3 tn; 4 tp, 5 tn: (2*2 - 1*1) / sqrt(3*3*3*3) = 1/3.
    assert counts(rows["held_out"]) == (2, 1, 2, 1)
    assert rows["held_out"]["mcc"] == pytest.approx(1 / 3)
    assert counts(rows["prospective"]) == (1, 0, 1, 0)
    assert rows["prospective"]["mcc"] == 1.0
    assert counts(rows["in_sample"]) == (2, 0, 2, 0)
    assert rows["in_sample"]["mcc"] == 1.0


def test_the_lower_bound_of_a_perfect_figure_on_few_examples_is_not_perfect():
    rows = measured({0: True, 1: False}, labels(True, False), outcomes("fail", "pass"))
    assert rows["held_out"]["mcc"] == 1.0
    assert rows["held_out"]["mcc_lower"] < 0.7
    assert rows["held_out"]["confidence"] == QUALITY.confidence


def test_a_fault_is_counted_apart_and_only_where_the_outcome_is_what_counts():
    rows = measured({0: True}, labels(True, True, False), outcomes("fault", "fault", "pass"))
    # Trace 0 has its out-of-fold prediction; trace 1 is a later one and a fault.
    assert (*counts(rows["held_out"]), rows["held_out"]["n_faults"]) == (1, 0, 1, 0, 1)
    assert (*counts(rows["prospective"]), rows["prospective"]["n_faults"]) == (0, 0, 1, 0, 1)
    assert (*counts(rows["in_sample"]), rows["in_sample"]["n_faults"]) == (0, 0, 0, 0, 1)


def test_undefined_is_null_and_not_zero():
    row = measured({0: False, 1: False}, labels(True, False), outcomes("pass", "pass"))["held_out"]
    assert (row["mcc"], row["mcc_lower"], row["mcc_upper"]) == (None, None, None)
    assert counts(row) == (0, 0, 1, 1)


def test_without_later_traces_there_is_no_prospective_row():
    assert set(measured({0: True, 1: False}, labels(True, False), outcomes("fail", "pass"))) == {
        "held_out",
        "in_sample",
    }


def test_labels_that_nothing_was_said_of_are_left_out():
    rows = measured({0: True}, labels(True, False, True), outcomes(None, "pass"))
    assert counts(rows["held_out"]) == (1, 0, 1, 0)
    assert "in_sample" not in rows
    assert measured({}, labels(True, False), outcomes()) == {}


def test_examples_of_one_session_are_one_group_and_a_trace_without_session_is_its_own():
    truth = labels(True, False, True, False, sessions=["s", "s", None, None])
    assert measured({i: i % 2 == 0 for i in range(4)}, truth, outcomes())["held_out"]["n_sessions"] == 3


def test_the_same_labels_measured_again_have_the_same_row():
    truth, said = labels(True, False, True), outcomes("fail", "fail", "pass")
    first = measured({0: True}, truth, said)
    assert first == measured({0: True}, truth.reverse(), said.reverse())
    assert first["held_out"]["labels_fingerprint"] == labels_fingerprint(truth)
    assert labels_fingerprint(truth) != labels_fingerprint(labels(True, True, True))


def test_outcomes_of_a_run_with_more_columns_are_accepted():
    said = outcomes("fail", "pass").with_columns(score=pl.lit(1.0), explanation=pl.lit("x"))
    assert "held_out" in measured({}, labels(True, False), said)


def test_status_follows_the_block_and_monitor_bounds():
    assert status_of(0.7, 0.5, 12, QUALITY) == "active"
    assert status_of(0.7, 0.5, 9, QUALITY) == "monitoring"
    assert status_of(None, None, 50, QUALITY) == "candidate"


def test_a_label_given_before_the_version_was_made_is_not_prospective():
    truth = labels(True, False, True, False)
    made_at = datetime(2026, 3, 2, tzinfo=UTC)  # of every artifact in made.py
    times = [made_at - timedelta(days=1), made_at - timedelta(days=1), NOW, NOW]
    truth = truth.with_columns(labelled_at=pl.Series(times, dtype=LABELS.schema["labelled_at"]))
    rows = measured({}, truth, outcomes("fail", "pass", "fail", "fail"))
    assert counts(rows["held_out"]) == (2, 1, 1, 0)
    assert counts(rows["prospective"]) == (1, 1, 0, 0)  # traces 2 and 3


def versions(*rows: tuple[int, int, str]) -> pl.DataFrame:
    """(version, days before NOW that it was made, status)"""
    made = [(version, NOW - timedelta(days=days), status) for version, days, status in rows]
    schema = {name: EVALUATORS.schema[name] for name in ("version", "created_at", "status")}
    return pl.DataFrame(made, schema=schema, orient="row")


def learned(*pairs: tuple[int, int]) -> pl.DataFrame:
    rows = [(version, trace_id(number)) for version, number in pairs]
    return pl.DataFrame(rows, schema={"version": pl.Int32, "trace_id": pl.String}, orient="row")


def test_a_label_meets_the_newest_version_made_before_it_that_did_not_learn_from_it():
    truth = labels(True, True, False, False).with_columns(
        labelled_at=pl.Series([NOW - timedelta(days=d) for d in (40, 20, 5, 5)], dtype=LABELS.schema["labelled_at"])
    )
    # 0 came before all; 1 between the two; 2 after both; 3 after both, but version 2 was made from it.
    found = current_when_labelled(truth, versions((1, 30, "active"), (2, 10, "active")), learned((2, 3), (1, 0)))
    assert dict(found.iter_rows()) == {trace_id(1): 1, trace_id(2): 2, trace_id(3): 1}


def test_a_label_given_while_the_evaluator_was_retired_met_none():
    truth = labels(True)
    assert current_when_labelled(truth, versions((1, 30, "active"), (2, 10, "retired")), learned()).is_empty()
    restored = versions((1, 30, "active"), (2, 10, "retired"), (3, 5, "active"))
    assert current_when_labelled(truth, restored, learned())["version"].to_list() == [3]


def test_the_prequential_row_pools_what_each_version_said_and_carries_the_newest():
    newest = rule_artifact(NEVER, version=2)
    truth = labels(True, True, False, False, True)
    rows = prequential(newest, truth, outcomes("fail", "pass", "fail", "pass"), now=NOW, quality=QUALITY, seed=7)
    [row] = rows.iter_rows(named=True)
    assert (row["split"], row["version"]) == ("prequential", 2)
    assert counts(row) == (1, 1, 1, 1)  # nothing was said of the fifth
    assert row["labels_fingerprint"] == labels_fingerprint(truth)
    assert prequential(newest, truth, outcomes(), now=NOW, quality=QUALITY, seed=7).is_empty()
