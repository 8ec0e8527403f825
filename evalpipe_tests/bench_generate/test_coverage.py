from typing import Any

import polars as pl
import pytest

from evalpipe.quality.intervals import wilson
from evalpipe_tests.bench_generate.coverage import declined, share, summary
from evalpipe_tests.bench_generate.report import coverage_tables
from evalpipe_tests.bench_generate.runs import CHOICE, Run, frame_of


def made(**changed: Any) -> Run:
    said = Run(
        source="planted",
        mode="loop",
        size="10",
        n_positives=10,
        n_negatives=40,
        seed=1,
        is_permuted=False,
        evaluator=CHOICE,
        kind="rule",
        status="active",
        held_out_mcc=0.8,
        lower=0.5,
        upper=0.9,
        in_sample_mcc=1.0,
        later_mcc=0.7,
        later_mcc_as_it_is=0.6,
        later_lower=None,
        later_upper=None,
        later_n=1_500,
        later_n_positives=300,
        seconds=1.0,
    )
    return said._replace(**changed)


@pytest.fixture
def runs() -> pl.DataFrame:
    """A claim that holds, one too high, one too low, and one whose evaluator says nothing later."""
    return frame_of(
        [
            made(),
            made(seed=2, later_mcc=0.3),
            made(seed=3, later_mcc=0.95),
            made(seed=4, later_mcc=None, kind="learned"),
        ]
    )


def test_an_interval_holds_when_the_later_figure_lies_in_it(runs: pl.DataFrame):
    row = summary(runs).row(0, named=True)

    # Later 0.7, 0.3, 0.95 and 0 against [0.5, 0.9]: one inside, two of four not under the lower bound, three under the
    # upper one. Means: held-out 0.8, later 1.95 / 4; distances 0.1, 0.5, 0.15 and 0.8; in-sample 1 each.
    assert [row[name] for name in ("n", "n_contained", "n_lower", "n_upper")] == [4, 1, 2, 3]
    assert row["later_mcc"] == pytest.approx(0.4875)
    assert row["gap"] == pytest.approx(0.3125)
    assert row["absolute_gap"] == pytest.approx(0.3875)
    assert row["optimism"] == pytest.approx(0.5125)
    assert row["width"] == pytest.approx(0.4)


def test_runs_are_counted_apart_by_what_is_asked(runs: pl.DataFrame):
    by_kind = {row["kind"]: (row["n"], row["n_contained"]) for row in summary(runs, ["kind"]).iter_rows(named=True)}

    assert by_kind == {"rule": (3, 1), "learned": (1, 0)}


def test_a_run_without_a_claim_or_without_enough_later_failures_is_left_out(runs: pl.DataFrame):
    others = frame_of(
        [
            made(held_out_mcc=None, lower=None, upper=None),
            made(later_n_positives=19),
            made(is_permuted=True, later_mcc=None),
        ]
    )

    assert summary(pl.concat([runs, others])).equals(summary(runs))


def test_shuffled_labels_are_counted_by_how_they_end(runs: pl.DataFrame):
    shuffled = frame_of(made(is_permuted=True, status=s) for s in ("candidate", "candidate", "active"))

    assert declined(pl.concat([runs, shuffled])) == {"active": 1, "candidate": 2}


def test_a_share_has_wilsons_interval():
    assert share(3, 4) == (0.75, wilson(3, 4, 0.9))
    assert share(0, 0) is None


def test_the_tables_show_all_runs_first(runs: pl.DataFrame):
    lines = coverage_tables(runs).splitlines()

    # Wilson at 90 % of 1 in 4, 2 in 4 and 3 in 4.
    bounds = [wilson(n, 4, 0.9) for n in (1, 2, 3)]
    shown = " | ".join(
        f"{25 * n} % [{100 * b.lower:.0f}, {100 * b.upper:.0f}]" for n, b in zip((1, 2, 3), bounds, strict=True) if b
    )
    assert lines[2] == f"| **all** | 4 | {shown} | 0.80 | 0.49 | 0.31 | 0.39 | 0.40 | 0.51 |"
