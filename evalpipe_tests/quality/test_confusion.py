"""The confusion matrix and the Matthews correlation, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, matthews_corrcoef

from evalpipe.quality.confusion import Confusion, confusion, mcc, mcc_of_rates

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def arrays(examples: list[tuple[bool, bool]]) -> tuple[np.ndarray, np.ndarray]:
    is_failure, is_flagged = np.array(examples, dtype=bool).T
    return is_failure, is_flagged


def test_the_positive_class_is_failure_present():
    is_failure, is_flagged = arrays([(True, True), (True, True), (True, False), (False, True), (False, False)])
    assert confusion(is_failure, is_flagged) == Confusion(tp=2, fp=1, tn=1, fn=1)


def test_mcc_of_a_worked_example():
    # tp 6, fp 2, tn 10, fn 2: (6*10 - 2*2) / sqrt(8 * 8 * 12 * 12) = 56 / 96
    assert mcc(Confusion(tp=6, fp=2, tn=10, fn=2)) == pytest.approx(56 / 96)


@given(pairs)
def test_counts_equal_scikit_learns(examples):
    is_failure, is_flagged = arrays(examples)
    tn, fp, fn, tp = confusion_matrix(is_failure, is_flagged, labels=[False, True]).ravel()
    assert confusion(is_failure, is_flagged) == Confusion(tp=tp, fp=fp, tn=tn, fn=fn)


@given(pairs)
def test_mcc_equals_scikit_learns_where_it_is_defined(examples):
    is_failure, is_flagged = arrays(examples)
    found = mcc(confusion(is_failure, is_flagged))
    if len(set(is_failure)) == 2 and len(set(is_flagged)) == 2:
        assert found == pytest.approx(matthews_corrcoef(is_failure, is_flagged), abs=1e-12)
    else:
        assert found is None  # scikit-learn says 0 here; undefined is not zero


@pytest.mark.parametrize("counts", [(0, 0, 5, 0), (3, 0, 0, 0), (0, 0, 4, 2), (2, 3, 0, 0), (0, 0, 0, 0)])
def test_an_empty_margin_makes_the_mcc_undefined(counts):
    assert mcc(Confusion(*counts)) is None


def test_large_counts_do_not_overflow():
    n = 10**9
    assert mcc(Confusion(tp=n, fp=0, tn=n, fn=0)) == pytest.approx(1.0)


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50), st.integers(1, 50))
def test_the_mcc_of_rates_at_the_prevalence_of_the_counts_is_that_of_the_counts(tp: int, fp: int, tn: int, fn: int):
    n_positives, n_negatives = tp + fn, fp + tn
    if n_negatives:
        prevalence = n_positives / (n_positives + n_negatives)
        expected = mcc(Confusion(tp, fp, tn, fn))
        found = mcc_of_rates(tp / n_positives, tn / n_negatives, prevalence)
        assert found == (None if expected is None else pytest.approx(expected, abs=1e-9))


def test_the_same_rates_agree_less_where_failures_are_rare():
    # (0.95 + 0.90 - 1) * p (1 - p) / sqrt(q (1 - q) p (1 - p)) with q = 0.95 p + 0.1 (1 - p), as at 20 % and 1 %:
    # q = 0.27: 0.85 * 0.16 / sqrt(0.1971 * 0.16) = 0.7658; q = 0.1085: 0.85 * 0.0099 / sqrt(0.09673 * 0.0099) = 0.2719
    assert mcc_of_rates(0.95, 0.90, 0.20) == pytest.approx(0.7658, abs=1e-4)
    assert mcc_of_rates(0.95, 0.90, 0.01) == pytest.approx(0.2719, abs=1e-4)


@pytest.mark.parametrize(("tpr", "tnr", "prevalence"), [(1.0, 0.0, 0.5), (0.0, 1.0, 0.5), (1.0, 1.0, 0.0)])
def test_the_mcc_of_rates_is_undefined_where_a_margin_is_empty(tpr: float, tnr: float, prevalence: float):
    assert mcc_of_rates(tpr, tnr, prevalence) is None
