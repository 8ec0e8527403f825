import numpy as np
import pytest

from evalpipe.settings import VerificationSettings
from evalpipe_tests.bench_lifecycle.histories import MONDAY, Now, issue_of, profile, traffic
from evalpipe_tests.bench_lifecycle.living import Life, Truth, until_fix, until_proof, until_return


def test_traffic_has_the_rates_that_it_was_given():
    issue = issue_of(3)
    week = traffic(issue, MONDAY, [Now(0.2, 0.5, "1.0")] * 168, np.random.default_rng(1))
    n, failing = week.n.sum(), (week.found + week.missed).sum()
    # Binomial: 0.2 within four standard deviations; likewise a half of the failures is found.
    assert failing / n == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / n))
    assert week.found.sum() / failing == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / failing))
    assert week.hours["n_flagged"].sum() == (week.found + week.alarms).sum()


def test_weekends_and_nights_are_quieter():
    shape = profile(depth=0.5, weekend=0.25)
    assert shape.mean() == pytest.approx(1)
    assert shape[15] == pytest.approx(3 * shape[3])  # 1 + 0.5 by day, 1 - 0.5 by night
    assert shape[5 * 24 + 15] == pytest.approx(shape[15] / 4)


def test_a_return_is_decided_at_the_end_as_it_is_week_by_week():
    def solved() -> Life:
        issue = issue_of(1)
        life = Life(issue, Truth(0.0, issue.tpr), VerificationSettings(), np.random.default_rng(2))
        until_fix(life)
        until_proof(life, 26)
        assert life.state.state == "resolved"
        life.truth = Truth(0.0, issue.tpr, rate_back=0.05, back_at=life.end)
        return life

    at_once, weekly = solved(), solved()
    until_return(at_once, 8)
    while weekly.state.state == "resolved":
        until_return(weekly, 1)
    assert at_once.last["kind"].item() == "recurred"
    assert at_once.last["at"].item() == weekly.last["at"].item()
