"""The figures, rows and sentences of the report."""

from dataclasses import replace

import polars as pl
import pytest

from evalpipe.report.summary import ReportTables, issue_table, last_gate, summarise
from evalpipe.settings import Settings
from evalpipe.tables import AGREEMENT, COVERAGE, GATE_RESULTS, GATE_RUNS
from evalpipe_tests.report.made import NOW, agreed, covered, frame, gate_run, tables


def summary(of: ReportTables | None = None):
    return summarise(of or tables(), now=NOW, settings=Settings())


def row(issue_id: str, of: ReportTables | None = None):
    return next(r for r in issue_table(of or tables()).iter_rows(named=True) if r["issue_id"] == issue_id)


def test_the_active_issues_stand_in_order_of_harm():
    assert [r["issue_id"] for r in summary().issues] == ["iss_a", "iss_b", "iss_c"]


def test_coverage_counts_issues_and_weighs_their_failures():
    figures = summary().figures
    assert (figures.n_active, figures.n_covered, figures.n_blocking, figures.n_monitoring) == (3, 2, 1, 1)
    assert figures.issue_share == pytest.approx(2 / 3)
    assert figures.occurrence_share == pytest.approx(36 / 40)  # 30 + 6 of 30 + 6 + 4


def test_the_headline_says_what_is_covered_and_what_may_block():
    expected = "2 of 3 active issues are covered by an evaluator that can be trusted; one of them may block a release."
    assert summary().headline == expected


def test_the_three_splits_stand_apart():
    b = row("iss_b")
    assert (b["mcc"], b["mcc_prospective"], b["mcc_in_sample"]) == (0.55, 0.1, 0.8)
    a = row("iss_a")
    assert (a["mcc"], a["mcc_prospective"]) == (0.9, None)  # the last of three measurements


def test_what_an_issue_lacks_is_what_coverage_says():
    assert [r["lacks"] for r in summary().issues] == [
        None,
        "its MCC of 0.55 is below 0.60",
        "7 more bad and 2 more good annotations",
    ]


def test_an_issue_that_coverage_has_not_seen_yet_says_so():
    nothing = replace(tables(), coverage=COVERAGE.empty())
    assert {r["lacks"] for r in summary(nothing).issues} == {"not measured yet: run evalpipe run"}


def test_a_rare_and_critical_issue_stands_before_a_frequent_and_minor_one():
    harmful = frame(COVERAGE, [covered("a", "active", harm=0.1), covered("b", None, harm=0.5), covered("c", None)])
    assert [r["issue_id"] for r in summary(replace(tables(), coverage=harmful)).issues] == ["iss_b", "iss_a", "iss_c"]


def test_an_issue_whose_fix_is_being_verified_is_still_one_to_cover():
    of = tables()
    verifying = of.issues.with_columns(state=pl.col("state").replace("active", "verifying"))
    assert summary(replace(of, issues=verifying)).figures.n_active == 3


def test_the_next_steps_are_told_in_order():
    steps = summary().steps
    assert [step.what for step in steps] == [
        "Fix release 1.1",
        "Cover “mode c”",
        "Check the evaluator of “mode b”",
        "Settle 1 disputed label",
        "Say whether “mode d” and “mode c” are one issue",
        "Review 2 traces",
        "Strengthen “mode b”",
    ]
    assert steps[2].detail == "on annotations made after it, its MCC is 0.10; held out it was 0.55"


def test_a_last_gate_that_passed_asks_for_nothing():
    passed = replace(tables(), gate_runs=frame(GATE_RUNS, [gate_run(0, "pass")]))
    assert not any("release" in step.what for step in summary(passed).steps)


def test_an_issue_that_is_no_longer_active_leaves_the_coverage():
    of = tables()
    closed = replace(of, issues=of.issues.filter(of.issues["issue_id"] != "iss_c"))
    assert summary(closed).figures.n_active == 2


def test_the_other_issues_are_listed_apart():
    assert [(r["issue_id"], r["state"]) for r in summary().others] == [("iss_d", "candidate")]


def test_the_ceiling_is_that_of_the_issue_where_enough_was_read_twice_and_else_that_of_all():
    a, b = row("iss_a"), row("iss_b")
    assert (a["ceiling"], a["n_read_twice"], a["is_ceiling_own"]) == (0.85, 30, True)
    assert (b["ceiling"], b["n_read_twice"], b["is_ceiling_own"]) == (0.75, 40, False)


def test_people_who_differ_too_much_for_any_evaluator_to_block_are_asked_to_agree():
    def asked(*rows):
        return [
            step
            for step in summary(replace(tables(), agreement=frame(AGREEMENT, list(rows)))).steps
            if "Agree" in step.what
        ]

    of_all, of_a = agreed("all", "", 40, 0.5), agreed("issue", "iss_a", 30, 0.5)
    (step,) = asked(of_all, of_a)  # what is borrowed says nothing of the others
    assert step.what == "Agree on what counts as “mode a”"
    assert step.detail.endswith("would reach an MCC of 0.50; blocking takes 0.60")
    assert asked(of_all, agreed("issue", "iss_a", 30, 0.6)) == []


def test_the_last_gate_is_the_newest_with_what_failed_first():
    gate = last_gate(tables().gate_runs, tables().gate_results)
    assert gate is not None
    assert gate.run["release"] == "1.1"
    assert [r["outcome"] for r in gate.results] == ["failed"]
    assert last_gate(GATE_RUNS.empty(), GATE_RESULTS.empty()) is None


def test_an_empty_home_has_a_report_too():
    empty = summary(ReportTables())
    assert empty.figures == (0, 0, 0, 0, None, None, None)
    assert (empty.steps, empty.issues, empty.last_gate) == ((), (), None)
    assert (empty.queue.arms, empty.prevalence, empty.agreement, empty.proposals) == ((), (), (), ())
    assert "No issue is tracked yet" in empty.headline
