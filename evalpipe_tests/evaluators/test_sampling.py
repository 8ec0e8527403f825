"""Who judges how much: rates, draws that are stable, nested and uniform, and estimates behind a pre-filter."""

import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from evalpipe.evaluators.sampling import bits_of, chances, draws, prefilter_of, rate_of
from evalpipe.settings import MonitorSettings

MONITOR = MonitorSettings()
SEQUENTIAL = pl.Series([f"{number:032x}" for number in range(20_000)])  # ids may be as patterned as this
RULE = {"op": "contains", "field": "final", "any": ["sorry"]}
JUDGE = {"instruction": "It apologises.", "prefilter": {"rule": RULE, "recall": 0.9}}


def test_rules_judge_everything_judges_a_fifth_and_a_critical_issue_is_read_whole():
    assert rate_of("rule", "iss_1", "minor", MONITOR) == 1.0
    assert rate_of("learned", "iss_1", None, MONITOR) == 1.0
    assert rate_of("judge", "iss_1", "major", MONITOR) == 0.2
    assert rate_of("judge", "iss_1", "critical", MONITOR) == 1.0


def test_a_rate_that_is_set_for_an_issue_goes_before_all():
    settings = MonitorSettings(rates={"iss_1": 0.5})
    assert rate_of("judge", "iss_1", "critical", settings) == 0.5
    assert rate_of("rule", "iss_1", None, settings) == 0.5
    assert rate_of("rule", "iss_2", None, settings) == 1.0


def test_a_draw_never_changes():
    # By hand, with Python's unbounded integers: the first 8 bytes of the two SHA-256, xor, SplitMix64's finaliser.
    assert draws(bits_of(pl.Series(["4bf92f3577b34da6a3ce929d0e0e4736"])), "ev_1")[0] == by_hand(
        "4bf92f3577b34da6a3ce929d0e0e4736", "ev_1"
    )


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=20))
def test_a_draw_is_a_function_of_the_trace_and_the_evaluator_alone(trace_id: str, evaluator_id: str):
    alone = draws(bits_of(pl.Series([trace_id])), evaluator_id)[0]
    among = draws(bits_of(pl.Series(["a", trace_id, "b"])), evaluator_id)[1]
    assert alone == among == by_hand(trace_id, evaluator_id)
    assert 0 <= alone < 1


def by_hand(trace_id: str, evaluator_id: str) -> float:
    import hashlib

    first, second = (int(hashlib.sha256(t.encode()).hexdigest()[:16], 16) for t in (trace_id, evaluator_id))
    z = first ^ second
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return ((z ^ (z >> 31)) >> 11) / 2**53


def test_draws_of_patterned_ids_are_uniform_and_those_of_two_evaluators_independent():
    bits = bits_of(SEQUENTIAL)
    first, second = draws(bits, "ev_1"), draws(bits, "ev_2")
    assert kstest(first, "uniform").pvalue > 0.001
    assert kstest(second, "uniform").pvalue > 0.001
    # The standard error of a correlation of 20,000 independent pairs is 1/sqrt(20,000) = 0.007.
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 * 0.0071
    # Both below a fifth: 0.04, with a standard error of sqrt(0.04 * 0.96 / 20,000) = 0.0014.
    assert np.mean((first < 0.2) & (second < 0.2)) == pytest.approx(0.04, abs=4 * 0.0014)


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_higher_rate_judges_all_that_a_lower_one_did(rate: float, other: float):
    draw = draws(bits_of(SEQUENTIAL[:200]), "ev_1")
    low, high = sorted((rate, other))
    assert not ((draw < low) & ~(draw < high)).any()


def test_twenty_evaluators_draw_from_a_hundred_thousand_traces_in_well_under_a_second():
    trace_ids = pl.Series([f"{number:032x}" for number in range(100_000)])
    started = time.process_time()
    bits = bits_of(trace_ids)
    for number in range(20):
        draws(bits, f"ev_{number}")
    assert time.process_time() - started < 1.0  # 0.1 s where nothing else runs


def test_a_prefilter_chooses_for_a_judge_of_a_rare_issue_alone():
    assert prefilter_of("judge", JUDGE, 0.2, 0.01, MONITOR) == RULE
    assert prefilter_of("judge", JUDGE, 0.2, 0.05, MONITOR) is None  # not rarer than the bound
    assert prefilter_of("judge", JUDGE, 0.2, None, MONITOR) is None  # nobody knows
    assert prefilter_of("judge", JUDGE, 1.0, 0.01, MONITOR) is None  # everything is to be read
    assert prefilter_of("judge", {"instruction": "It apologises."}, 0.2, 0.01, MONITOR) is None
    misses = {"prefilter": {"rule": RULE, "recall": 0.79}}
    assert prefilter_of("judge", misses, 0.2, 0.01, MONITOR) is None
    assert prefilter_of("rule", {"rule": RULE}, 0.2, 0.01, MONITOR) is None


def test_what_the_rule_flags_is_certain_and_the_rest_has_a_tenth_of_the_rate():
    assert chances(0.2, np.array([True, False]), MONITOR).tolist() == pytest.approx([1.0, 0.02])


def test_an_estimate_behind_a_prefilter_is_unbiased_also_for_the_failures_that_its_rule_misses():
    random = np.random.default_rng(5)
    n, n_draws = 4_000, 400
    is_failure = random.random(n) < 0.03
    is_flagged = np.where(is_failure, random.random(n) < 0.6, random.random(n) < 0.02)
    chance = chances(0.2, is_flagged, MONITOR)
    bits = bits_of(SEQUENTIAL[:n])
    estimates = []
    for number in range(n_draws):
        judged = draws(bits, f"ev_{number}") < chance
        estimates.append(float((is_failure[judged] / chance[judged]).sum()) / n)
    standard_error = np.std(estimates) / np.sqrt(n_draws)
    assert np.mean(estimates) == pytest.approx(is_failure.mean(), abs=4 * standard_error)
    assert standard_error < 0.1 * is_failure.mean()  # so that this would notice a bias
