"""One issue lived through week by week: traffic comes, people read, and the pipeline says what follows from it.

What is true is made in histories.py. The decisions are the pipeline's own: transition, verification_of and replay.
"""

import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl

from evalpipe.ids import IssueId
from evalpipe.issues.events import event, sighted
from evalpipe.issues.exposure import HOURS, READINGS, Exposure
from evalpipe.issues.lifecycle import Evidence, transition, verification_of
from evalpipe.issues.replay import IssueState, replay
from evalpipe.quality.prevalence import Judged, corrected_prevalence
from evalpipe.quality.sampling import Estimate
from evalpipe.settings import ReviewSettings, VerificationSettings
from evalpipe_tests.bench_lifecycle.histories import MONDAY, WEEK_HOURS, WEEKS_BEFORE, Issue, Now, Week, traffic

CONFIDENCE = 0.95  # of intervals of prevalence
_HITS_OF_SOLVED = 5  # a week, of a solved issue: as the queue deals them
_RELEASE_DAYS = (7, 22)  # from one release to the next, 1 to 3 weeks
_MAX_STEPS = 8
_RAMP_DAYS = 28  # of a failure that comes back slowly
_ID = IssueId("iss_1")
REVIEW = ReviewSettings()


class Truth(NamedTuple):
    """What the fix did, and what comes later."""

    rate: float  # after the fix
    tpr: float  # after the fix: lower where the evaluator does not know the failure's new shape
    careless: float = 0.0  # share of people's answers that are wrong
    reads_twice: bool = False  # what one reader calls a failure a second one must, too
    rate_back: float = 0.0
    back_at: datetime | None = None  # from when on
    is_slow: bool = False  # it comes back within _RAMP_DAYS rather than at once


class Estimated(NamedTuple):
    """A week's prevalence, as it is and as it is told."""

    rate: float
    told: Estimate | None


@dataclass
class Life:
    """What has happened so far."""

    issue: Issue
    truth: Truth
    settings: VerificationSettings
    draw: np.random.Generator
    begins: list[datetime] = field(default_factory=lambda: [MONDAY - timedelta(days=90)])  # of each release, 1.0 first
    n_weeks: int = 0
    hours: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    readings: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    events: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    estimates: list[Estimated] = field(default_factory=list[Estimated])
    rate_before: float | None = None
    has_releases: bool = True

    @property
    def end(self) -> datetime:
        return MONDAY + timedelta(weeks=self.n_weeks)

    @property
    def state(self) -> IssueState:
        return replay(pl.concat(self.events))[_ID]

    @property
    def exposure(self) -> Exposure:
        hours, readings = pl.concat([pl.DataFrame(schema=HOURS), *self.hours]), pl.DataFrame(schema=READINGS)
        return Exposure(hours, pl.concat([readings, *self.readings]), self.issue.errors, self.rate_before)

    @property
    def last(self) -> pl.DataFrame:
        """The last event, one row."""
        return self.events[-1]

    def branch(self, truth: Truth, seed: int) -> "Life":
        """The same life so far, which goes on in another way."""
        other = copy.copy(self)
        for name in ("begins", "hours", "readings", "events", "estimates"):
            setattr(other, name, list(getattr(self, name)))
        return replace(other, truth=truth, draw=np.random.default_rng(seed))

    def rate_at(self, at: datetime) -> float:
        """The true rate."""
        truth = self.truth
        if len(self.begins) < 2 or at < self.begins[1]:
            return self.issue.rate_before
        if truth.back_at is None or at < truth.back_at:
            return truth.rate
        grown = (at - truth.back_at) / timedelta(days=_RAMP_DAYS) if truth.is_slow else 1.0
        return max(truth.rate, truth.rate_back * min(1.0, grown))


def until_fix(life: Life) -> None:
    """The weeks before; then somebody says that the next release, 1.1, fixes it."""
    for _ in range(WEEKS_BEFORE):
        _week(life)
    told = [each.told.value for each in life.estimates if each.told is not None]
    life.rate_before = sum(told) / len(told) if told else None
    life.begins.append(life.end + timedelta(hours=int(life.draw.integers(0, 5 * 24))))
    life.events.append(sighted(_ID, failure_mode="it fails", at=MONDAY, trace_id="t"))
    for kind, evidence in (("promoted", {}), ("fix_claimed", {"release": "1.1"})):
        life.events.append(event(life.state, kind, author="somebody", now=life.end, evidence=evidence))


def until_proof(life: Life, max_weeks: int) -> None:
    """Week by week until the fix is verified or refuted, or for so many weeks."""
    for _ in range(max_weeks):
        _week(life)
        _decide(life)
        if life.state.state not in ("fix_claimed", "verifying"):
            break


def until_return(life: Life, n_weeks: int) -> None:
    """So many weeks of a solved issue. What is read of one does not depend on what was found: it is decided at the end.

    An event is dated by the evidence that completes it, whenever it is looked for.
    """
    for _ in range(n_weeks):
        _week(life)
    _decide(life)


def release_next(life: Life) -> datetime:
    """When the next release begins; it is fixed by asking."""
    after = life.begins[-1]
    while after < life.end:
        after += timedelta(hours=int(life.draw.integers(_RELEASE_DAYS[0] * 24, _RELEASE_DAYS[1] * 24)))
        life.begins.append(after)
    return after


def _decide(life: Life) -> None:
    evidence = Evidence(life.exposure)
    for _ in range(_MAX_STEPS):
        said = transition(life.state, evidence, life.settings)
        if said is None:
            break
        life.events.append(said)
        if said["kind"].item() in ("verified", "refuted", "recurred"):
            break


def _week(life: Life) -> None:
    """A week of traffic, read on the Monday after it."""
    start = life.end
    ends = start + timedelta(weeks=1)
    # Releases go on after the fix; before it there is one.
    while life.has_releases and len(life.begins) > 1 and life.begins[-1] < ends:
        days = life.draw.integers(_RELEASE_DAYS[0] * 24, _RELEASE_DAYS[1] * 24)
        life.begins.append(life.begins[-1] + timedelta(hours=int(days)))
    now = []
    for hour in range(WEEK_HOURS):
        at = start + timedelta(hours=hour)
        number = sum(begin <= at for begin in life.begins) - 1
        tpr = life.truth.tpr if number > 0 else life.issue.tpr
        now.append(Now(life.rate_at(at), tpr, f"1.{number}"))
    week = traffic(life.issue, start, now, life.draw)
    life.n_weeks += 1
    read = _read(life, week)
    life.hours.append(week.hours)
    life.readings.append(read)
    life.estimates.append(_estimated(life, week, now))


def _read(life: Life, week: Week) -> pl.DataFrame:
    """READINGS: the random ones of the control arm, and what verification asks for, hits first, as the queue deals."""
    kinds = [(week.found, True, True), (week.missed, True, False), (week.alarms, False, True)]
    kinds.append((week.n - week.found - week.missed - week.alarms, False, False))
    index = np.arange(len(week.n))
    hour = np.concatenate([np.repeat(index, n) for n, _, _ in kinds])
    is_failure = np.concatenate([np.full(n.sum(), failing) for n, failing, _ in kinds])
    is_flagged = np.concatenate([np.full(n.sum(), flagged) for n, _, flagged in kinds])
    order = life.draw.permutation(len(hour))
    n_control = int(REVIEW.control_share * REVIEW.capacity)
    control, others = order[:n_control], order[n_control:]
    n_slots = int(REVIEW.verification_share * REVIEW.capacity)
    n_hits, n_passes, is_asked = 0, 0, np.ones(len(others), dtype=bool)
    if life.events and (state := life.state).state in ("verifying", "fix_claimed"):
        said = verification_of(state, life.exposure, life.settings)
        counts = np.array([release != "1.0" for release in week.releases])
        is_asked = counts[hour[others]]
        n_hits, n_passes = n_slots, max(0, said.n_passes_needed - said.n_passes_read) if said else 0
    elif life.events and state.state == "resolved":
        n_hits = _HITS_OF_SOLVED
    hits = others[is_asked & is_flagged[others]][:n_hits]
    passes = others[is_asked & ~is_flagged[others]][: min(n_passes, n_slots - len(hits))]
    taken = np.concatenate([control, hits, passes])
    is_wrong = life.draw.random((2, len(taken))) < life.truth.careless
    answers = is_failure[taken] ^ is_wrong
    at = pl.Series([week.start + timedelta(hours=int(each)) for each in hour[taken]], dtype=READINGS["at"])
    return pl.DataFrame(
        {
            "at": at,
            "read_at": pl.repeat(life.end + timedelta(hours=9), len(taken), eager=True, dtype=READINGS["read_at"]),
            "release": [week.releases[each] for each in hour[taken]],
            "is_flagged": is_flagged[taken],
            "is_failure": answers.all(axis=0) if life.truth.reads_twice else answers[0],
            "is_random": np.arange(len(taken)) < len(control),
        },
        schema=READINGS,
    ).with_columns(is_random=pl.col("is_random") | ~pl.col("is_flagged"))


def _estimated(life: Life, week: Week, now: list[Now]) -> Estimated:
    """Of the week's prevalence; its truth is the mean rate of its traces."""
    n, flagged = int(week.n.sum()), int((week.found + week.alarms).sum())
    judged = Judged(n, flagged, n, flagged)
    rate = float(np.average([each.rate for each in now], weights=week.n)) if n else 0.0
    return Estimated(rate, corrected_prevalence(judged, life.issue.errors, confidence=CONFIDENCE, seed=0))
