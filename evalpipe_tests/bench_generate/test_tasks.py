from pathlib import Path

import numpy as np
import polars as pl

from evalpipe_tests.bench_generate.tasks import (
    case_split,
    drawn,
    keep,
    planted_task,
    stored_modes,
    stored_task,
    time_split,
)
from evalpipe_tests.bench_triage.worlds import TRUTH, World
from evalpipe_tests.generation.planted import planted


def test_a_case_met_earlier_stays_out_of_the_later_side():
    start_ns = np.array([5, 0, 1, 2, 3, 4, 6, 7, 8, 9])
    groups = ["f", "a", "b", "c", "d", "e", "g", "b", "h", "i"]

    split = time_split(start_ns, groups, 0.6)

    # In the order of time: rows 1 2 3 4 5 0, then 6 7 8 9; row 7 is case b, which row 2 showed before.
    assert split.earlier.tolist() == [1, 2, 3, 4, 5, 0]
    assert split.later.tolist() == [6, 8, 9]


def test_cases_are_split_whole_in_the_order_of_their_median_time():
    start_ns = np.array([0, 10, 1, 2, 3, 4, 5, 6, 7, 8])
    groups = ["a", "a", "b", "b", "b", "c", "c", "d", "d", "d"]

    split = case_split(start_ns, groups, 0.6)

    # Medians: b 2, c 4.5, a 5, d 7. They have 3, 2, 2 and 3 rows: the first six of ten end inside a, which stays whole.
    assert split.earlier.tolist() == [2, 3, 4, 5, 6, 0, 1]
    assert split.later.tolist() == [7, 8, 9]


def test_four_others_are_drawn_for_each_failure_or_what_there_is():
    is_failure = np.arange(30) < 5

    few, every = drawn(is_failure, 2, seed=1), drawn(is_failure, None, seed=1)

    assert (is_failure[few].sum(), len(few)) == (2, 10)
    assert (is_failure[every].sum(), len(every)) == (5, 25)
    assert len(drawn(np.arange(8) < 5, None, seed=1)) == 8
    assert few.tolist() == drawn(is_failure, 2, seed=1).tolist()
    assert few.tolist() != drawn(is_failure, 2, seed=2).tolist()


def test_the_later_part_of_a_planted_mode_is_the_same_for_every_seed():
    one, other = planted_task("loop", 1), planted_task("loop", 2)

    assert one.later is other.later
    assert not set(one.earlier.traces["trace_id"]) & set(other.earlier.traces["trace_id"])
    assert not set(one.earlier.traces["trace_id"]) & set(one.later.traces["trace_id"])


def test_a_kept_world_is_split_by_service_and_mode(tmp_path: Path):
    made = planted("loop", 10, 40, seed=1)
    start = pl.int_range(pl.len()) * 10**9
    traces = made.traces.with_columns(start_unix_ns=start)
    is_failure = made.labels["is_failure"]
    modes = [["loop"] * fails + ["rare"] * (n == 0) for n, fails in enumerate(is_failure)]
    truth = pl.DataFrame({"trace_id": traces["trace_id"], "modes": modes}, TRUTH)
    keep(World("made", traces, truth, is_drawn_anew=True), tmp_path / "made")

    assert ("support", "loop") in stored_modes(tmp_path / "made", 5)
    assert ("support", "rare") not in stored_modes(tmp_path / "made", 5)
    task = stored_task(tmp_path / "made", "support", "loop")
    assert not task.is_by_case
    assert task.earlier.traces["trace_id"].to_list() == traces["trace_id"].to_list()[:30]
    assert task.earlier.is_failure.tolist() == is_failure.to_list()[:30]
    assert set(task.later.traces["trace_id"]) <= set(traces["trace_id"].to_list()[30:])


def test_a_noisy_mode_has_one_label_in_ten_wrong_and_the_same_traces():
    plain, noisy = planted_task("loop", 3), planted_task("loop, noisy", 3)

    assert plain.earlier.traces.equals(noisy.earlier.traces)
    is_wrong = plain.earlier.is_failure != noisy.earlier.is_failure
    assert 0.05 < is_wrong.mean() < 0.15
    is_wrong = plain.later.is_failure != noisy.later.is_failure
    assert is_wrong[plain.later.is_failure].mean() == is_wrong[~plain.later.is_failure].mean() == 0.1
