"""How far an evaluator is trusted: the thresholds, and what it lacks in words."""

import pytest

from evalpipe.quality.trust import shortfall, status_of
from evalpipe.settings import QualitySettings

QUALITY = QualitySettings()


@pytest.mark.parametrize(
    ("mcc", "mcc_lower", "n_positives", "status"),
    [
        (0.60, 0.40, 10, "active"),  # each threshold is reached exactly
        (0.59, 0.40, 10, "monitoring"),
        (0.60, 0.39, 10, "monitoring"),
        (0.60, 0.40, 9, "monitoring"),
        (0.90, None, 50, "monitoring"),  # a figure without an interval may be luck
        (0.40, 0.10, 3, "monitoring"),
        (0.58, 0.0, 12, "candidate"),  # chance is possible
        (0.39, 0.10, 90, "candidate"),
        (-1.0, -1.0, 90, "candidate"),
        (None, None, 90, "candidate"),
    ],
)
def test_the_status_follows_from_figure_bound_and_evidence(mcc, mcc_lower, n_positives, status):
    assert status_of(mcc, mcc_lower, n_positives, QUALITY) == status


def test_an_active_evaluator_lacks_nothing():
    assert shortfall(0.8, 0.6, 20, QUALITY) is None


def test_all_that_is_lacking_is_said():
    said = shortfall(0.5, 0.2, 4, QUALITY)
    assert said is not None
    assert [part.split()[0] for part in said.split("; ")] == ["its", "the", "it"]
    assert "0.50 is below 0.60" in said
    assert "0.20, is below 0.40" in said
    assert "on 4 failures, 10 are needed" in said


def test_an_undefined_mcc_is_not_a_bad_one():
    assert "undefined" in str(shortfall(None, None, 0, QUALITY))
