"""Whether a fix works: traffic of the fixed releases, and what people read in it -> a finding. Pure.

A failure is gone when its rate is below a target at the stated confidence, by two kinds of evidence together: the
evaluator looked at so much traffic and people confirmed hardly any of its hits; and people read so many of its passes,
drawn at random, that the rate of before would have shown, so that the evaluator was not just fooled by the fix. Whether
a solved failure has returned is in recurrence.py.
"""

import math
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import polars as pl

from evalpipe.issues.exposure import Exposure
from evalpipe.quality.exposure import rate_upper, units_needed
from evalpipe.quality.sequential import crossing, log_ratio
from evalpipe.settings import VerificationSettings

Finding = Literal["waiting", "reading", "solved", "not_solved", "fooled", "quiet", "returned"]

_MIN_HITS_READ = 10  # of the hits, all up to this number are read before the rest is judged by them
_SOLVED_SHARE = 0.25  # of the target, that what is left of a solved failure is taken for: it is hardly ever near it
_PATIENCE = 3  # times the passes first asked for: a fix that is not proven by then is not


class Verification(NamedTuple):
    """What it takes to call an issue solved, and what there is; the columns of VERIFICATIONS say what each means."""

    finding: Finding
    reason: str
    decided_at: datetime | None  # when the last of the evidence became known; None without any
    release: str | None
    since: datetime | None
    releases: tuple[str, ...]
    rate_before: float
    target_rate: float
    n_needed: int
    n_exposed: int
    n_flagged: int
    n_hits_read: int
    n_hits_confirmed: int
    n_passes_needed: int
    n_passes_read: int
    n_passes_failing: int
    rate_upper: float | None
    confidence: float


class _Seen(NamedTuple):
    """What there is of the releases that count, summed up."""

    releases: tuple[str, ...]
    latest: datetime | None  # when the last of it became known
    n_judged: int
    n_flagged: int
    judged_weight: float
    flagged_weight: float
    judged_weight_sq: float
    n_hits: int  # read by people
    n_hits_failing: int
    n_passes: int  # read by people, drawn at random
    n_passes_failing: int


_SUMS = _Seen._fields[2:]


def verify(
    release: str | None, since: datetime | None, exposure: Exposure, settings: VerificationSettings
) -> Verification:
    """What is known of a fix that is said to be in `release`, whose first trace started at `since` (None: not yet).

    Traces count of the releases that were first seen from then on. `solved` needs people: every hit read, or enough of
    them, and the passes. `not_solved`: they confirmed so many hits that the old rate is twenty times likelier than the
    target. `fooled`: likewise of the passes, or they stay unproven. All tests are sequential, each at
    settings.confidence, so that it may be asked every day.
    """
    releases = [] if since is None else exposure.releases_from(since)
    seen = exposure.of(releases, datetime.max.replace(tzinfo=UTC) if since is None else since)
    sums = _steps(seen).select(pl.col(_SUMS).sum()).row(0, named=True)
    return _judged(release, since, _Seen(releases=tuple(releases), latest=seen.latest, **sums), exposure, settings)


def first_proof(
    release: str | None, since: datetime | None, exposure: Exposure, settings: VerificationSettings
) -> Verification | None:
    """The first day's end at which the fix was proven or refuted by what was known then; None when it is neither.

    Day by day, so that what came later, a return in a later release among it, does not change what was known: each is
    `verify` of what was known at its last moment, of sums that grow from day to day.
    """
    if since is None:
        return None
    releases = exposure.releases_from(since)
    seen = exposure.of(releases, since)
    begins = dict(seen.hours.group_by("release").agg(pl.col("at").min()).iter_rows())
    # The last moment of each day, and the sums over all that was known by then.
    days = (
        _steps(seen)
        .sort("known_at")
        .with_columns(pl.col(_SUMS).cum_sum())
        .group_by(day=pl.col("known_at").dt.date(), maintain_order=True)
        .last()
    )
    for latest, *sums in days.select("known_at", *_SUMS).iter_rows():
        known = tuple(name for name in releases if begins[name] <= latest)
        said = _judged(release, since, _Seen(known, latest, *sums), exposure, settings)
        if said.finding in ("solved", "not_solved", "fooled"):
            return said
    return None


def _steps(seen: Exposure) -> pl.DataFrame:
    """known_at and what became known then, under the names of _SUMS: a row for each hour and each trace that was read.

    What is read counts from when its release is known, which is an hour's first trace.
    """
    hours = seen.hours.select("n_judged", "n_flagged", "judged_weight", "flagged_weight", "judged_weight_sq", "at")
    is_hit, is_pass = pl.col("is_flagged"), ~pl.col("is_flagged") & pl.col("is_random")
    begins = seen.hours.group_by("release").agg(begins=pl.col("at").min())
    read = seen.readings.join(begins, on="release").select(
        known_at=pl.max_horizontal("read_at", "begins"),
        n_hits=is_hit.cast(pl.Int64),
        n_hits_failing=(is_hit & pl.col("is_failure")).cast(pl.Int64),
        n_passes=is_pass.cast(pl.Int64),
        n_passes_failing=(is_pass & pl.col("is_failure")).cast(pl.Int64),
    )
    both = pl.concat([hours.rename({"at": "known_at"}), read], how="diagonal")
    return both.select("known_at", pl.col(_SUMS).fill_null(0))


def _judged(
    release: str | None, since: datetime | None, seen: _Seen, exposure: Exposure, settings: VerificationSettings
) -> Verification:
    before = _rate_before(seen, exposure, settings)
    target = min(settings.target_rate, settings.target_share * before)
    confidence, tpr = settings.confidence, exposure.tpr
    # A sample with unequal chances says as much as fewer traces with equal ones (Kish 1965).
    n_effective = seen.judged_weight**2 / seen.judged_weight_sq if seen.judged_weight_sq else 0.0
    share = seen.flagged_weight / seen.judged_weight if seen.judged_weight else 0.0
    n_failing = share * n_effective * _failing_share(seen)
    upper = rate_upper(n_failing, n_effective * tpr, confidence)
    n_needed, gone = units_needed(target, confidence, seen.n_hits_failing), _SOLVED_SHARE * target
    if seen.n_hits_failing:
        n_needed = max(n_needed, _needed(seen.n_hits_failing, gone, target, confidence))
    is_rare = upper < target
    if n_failing > 0:
        is_rare &= log_ratio(n_failing, n_effective * tpr, gone, target) >= crossing(1, 2 * (1 - confidence))
    n_passes_needed = min(settings.max_passes, units_needed(before, confidence))
    if seen.n_passes_failing:
        slips = settings.reader_error
        n_more = _needed(seen.n_passes_failing, target + slips, before + slips, confidence)
        n_passes_needed = max(n_passes_needed, n_more)
    said = Verification(
        finding="waiting",
        reason="",
        decided_at=seen.latest,
        release=release,
        since=since,
        releases=seen.releases,
        rate_before=before,
        target_rate=target,
        n_needed=math.ceil(n_needed / tpr),
        n_exposed=seen.n_judged,
        n_flagged=seen.n_flagged,
        n_hits_read=seen.n_hits,
        n_hits_confirmed=seen.n_hits_failing,
        n_passes_needed=n_passes_needed,
        n_passes_read=seen.n_passes,
        n_passes_failing=seen.n_passes_failing,
        rate_upper=upper if n_effective else None,
        confidence=confidence,
    )
    return said._replace(**_found(said, exposure, settings, is_rare=is_rare))


def _found(
    said: Verification, exposure: Exposure, settings: VerificationSettings, *, is_rare: bool
) -> dict[str, Finding | str]:
    """The finding, and the reason in words."""
    named = said.release or "the release with the fix"
    if exposure.agreement is None:
        lacks = "no evaluator judges it, so nothing counts its traffic. A person may still answer for it"
        return {"finding": "waiting", "reason": lacks}
    if said.since is None:
        return {"finding": "waiting", "reason": f"no trace of {named} was seen yet"}
    tpr = exposure.tpr
    bar = crossing(1, 2 * (1 - said.confidence))  # of a single test: 1 / (1 - confidence)
    # Where there are more hits than people can read, those that they read speak of their share of the traffic.
    n_read = said.n_exposed * min(1.0, said.n_hits_read / max(1, said.n_flagged))
    worse = log_ratio(said.n_hits_confirmed, n_read, said.rate_before * tpr, said.target_rate * tpr)
    if said.n_hits_confirmed and worse >= bar:
        confirmed = f"people confirmed {said.n_hits_confirmed} of {said.n_hits_read} hits that they read"
        return {"finding": "not_solved", "reason": f"{confirmed} among {said.n_exposed} traces of {named}"}
    # What readers see in passes is the failure or a slip of theirs, and among so many that are none slips tell.
    seen_before, seen_target = (rate + settings.reader_error for rate in (said.rate_before, said.target_rate))
    missed = log_ratio(said.n_passes_failing, said.n_passes_read, seen_before, seen_target)
    base = min(settings.max_passes, units_needed(said.rate_before, said.confidence))
    is_out_of_patience = said.n_passes_read >= _PATIENCE * base
    proves_passes = said.n_passes_read >= said.n_passes_needed
    if said.n_passes_failing and (missed >= bar or (is_out_of_patience and not proves_passes)):
        shown = f"{said.n_passes_failing} of {said.n_passes_read} traces that it passed show the failure to people"
        return {"finding": "fooled", "reason": f"the evaluator was fooled by {named}: {shown}"}
    lacks = []
    if not is_rare:
        # Traffic alone may not be enough: unread hits count as they were found so far.
        unread = said.n_flagged - said.n_hits_read
        if said.n_exposed < said.n_needed:
            lacks.append(f"{said.n_needed - said.n_exposed} more traces of it")
        if unread > 0:
            lacks.append(f"{unread} hits to be read by people")
        if not lacks:
            lacks.append("more traces of it")
    if not proves_passes:
        lacks.append(f"{max(1, said.n_passes_needed - said.n_passes_read)} more of its passes to be read by people")
    if lacks:
        return {"finding": "reading", "reason": f"{named} needs {' and '.join(lacks)}"}
    hits = f"{said.n_hits_confirmed} of {said.n_flagged} hits" if said.n_flagged else "no hit"
    return {
        "finding": "solved",
        "reason": f"among {said.n_exposed} traces of {', '.join(said.releases)} {hits} confirmed by people, and "
        f"{said.n_passes_failing} of {said.n_passes_read} passes that they read show it: it is in less than "
        f"{said.rate_upper:.2%} of the traffic, at {said.confidence:.0%} confidence, where it was in "
        f"{said.rate_before:.1%}",
    }


def _rate_before(seen: _Seen, exposure: Exposure, settings: VerificationSettings) -> float:
    """The rate before the fix, less what people have shown since to be false alarms of the evaluator.

    A hundred held-out labels tell false alarms of 0 from 2 % hardly at all, the hits that are refuted in the traffic
    of the fix do: what was taken for failures before is corrected by them, downwards only. Source: Rogan and Gladen
    (1978), the same formula with the rate of false alarms that both together show.
    """
    before, found = exposure.rate_before, exposure.agreement
    if before is None:
        before = settings.recurrence_rate
    elif found is not None and found.n_positives and found.fp + found.tn and seen.n_hits:
        n = found.fp + found.tn
        tpr, held_out = found.tp / found.n_positives, found.fp / n
        alarms = (found.fp + seen.n_hits - seen.n_hits_failing) / (n + seen.n_judged * _share_read(seen))
        if alarms < tpr:
            before = min(before, (before * (tpr - held_out) + held_out - alarms) / (tpr - alarms))
    # Where false alarms are overestimated hardly anything is left of the rate, and a target of hardly anything is never
    # met by a true fix, and refutes it at the first residue.
    return min(max(before, settings.target_rate), 0.5)


def _share_read(seen: _Seen) -> float:
    return min(1.0, seen.n_hits / seen.n_flagged) if seen.n_flagged else 1.0


def _needed(n_failing: int, rate: float, null_rate: float, confidence: float) -> int:
    """The least n for which `n_failing` of n make `rate` as much likelier than the `null_rate` above it.

    A sequential test, as it is looked at every day. An interval would let a rate pass at its first lucky look; only as
    long as nothing failed are the two the same: one failure ends that.
    """
    bar = crossing(1, 2 * (1 - confidence)) - log_ratio(n_failing, n_failing, rate, null_rate)
    return n_failing + math.ceil(bar / log_ratio(0, 1, rate, null_rate))


def _failing_share(seen: _Seen) -> float:
    """The share of all hits that counts as failures: those confirmed, and of the unread ones as many as among the read.

    While few are read every unread one counts: what nobody has looked at is no proof.
    """
    if seen.n_flagged == 0:
        return 0.0
    n_unread = max(0, seen.n_flagged - seen.n_hits)
    share = (seen.n_hits_failing + 0.5) / (seen.n_hits + 1) if seen.n_hits >= _MIN_HITS_READ else 1.0
    return min(1.0, (seen.n_hits_failing + n_unread * share) / seen.n_flagged)
