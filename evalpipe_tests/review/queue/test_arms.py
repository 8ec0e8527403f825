from collections import Counter

import numpy as np
import polars as pl
import pytest

from evalpipe.quality.sampling import weighted_share
from evalpipe.review.queue.arms import UNSURENESS, by_impact, chance_arms, unsureness_frame
from evalpipe.settings import ReviewSettings
from evalpipe_tests.review.made import CYCLE, made_id

SETTINGS = ReviewSettings()
SURE = pl.DataFrame(schema=UNSURENESS)


def pool(n: int) -> pl.DataFrame:
    return pl.DataFrame({"trace_id": [made_id(i) for i in range(n)]})


def unsure(values: list[float]) -> pl.DataFrame:
    rows = [(made_id(i), value, "an evaluator is unsure of it") for i, value in enumerate(values) if value]
    return pl.DataFrame(rows, schema=UNSURENESS, orient="row")


def verdicts(*rows: tuple[int, str, int, str, float | None]) -> dict[str, float]:
    """trace, evaluator, version, outcome, score -> unsureness by trace."""
    schema = {"trace_id": pl.String, "evaluator_id": pl.String, "version": pl.Int32, "outcome": pl.String,
              "score": pl.Float64}  # fmt: skip
    frame = pl.DataFrame([(made_id(row[0]), *row[1:]) for row in rows], schema=schema, orient="row")
    return {row[0]: row[1] for row in unsureness_frame(frame).iter_rows()}


def test_a_score_in_the_middle_is_most_unsure():
    found = verdicts((0, "ev", 1, "pass", 0.5), (1, "ev", 1, "fail", 0.75), (2, "ev", 1, "pass", 0.0))
    assert found == {made_id(0): 1.0, made_id(1): 0.5}


def test_a_fault_and_two_versions_that_disagree_are_unsure():
    found = verdicts(
        (0, "ev", 1, "fault", None),
        (1, "ev", 1, "pass", 0.0), (1, "ev", 2, "fail", 1.0),
        (2, "ev", 1, "pass", 0.0), (2, "ev", 2, "fail", 1.0), (2, "ev", 3, "fail", 1.0),
    )  # fmt: skip
    assert found == {made_id(0): 1.0, made_id(1): 1.0}  # of trace 2 the two newest agree


def test_the_least_sure_of_several_evaluators_counts():
    assert verdicts((0, "ev_a", 1, "pass", 0.1), (0, "ev_b", 1, "pass", 0.4)) == {made_id(0): pytest.approx(0.8)}


def test_the_control_draw_is_uniform_over_all_traces():
    """100 cycles of 4 out of 20: each trace is drawn 20 times, give or take four sigmas of sqrt(100 * 0.2 * 0.8)."""
    using = ReviewSettings(control_share=0.2)
    drawn = Counter(t for n in range(100) for t in chance_arms(pool(20), SURE, f"cycle {n}", 20, using)["trace_id"])
    assert len(drawn) == 20
    assert all(abs(n - 20) < 4 * 4 for n in drawn.values())


def test_without_verdicts_there_is_no_uncertainty_arm():
    found = chance_arms(pool(100), SURE, CYCLE, 40, SETTINGS)
    assert found["arm"].to_list() == ["control"] * 4
    assert found["inclusion_probability"].unique().to_list() == [0.04]


def test_the_chance_is_that_of_either_arm():
    # 40 slots: 4 of control, 6 of uncertainty. Among 100 traces twelve are equally unsure: 0.04 + 0.96 * 6/12 = 0.52.
    found = chance_arms(pool(100), unsure([0.7] * 12), CYCLE, 40, SETTINGS)
    chances = dict(found.select("trace_id", "inclusion_probability").iter_rows())
    unsure_ones = {made_id(i) for i in range(12)}
    assert {round(chance, 9) for trace_id, chance in chances.items() if trace_id in unsure_ones} == {0.52}
    assert {round(chance, 9) for trace_id, chance in chances.items() if trace_id not in unsure_ones} <= {0.04}


def test_nothing_else_decides_the_draw_than_seed_cycle_and_chances():
    def drawn(cycle: str = CYCLE, seed: int = 1) -> list[str]:
        return chance_arms(pool(300), unsure([0.5] * 50), cycle, 40, ReviewSettings(seed=seed))["trace_id"].to_list()

    assert drawn() == drawn()
    assert drawn() != drawn(cycle="2026-W11")
    assert drawn() != drawn(seed=2)


def test_the_arms_together_estimate_the_prevalence_without_bias():
    """500 cycles of 1,000 traces, 5 % failing, the evaluators less sure of these: the mean estimate is the truth."""
    generator = np.random.default_rng(4)
    is_failure = dict(zip((made_id(i) for i in range(1_000)), generator.random(1_000) < 0.05, strict=True))
    doubts = unsure([0.9 if fails else 0.1 for fails in is_failure.values()])
    estimates = []
    for n in range(500):
        rows = chance_arms(pool(1_000), doubts, f"cycle {n}", 100, SETTINGS)
        hits = np.array([is_failure[trace_id] for trace_id in rows["trace_id"]])
        estimates.append(weighted_share(hits, 1 / rows["inclusion_probability"].to_numpy(), 0.9).value)
    error = np.std(estimates) / np.sqrt(500)
    assert np.mean(estimates) == pytest.approx(np.mean(list(is_failure.values())), abs=4 * error)


def ordered(*rows: tuple[str, float, bool], n_slots: int = 20, **changes: float) -> list[int]:
    """pattern, priority, is_flagged of traces 0, 1, 2... -> their numbers in the order of the anomaly arm."""
    names = {made_id(i): i for i in range(len(rows))}
    frame = pl.DataFrame(rows, schema=["pattern_id", "priority", "is_flagged"], orient="row").with_columns(
        trace_id=pl.Series(list(names))
    )
    return [names[t] for t in by_impact(frame, n_slots, ReviewSettings(**changes))["trace_id"]]


def test_the_kth_copy_of_a_pattern_is_worth_a_kth():
    # a: 6, 5/2 = 2.5, 4/3 = 1.33; b: 2.
    assert ordered(("a", 6, True), ("a", 5, True), ("a", 4, True), ("b", 2, True)) == [0, 1, 3, 2]


def test_a_pattern_beyond_its_share_waits_for_all_others():
    # A quarter of 8 slots: two of a, then what is not even flagged, then the rest of a.
    assert ordered(("a", 9, True), ("a", 8, True), ("a", 7, True), ("b", 0.1, False), n_slots=8) == [0, 1, 3, 2]


def test_flagged_traces_come_before_the_others():
    assert ordered(("a", 0.1, True), ("b", 5, False)) == [0, 1]
