"""Figures of predictions: where they are known, at another prevalence, and what is wrong."""

import numpy as np
import polars as pl
import pytest

from evalpipe.generation.agreement import agreement_at, agreement_of, mistakes_of
from evalpipe.generation.examples import Examples
from evalpipe.generation.flags import Flags
from evalpipe.settings import QualitySettings

QUALITY = QualitySettings()


def examples(n_failures: int, n_others: int) -> Examples:
    n = n_failures + n_others
    return Examples(
        view=pl.DataFrame({"trace_id": [f"{i:032x}" for i in range(n)]}),
        is_failure=np.arange(n) < n_failures,
        weight=np.ones(n),
        groups=[str(i) for i in range(n)],
    )


def flags(tp: int, fn: int, fp: int, tn: int) -> Flags:
    return Flags.all_known(np.array([True] * tp + [False] * fn + [True] * fp + [False] * tn))


def test_only_what_is_known_is_counted():
    some = Flags.of([True, None, False, None, None, False])
    agreement = agreement_of(examples(3, 3), some, QUALITY)
    assert agreement.counts == (1, 0, 1, 1)  # tp, fp, tn, fn
    assert agreement.n_groups == 3
    assert some.to_list() == [True, None, False, None, None, False]


def test_where_failures_are_rare_the_same_error_rates_agree_less():
    # Rates 0.8 and 0.9 at 1 %: flagged 0.008 + 0.099 = 0.107, so 0.7 * 0.0099 / sqrt(0.107 * 0.893 * 0.0099) = 0.2253
    made, said = examples(10, 100), flags(8, 2, 10, 90)
    measured = agreement_of(made, said, QUALITY)
    at_production = agreement_at(0.01, measured, made, said, QUALITY, seed=1)
    assert at_production is not None
    assert at_production["mcc"] == pytest.approx(0.2253, abs=1e-4)
    assert at_production["mcc_lower"] < 0.2253 < at_production["mcc_upper"]
    assert agreement_at(None, measured, made, said, QUALITY, seed=1) is None


@pytest.mark.parametrize(("said", "prevalence"), [(flags(8, 2, 10, 90), 0.0), (flags(0, 10, 0, 100), 0.01)])
def test_where_no_agreement_is_defined_none_is_given(said: Flags, prevalence: float):
    made = examples(10, 100)
    at_production = agreement_at(prevalence, agreement_of(made, said, QUALITY), made, said, QUALITY, seed=1)
    assert at_production == {"prevalence": prevalence, "mcc": None, "mcc_lower": None, "mcc_upper": None}


def test_what_is_wrong_is_named_the_weightiest_first():
    made = examples(3, 3)
    made.weight[2] = 2.0
    wrong = mistakes_of(made, Flags.of([False, True, False, None, True, False]))
    assert wrong == {"missed": [f"{2:032x}", f"{0:032x}"], "false_alarms": [f"{4:032x}"]}
