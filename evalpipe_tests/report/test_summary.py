"""The figures, rows and sentences of the report."""

from dataclasses import replace

import pytest

from evalpipe.report.summary import ReportTables, issue_table, last_gate, summarise
from evalpipe.settings import Settings
from evalpipe.tables import AGREEMENT, COVERAGE, GATE_RESULTS, GATE_RUNS, LABELS
from evalpipe_tests.report.made import NOW, agreed, covered, frame, gate_run, label, tables


def summary(of: ReportTables | None = None):
    return summarise(of or tables(), now=NOW, settings=Settings())


def row(issue_id: str, of: ReportTables | None = None):
    return next(r for r in issue_table(of or tables(), Settings()).iter_rows(named=True) if r["issue_id"] == issue_id)


def test_the_active_issues_stand_in_order_of_harm():
    assert [r["issue_id"] for r in summary().issues] == ["iss_a", "iss_b", "iss_c"]


def test_coverage_counts_issues_and_weighs_their_failures():
    figures = summary().figures
    assert (figures.n_active, figures.n_covered) == (3, 2)
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


def test_an_uncovered_issue_says_what_it_lacks():
    # 3 of 10 failures and 8 of 10 others are annotated; a disputed label is neither
    assert row("iss_c")["lacks"] == "needs 7 more annotated failures and 2 more traces annotated as free of it"


def test_a_monitored_issue_says_what_keeps_it_from_blocking():
    assert row("iss_b")["lacks"] == "its MCC of 0.55 is below 0.60"


def test_a_blocking_issue_lacks_nothing():
    assert row("iss_a")["lacks"] is None


def test_enough_annotations_without_an_evaluator_ask_for_a_generation():
    many = frame(LABELS, [label("c", n, n < 10) for n in range(20)])
    assert row("iss_c", replace(tables(), labels=many))["lacks"] == "has enough annotations: run evalpipe generate"


def test_an_evaluator_that_agrees_too_little_asks_for_a_sharper_definition():
    settled = frame(LABELS, [label("c", n, n < 10) for n in range(20)])
    weak = frame(COVERAGE, [covered("c", "candidate")])
    assert "its MCC is undefined" in row("iss_c", replace(tables(), labels=settled, coverage=weak))["lacks"]
    disputed = frame(LABELS, [label("c", n, n < 13, is_disputed=n < 3) for n in range(23)])
    assert "3 labels are disputed" in row("iss_c", replace(tables(), labels=disputed, coverage=weak))["lacks"]


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
    assert empty.figures == (0, 0, None, None)
    assert (empty.steps, empty.issues, empty.last_gate) == ((), (), None)
    assert (empty.queue.arms, empty.prevalence, empty.agreement, empty.proposals) == ((), (), (), ())
    assert "No issue is tracked yet" in empty.headline
