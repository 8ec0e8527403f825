"""What the pipeline called solved and returned, over many histories whose truth is known.

A history is lived once until its fix is proven; where it was a true one, it goes on in several ways from there: in
quiet, or with a return.
"""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl

from evalpipe.issues.exposure import HOURS, READINGS, Exposure
from evalpipe.issues.resolution import verify
from evalpipe.settings import VerificationSettings
from evalpipe_tests.bench_lifecycle.histories import Issue, issue_of
from evalpipe_tests.bench_lifecycle.living import (
    Estimated,
    Life,
    Truth,
    release_next,
    until_fix,
    until_proof,
    until_return,
)

WEEKS_OF_PROOF = 26
WEEKS_OF_QUIET = 52
WEEKS_AFTER_RETURN = 16
CARELESS = 0.03


Of = Callable[[Issue, float, np.random.Generator], Truth]
"""(issue, its target, chance) -> what is true of it after the fix."""


class Fix(NamedTuple):
    """What a fix did."""

    name: str
    is_true: bool  # the rate is below the target
    of: Of
    is_careless: bool = False  # people err


def target_of(rate_before: float | None, settings: VerificationSettings) -> float:
    """The rate below which the issue is solved, as VERIFICATIONS says it of this rate before."""
    nothing = Exposure(pl.DataFrame(schema=HOURS), pl.DataFrame(schema=READINGS), None, rate_before)
    return verify(None, None, nothing, settings).target_rate


def fixes() -> list[Fix]:
    """Every outcome of a fix that is studied."""

    def share(factor: float) -> Of:
        return lambda issue, _, __: Truth(factor * issue.rate_before, issue.tpr)

    def near(low: float, high: float) -> Of:
        return lambda issue, target, draw: Truth(draw.uniform(low, high) * target, issue.tpr)

    return [
        Fix(GONE, True, share(0.0)),
        Fix(RESIDUE, True, near(0.05, 0.25)),
        Fix(CARELESSLY_READ, True, lambda issue, *_: Truth(0.0, issue.tpr, careless=CARELESS), True),
        Fix(READ_TWICE, True, lambda issue, *_: Truth(0.0, issue.tpr, careless=CARELESS, reads_twice=True), True),
        Fix("just above the target", False, near(1.05, 1.25)),
        Fix("half fixed", False, share(0.5)),
        Fix("not fixed", False, share(1.0)),
        Fix(
            "not fixed, evaluator fooled", False, lambda issue, _, draw: Truth(issue.rate_before, draw.uniform(0, 0.3))
        ),
    ]


GONE, RESIDUE = "gone", "a residue"
CARELESSLY_READ = f"gone, {100 * CARELESS:.0f} % of answers wrong"
READ_TWICE = f"{CARELESSLY_READ}, failing ones read twice"


class Return(NamedTuple):
    """How a solved failure comes back; rate 0: never."""

    name: str
    rate: float
    is_slow: bool = False


RETURNS = (
    Return("at 3 % in a release", 0.03),
    Return("at 1.5 % in a release", 0.015),
    Return("at 5 % in a release", 0.05),
    Return("to 3 % within 4 weeks, without a release", 0.03, is_slow=True),
)
NEVER = Return("never", 0.0)


class Proof(NamedTuple):
    """What was said of a fix."""

    fix: Fix
    kind: str | None  # verified, refuted; None: neither within WEEKS_OF_PROOF
    finding: str | None
    weeks: float | None  # from the first trace of the fix on
    n_exposed: int | None
    n_passes: int | None
    n_hits: int | None
    is_false: bool  # verified, but its rate is at or above its target
    estimates: list[Estimated]  # of weeks in which the evaluator errs as it was measured to


class Watched(NamedTuple):
    """What was said of a solved issue."""

    fix: str
    is_careless: bool
    back: str  # the name of a Return
    is_false: bool  # said to have returned before it did
    n_until: int | None  # traces from the return until it was said; None: it was not
    is_named: bool  # the release in which it returned, or one of those after it
    is_false_by_hand: bool  # a flag opened it again before
    n_until_by_hand: int | None  # traces from the return to the first flag
    n_releases: int  # in quiet
    weeks: float  # of quiet


class Lived(NamedTuple):
    """All that came of one history."""

    proof: Proof
    watched: list[Watched]


def lived(seed: int, fix: Fix, settings: VerificationSettings) -> Lived:
    """One history of this fix, and all that may follow from it."""
    issue = issue_of(seed)
    life = Life(issue, Truth(issue.rate_before, issue.tpr), settings, np.random.default_rng([seed, 3]))
    until_fix(life)
    life.truth = fix.of(issue, target_of(life.rate_before, settings), np.random.default_rng([seed, 2]))
    until_proof(life, WEEKS_OF_PROOF)
    proof = _proof(life, fix)
    watched = []
    if fix.is_true and proof.kind == "verified":
        backs = (NEVER, *RETURNS) if fix.name == GONE else (NEVER,)
        watched = [_watch(life.branch(life.truth, seed), fix, back) for back in backs]
    return Lived(proof, watched)


def _proof(life: Life, fix: Fix) -> Proof:
    last = life.last.row(0, named=True)
    errs_as_measured = life.truth.tpr == life.issue.tpr
    estimates = life.estimates if errs_as_measured else life.estimates[:4]
    if last["kind"] not in ("verified", "refuted"):
        return Proof(fix, None, None, None, None, None, None, False, estimates)
    said = json.loads(last["evidence"])
    return Proof(
        fix=fix,
        kind=last["kind"],
        finding=said["finding"],
        weeks=(last["at"] - life.begins[1]) / timedelta(weeks=1),
        n_exposed=said["n_exposed"],
        n_passes=said["n_passes_read"],
        n_hits=said["n_hits_read"],
        is_false=last["kind"] == "verified" and life.truth.rate >= said["target_rate"],
        estimates=estimates,
    )


def _watch(life: Life, fix: Fix, back: Return) -> Watched:
    """A solved issue in quiet: for a year, or for 4 to 12 weeks until it returns."""
    solved_at = life.last["at"].item()
    if back is NEVER:
        until_return(life, WEEKS_OF_QUIET)
        back_at = life.end
    else:
        until_return(life, int(life.draw.integers(4, 13)))
        back_at = life.end if back.is_slow else release_next(life)
        life.truth = life.truth._replace(back_at=back_at, rate_back=back.rate, is_slow=back.is_slow)
        life.has_releases = not back.is_slow
        if life.state.state == "resolved":
            until_return(life, WEEKS_AFTER_RETURN)
    hours = pl.concat(life.hours)
    last = life.last.row(0, named=True)
    at = last["at"] if last["kind"] == "recurred" else None
    flags = hours.filter(pl.col("n_flagged") > 0)["at"]
    since = hours.filter(pl.col("at") >= back_at)
    by_hand = flags.filter(flags >= back_at).min()
    is_true = at is not None and at >= back_at
    named = json.loads(last["evidence"]).get("release") if is_true else None
    return Watched(
        fix=fix.name,
        is_careless=fix.is_careless,
        back=back.name,
        is_false=at is not None and at < back_at,
        n_until=_n_until(since, at) if is_true and at is not None else None,
        is_named=named in since["release"].to_list(),
        is_false_by_hand=bool(flags.is_between(life.begins[1], back_at, closed="left").any()),
        n_until_by_hand=_n_until(since, by_hand) if isinstance(by_hand, datetime) else None,
        n_releases=sum(solved_at <= begin < back_at for begin in life.begins),
        weeks=(back_at - solved_at) / timedelta(weeks=1),
    )


def _n_until(hours: pl.DataFrame, at: datetime) -> int:
    return int(hours.filter(pl.col("at") <= at)["n_judged"].sum())
