"""What deciding costs: 50 issues with a year of history each, in the states in which the evidence is asked."""

from typing import NamedTuple

import numpy as np

from evalpipe.issues.lifecycle import Evidence, transition
from evalpipe.issues.replay import IssueState
from evalpipe.settings import VerificationSettings
from evalpipe_tests.bench_ingest.measure import Cost, cost_of
from evalpipe_tests.bench_lifecycle.histories import WEEKS_BEFORE, issue_of
from evalpipe_tests.bench_lifecycle.living import Life, Truth, until_fix, until_proof, until_return

N_ISSUES = 50
_WEEKS = 52
_NEAR = 0.24  # of the rate before; the target is a quarter of it


class Asked(NamedTuple):
    """What is measured."""

    n_issues: int
    n_hours: int  # of all, with traffic
    n_states: dict[str, int]
    cost: Cost


def asking(n_issues: int, settings: VerificationSettings) -> Asked:
    """Of half of them nothing is left; that of the others is so near to the target that they are long verified."""
    watched = [_a_year(seed, settings) for seed in range(n_issues)]
    states = [issue.state for issue, _ in watched]
    return Asked(
        n_issues,
        sum(evidence.exposure.hours.height for _, evidence in watched),
        {state: states.count(state) for state in sorted(set(states))},
        cost_of(lambda: [transition(issue, evidence, settings) for issue, evidence in watched], repeats=3),
    )


def _a_year(seed: int, settings: VerificationSettings) -> tuple[IssueState, Evidence]:
    issue = issue_of(seed)
    life = Life(
        issue,
        Truth(0.0 if seed % 2 else _NEAR * issue.rate_before, issue.tpr),
        settings,
        np.random.default_rng([seed, 4]),
    )
    until_fix(life)
    until_proof(life, _WEEKS - WEEKS_BEFORE)
    state = life.state
    if life.n_weeks < _WEEKS:
        until_return(life, _WEEKS - life.n_weeks)
    return state, Evidence(life.exposure)
