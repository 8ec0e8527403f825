from datetime import date
from typing import Any

import polars as pl
import pytest

from evalpipe.quality.intervals import wilson
from evalpipe.quality.sampling import lift
from evalpipe.review.estimates import prevalence_frame, yield_frame
from evalpipe.settings import ReviewSettings
from evalpipe.tables import CANDIDATES, ISSUES, LABELS, VERDICTS
from evalpipe_tests.review.made import CYCLE, DAY, NOON, made_id

SETTINGS = ReviewSettings()
NEXT = "2026-W11"


def queued(*rows: tuple[int, str], **changes: Any) -> pl.DataFrame:
    """CANDIDATES rows: (trace, arm)."""
    usual = {"cycle": CYCLE, "reviewer": "ada", "day": DAY, "service_name": "shop", "rank": 1, "priority": 1.0,
             "reasons": ["because"], "pattern_id": "pat", "pattern_frequency": 1, "inclusion_probability": 1.0,
             "is_second_opinion": False, "status": "queued"}  # fmt: skip
    made = [
        {**usual, "trace_id": made_id(trace), "arm": arm, "queue": "hedging" if arm == "anomaly" else arm, **changes}
        for trace, arm in rows
    ]
    return CANDIDATES.conform(pl.DataFrame(made))


def findings(failures: range | list[int], good: range | list[int]) -> pl.DataFrame:
    rows = [(made_id(i), True) for i in failures] + [(made_id(i), False) for i in good]
    return pl.DataFrame(rows, schema={"trace_id": pl.String, "is_failure": pl.Boolean}, orient="row")


def found(rows: pl.DataFrame, said: pl.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["cycle"], row["arm"]): row for row in yield_frame(rows, said, SETTINGS).iter_rows(named=True)}


def test_yield_is_what_was_found_in_what_was_read_and_lift_is_over_the_control():
    """20 of anomaly of which 10 are read, 5 failures; 10 of control all read, 1 failure: 0.5 over 0.1."""
    rows = pl.concat([queued(*((i, "anomaly") for i in range(20))), queued(*((i, "control") for i in range(20, 30)))])
    row = found(rows, findings([*range(5), 20], [*range(5, 10), *range(21, 30)]))[CYCLE, "anomaly"]
    assert (row["n_queued"], row["n_reviewed"], row["n_failures"], row["failure_rate"]) == (20, 10, 5, 0.5)
    assert (row["failure_rate_lower"], row["failure_rate_upper"]) == wilson(5, 10, 0.9)
    assert (row["lift"], row["lift_lower"], row["lift_upper"]) == lift(5, 10, 1, 10, 0.9)
    assert row["lift"] == pytest.approx(5)


def test_the_control_has_no_lift_over_itself():
    row = found(queued((0, "control"), (1, "control")), findings([0], [1]))[CYCLE, "control"]
    assert (row["failure_rate"], row["lift"], row["lift_lower"], row["lift_upper"]) == (0.5, None, None, None)


def test_a_lift_without_a_failure_in_the_control_has_a_lower_bound_only():
    rows = queued((0, "anomaly"), (1, "anomaly"), (2, "control"))
    row = found(rows, findings([0, 1], [2]))[CYCLE, "anomaly"]
    assert row["lift"] is None
    assert row["lift_lower"] > 0
    assert row["lift_upper"] is None


def test_an_arm_of_which_nothing_was_read_has_no_rate():
    row = found(queued((0, "anomaly")), findings([], []))[CYCLE, "anomaly"]
    assert (row["n_queued"], row["n_reviewed"], row["failure_rate"], row["lift_lower"]) == (1, 0, None, None)


def test_all_cycles_together_have_a_row_an_arm():
    rows = pl.concat([queued((0, "control")), queued((1, "control"), cycle=NEXT)])
    row = found(rows, findings([0], [1]))["all", "control"]
    assert (row["n_queued"], row["n_reviewed"], row["failure_rate"]) == (2, 2, 0.5)


def test_what_was_carried_over_counts_where_it_was_read():
    rows = pl.concat([queued((0, "anomaly")), queued((0, "anomaly"), cycle=NEXT, carried_from=CYCLE)])
    rows = found(rows, findings([0], []))
    assert rows[CYCLE, "anomaly"]["n_reviewed"] == 0
    assert rows[NEXT, "anomaly"]["n_reviewed"] == 1
    assert rows["all", "anomaly"]["n_reviewed"] == 1


def test_second_opinions_and_draws_that_are_none_any_more_are_in_no_arm():
    rows = pl.concat([queued((0, "anomaly"), is_second_opinion=True), queued((1, "anomaly"), queue="control")])
    assert found(rows, findings([0, 1], [])) == {}


def traffic(**n_traces: int) -> pl.DataFrame:
    """Traces of the shop by cycle: w10, w11."""
    days = {"w10": (DAY, CYCLE), "w11": (date(2026, 3, 9), NEXT)}
    rows = [(*days[name], "shop", n) for name, n in n_traces.items()]
    return pl.DataFrame(rows, schema=["day", "cycle", "service_name", "n_traces"], orient="row")


def labels(failures: list[int], good: list[int]) -> pl.DataFrame:
    usual = {"issue_id": "iss_slow", "day": DAY, "service_name": "shop", "weight": 1.0, "n_annotators": 1,
             "is_disputed": False, "labelled_at": NOON, "sources": ["human"]}  # fmt: skip
    said = {**dict.fromkeys(failures, True), **dict.fromkeys(good, False)}
    return LABELS.conform(
        pl.DataFrame([{**usual, "trace_id": made_id(i), "is_failure": fails} for i, fails in said.items()])
    )


def verdicts(*rows: tuple[int, int, str]) -> pl.DataFrame:
    """trace, version, outcome"""
    usual = {"evaluator_id": "ev_slow", "issue_id": "iss_slow", "day": DAY, "inclusion_probability": 1.0}
    made = [{**usual, "trace_id": made_id(i), "version": version, "outcome": says} for i, version, says in rows]
    return VERDICTS.conform(pl.DataFrame(made)) if made else VERDICTS.empty()


def slow() -> pl.DataFrame:
    usual = {"name": "slow", "state": "active", "flags": [], "services": ["shop"], "n_failures": 1}
    times = dict.fromkeys(("first_seen_at", "last_seen_at", "updated_at"), NOON)
    return ISSUES.conform(pl.DataFrame([{"issue_id": "iss_slow", **usual, **times}]))


def estimated(rows: pl.DataFrame, said: pl.DataFrame, of: pl.DataFrame, *judged: tuple[int, int, str]) -> dict:
    return prevalence_frame(rows, said, of, verdicts(*judged), slow(), SETTINGS).to_dicts()[0]


def test_a_trace_drawn_with_a_small_chance_stands_for_many():
    """Two of control with chance 0.01 stand for 100 each, two of uncertainty with 0.5 for 2 each: 2 / 204 fail."""
    rows = pl.concat(
        [queued((0, "control"), (1, "control"), inclusion_probability=0.01),
         queued((2, "uncertainty"), (3, "uncertainty"), inclusion_probability=0.5)]
    )  # fmt: skip
    row = estimated(rows, labels([2], [0, 1, 3]), traffic(w10=204))
    assert row["prevalence"] == pytest.approx(2 / 204)
    assert row["prevalence_lower"] < 2 / 204 < row["prevalence_upper"]
    assert (row["n_traces"], row["n_reviewed"], row["n_failures"]) == (204, 4, 1)
    assert (row["first_day"], row["last_day"]) == (DAY, DAY)


def test_a_week_of_which_little_was_read_counts_with_its_traffic():
    """Week 10: 100 traces, one read, a failure. Week 11: 100 traces, four read, all good. Half of all, not a fifth."""
    later = queued(*((i, "control") for i in range(1, 5)), cycle=NEXT, day=date(2026, 3, 9), inclusion_probability=0.04)
    rows = pl.concat([queued((0, "control"), inclusion_probability=0.04), later])
    assert estimated(rows, labels([0], [1, 2, 3, 4]), traffic(w10=100, w11=100))["prevalence"] == pytest.approx(0.5)


def test_the_anomaly_arm_and_what_nobody_read_say_nothing_of_all_traffic():
    rows = queued((0, "anomaly"), (1, "control"), (2, "control"), inclusion_probability=0.1)
    row = estimated(rows, labels([0], [1]), traffic(w10=20))
    assert (row["n_reviewed"], row["n_failures"], row["prevalence"]) == (1, 0, 0.0)
    assert row["prevalence_upper"] > 0.1


def test_recall_is_of_the_newest_version_and_a_fault_finds_nothing():
    """Failures 0, 1 and 2 with weights 10, 10 and 20 of which version 2 flags the last: 20 / 40."""
    rows = pl.concat([queued((0, "control"), (1, "control"), inclusion_probability=0.1),
                      queued((2, "uncertainty"), inclusion_probability=0.05)])  # fmt: skip
    judged = [(0, 1, "fail"), (0, 2, "pass"), (1, 2, "fault"), (2, 2, "fail")]
    row = estimated(rows, labels([0, 1, 2], []), traffic(w10=40), *judged)
    assert (row["evaluator_id"], row["version"]) == ("ev_slow", 2)
    assert row["recall"] == pytest.approx(0.5)
    assert row["recall_lower"] < 0.5 < row["recall_upper"]


def test_without_a_reading_or_a_verdict_nothing_is_estimated():
    row = estimated(queued((0, "anomaly")), labels([0], []), traffic(w10=20))
    assert (row["prevalence"], row["prevalence_lower"], row["recall"], row["evaluator_id"]) == (None, None, None, None)
    assert row["n_reviewed"] == 0
