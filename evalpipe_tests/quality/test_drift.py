"""Whether agreement fell beyond noise, whose change it is, and whether traffic shifted more than chance."""

import math

import numpy as np
import pytest

from evalpipe.quality.drift import (
    Examples,
    change_of_mcc,
    contributions,
    demotions,
    fall_in_words,
    finding_of,
    psi,
    psi_by_chance,
)
from evalpipe.settings import MonitorSettings
from evalpipe.tables import EVALUATOR_HEALTH

SETTINGS = MonitorSettings()


def examples(tp: int, fp: int, tn: int, fn: int, prefix: str = "s", seed: int = 3) -> Examples:
    """As many examples as these, each a session of its own, in an order drawn by `seed`."""
    cells = [(True, True)] * tp + [(False, True)] * fp + [(False, False)] * tn + [(True, False)] * fn
    order = np.random.default_rng(seed).permutation(len(cells))
    failure, flagged = np.array(cells, dtype=bool).reshape(-1, 2).T
    return Examples(failure[order], flagged[order], [f"{prefix}{n}" for n in range(len(cells))])


def after(first: Examples, second: Examples) -> Examples:
    flags = (np.concatenate([a, b]) for a, b in zip(first[:2], second[:2], strict=True))
    return Examples(*flags, [*first.groups, *second.groups])  # type: ignore[arg-type]


def found(promised: Examples, recent: Examples, has_traffic_shifted: bool = False):
    return finding_of(
        promised, recent, has_traffic_shifted=has_traffic_shifted, settings=SETTINGS, confidence=0.9, seed=7
    )


GOOD = examples(27, 3, 57, 3)  # MCC (27*57 - 3*3) / sqrt(30*30*60*60) = 1530/1800 = 0.85
STILL_GOOD = examples(9, 1, 19, 1, "r")  # the same rates
BAD = examples(4, 6, 24, 16, "r")  # (4*24 - 6*16) = 0: no better than chance


def test_the_change_is_the_difference_of_two_correlations():
    change = change_of_mcc(GOOD, BAD, confidence=0.9, seed=7)
    assert (change.before, change.recent, change.value) == (0.85, 0.0, -0.85)
    assert change.is_fall
    assert change.interval is not None
    assert change.interval.lower < -0.85 < change.interval.upper < 0


def test_a_figure_that_may_be_noise_holds():
    finding = found(GOOD, STILL_GOOD)
    assert finding.finding == "holds"
    assert finding.reason.startswith("on 30 new labels its MCC is 0.85, held out it was 0.85: no more than noise")


@pytest.mark.parametrize("recent", [examples(2, 0, 30, 2, "r"), examples(5, 1, 10, 1, "r")])
def test_too_few_new_labels_or_failures_say_nothing(recent):
    # 34 labels with 4 failures, then 17 labels with 6: 20 and 5 are needed
    finding = found(GOOD, recent)
    assert finding.finding == "unknown"
    assert "20 and 5 are needed to say" in finding.reason


def test_labels_of_one_kind_or_nothing_held_out_say_nothing():
    assert found(GOOD, examples(10, 0, 0, 15, "r")).finding == "unknown"
    assert found(examples(0, 0, 0, 0), BAD).finding == "unknown"


def test_one_that_flags_nothing_any_more_fell_though_its_correlation_is_undefined():
    finding = found(GOOD, examples(0, 0, 30, 20, "r"))
    assert (finding.change.recent, finding.change.value) == (None, None)
    assert finding.finding == "overfitted"
    assert finding.reason.startswith("its agreement fell from 0.85 to undefined on 50 new labels")


def test_bad_from_the_first_new_label_on_is_overfitted_whatever_the_traffic_did():
    assert found(GOOD, BAD).finding == "overfitted"
    shifted = found(GOOD, BAD, has_traffic_shifted=True)
    assert shifted.finding == "overfitted"
    assert shifted.reason.endswith("it never was as good as it looked; the traffic has shifted besides")


def test_good_at_first_and_bad_later_is_drift_though_no_feature_shows_it():
    turned = after(examples(9, 1, 29, 1, "r"), examples(0, 8, 22, 10, "t"))
    finding = found(GOOD, turned)
    assert finding.finding == "drifted"
    assert "the first 40 do not show it, and the later ones are worse" in finding.reason


def test_a_fall_that_neither_half_shows_alone_is_drift_only_where_the_traffic_shifted():
    # MCC (6*14 - 2*3) / sqrt(8*9*16*17) = 0.56 in either half: 25 labels are too few to tell, 50 are enough.
    slight = after(examples(6, 2, 14, 3, "r"), examples(6, 2, 14, 3, "t"))
    assert not change_of_mcc(GOOD, slight.part(slice(25)), confidence=0.9, seed=7).is_fall
    assert found(GOOD, slight).finding == "overfitted"
    assert found(GOOD, slight, has_traffic_shifted=True).finding == "drifted"


def test_traces_of_one_session_are_one_observation():
    one = Examples(BAD.is_failure, BAD.is_flagged, ["same"] * len(BAD.groups))
    lower = change_of_mcc(GOOD, BAD, confidence=0.9, seed=7).interval
    assert lower is not None
    clustered = Examples(BAD.is_failure, BAD.is_flagged, [f"r{n // 10}" for n in range(len(one.groups))])
    assert change_of_mcc(GOOD, clustered, confidence=0.9, seed=7).interval != lower


def test_a_fall_is_told_with_its_figures():
    assert fall_in_words(0.844, 0.312, 28) == "its agreement fell from 0.84 to 0.31 on 28 new labels"
    assert fall_in_words(0.8, None, 1) == "its agreement fell from 0.80 to undefined on 1 new label"
    assert demotions(EVALUATOR_HEALTH.empty()).columns == ["evaluator_id", "version", "demotion"]


def test_the_index_sums_the_differences_of_shares_times_their_log_ratio():
    # With half an observation in each cell: 60/120, 60/120 before; 20/80, 60/80 since.
    expected = (0.25 - 0.5) * math.log(0.5) + (0.75 - 0.5) * math.log(1.5)
    before, recent = np.array([59.5, 59.5]), np.array([19.5, 59.5])
    assert psi(before, recent) == pytest.approx(expected)
    assert psi(before, before) == 0
    assert contributions(before, recent) == pytest.approx([-0.25 * math.log(0.5), 0.25 * math.log(1.5)])


def test_a_cell_that_was_empty_counts_without_being_infinite():
    assert 0 < psi(np.array([50.0, 0.0]), np.array([40.0, 10.0])) < 2


def test_independent_observations_give_the_noise_that_chi_square_says():
    # (1/400 + 1/100) * the 95 % quantile of chi-square with 9 degrees of freedom, 16.92 = 0.211
    generator = np.random.default_rng(1)
    counts = np.eye(10)[generator.integers(0, 10, 500)]
    [noise] = psi_by_chance([counts], np.arange(500) < 100, seed=7)
    assert noise == pytest.approx(0.211, rel=0.15)


def test_alike_traces_of_one_session_make_more_noise_and_more_features_do_too():
    generator = np.random.default_rng(1)
    alone = [np.eye(10)[generator.integers(0, 10, 500)] for _ in range(20)]
    is_recent = np.arange(500) < 100
    [one] = psi_by_chance(alone[:1], is_recent, seed=7)
    assert psi_by_chance(alone, is_recent, seed=7)[0] > 1.2 * one
    # Five traces a session, all in one cell, are worth no more than one.
    assert psi_by_chance([5 * alone[0]], is_recent, seed=7)[0] == pytest.approx(one, rel=0.15)
