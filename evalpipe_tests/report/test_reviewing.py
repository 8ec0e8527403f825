"""What reviewing found, in words: the lift with its doubt, and who stands in the tables."""

from typing import Any

import pytest

from evalpipe.report.reviewing import agreement_table, prevalence_table, queue_found
from evalpipe.tables import QUEUE_YIELD
from evalpipe_tests.report.made import arm_yield, frame, tables

CHOSEN, DRAWN = (90, 36), (10, 1)


def said(
    chosen: tuple[int, int] | None,
    drawn: tuple[int, int] | None,
    lift: tuple[float | None, float, float | None] | None = None,
) -> str:
    """The sentence on one week, of (read, failed) of each arm."""
    rows: list[dict[str, Any]] = [arm_yield("2026-W12", "anomaly", *chosen, lift)] if chosen else []
    rows += [arm_yield("2026-W12", "control", *drawn)] if drawn else []
    (sentence,) = queue_found(frame(QUEUE_YIELD, rows)).said
    return sentence.removeprefix("In 2026-W12, ")


@pytest.mark.parametrize(
    ("lift", "ending"),
    [
        ((4.0, 1.2, 30.0), "(1.2 to 30.0)."),
        ((4.0, 0.8, 30.0), "(0.8 to 30.0; that may still be chance)."),
        ((0.5, 0.3, 0.9), "(0.3 to 0.9)."),  # worse than chance is no chance either
    ],
)
def test_a_lift_is_said_with_its_interval_and_its_doubt(lift, ending):
    expected = f"90 traces that the queue chose failed {lift[0]} times as often as 10 read at random {ending}"
    assert said(CHOSEN, DRAWN, lift) == expected


def test_over_a_control_without_a_failure_the_lift_has_a_lower_bound_only():
    found = "36 of 90 traces that the queue chose failed and none of 10 read at random: "
    assert said(CHOSEN, (10, 0), (None, 1.6, None)) == found + "at least 1.6 times as often."
    assert said(CHOSEN, (10, 0), (None, 0.9, None)) == found + "too few to tell them apart."


def test_no_failure_anywhere_is_no_lift():
    expected = "none of 90 traces that the queue chose failed, and none of 10 read at random."
    assert said((90, 0), (10, 0), (None, 0.0, None)) == expected


@pytest.mark.parametrize("drawn", [None, (0, 0)])
def test_without_random_traces_there_is_nothing_to_compare_with(drawn):
    assert said((1, 1), drawn).startswith(
        "1 of 1 trace that the queue chose failed; none drawn at random has been read"
    )


@pytest.mark.parametrize("chosen", [None, (0, 0)])
def test_a_queue_that_nobody_read_says_so(chosen):
    assert said(chosen, DRAWN) == "none of the traces that the queue chose has been read yet."


def test_the_newest_week_that_was_read_is_told_beside_all_of_them():
    rows = [
        arm_yield(cycle, "anomaly", n, 0)
        for cycle, n in (("2026-W12", 9), ("2026-W13", 8), ("2026-W14", 0), ("all", 17))
    ]
    found = queue_found(frame(QUEUE_YIELD, rows))
    assert [sentence.split(",")[0] for sentence in found.said] == ["In 2026-W13", "Over 3 weeks together"]
    assert [arm["n_reviewed"] for arm in found.arms] == [17]


def test_the_arms_stand_from_chosen_to_random():
    arms = ("control", "uncertainty", "anomaly")
    rows = [arm_yield(cycle, arm, 5, 1, (1.0, 0.2, 5.0)) for cycle in ("2026-W14", "all") for arm in arms]
    assert [arm["arm"] for arm in queue_found(frame(QUEUE_YIELD, rows)).arms] == list(reversed(arms))


def test_a_lift_that_says_nothing_is_no_headline():
    rows = [arm_yield(cycle, "anomaly", 9, 0, (None, 0.0, None)) for cycle in ("2026-W14", "all")]
    assert queue_found(frame(QUEUE_YIELD, rows)).lift is None


def test_the_most_prevalent_issue_comes_first_and_the_unmeasured_last():
    table = prevalence_table(tables().prevalence, tables().issues)
    assert table.select("name", "state").rows() == [("mode a", "active"), ("mode c", "active"), ("mode d", "candidate")]


def test_readers_stand_below_all_of_them_and_only_those_whom_somebody_read_with():
    assert agreement_table(tables().agreement).select("scope", "name").rows() == [
        ("all", ""),
        ("reviewer", "ann"),
        ("reviewer", "bob"),
    ]
