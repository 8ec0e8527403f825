"""The confusion matrix and the Matthews correlation, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, matthews_corrcoef

from evalpipe.quality.confusion import Confusion, confusion, mcc

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
