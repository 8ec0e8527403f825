"""Whether a solved failure has returned: traffic since it was solved -> when, and in which release. Pure.

A sequential test, so that it may be looked at after every hour, with a stated chance ever to be wrong. How a fix is
verified is in resolution.py.
"""

import math
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from evalpipe.issues.exposure import Exposure
from evalpipe.quality.intervals import wilson_of_share
from evalpipe.quality.sequential import crossing
from evalpipe.settings import VerificationSettings
from evalpipe.tables import UTC

_ABSENT_SHARE = 0.1  # of the rate of a return that a solved failure may still have: it is hardly ever quite gone
_CAUTION = 0.6  # confidence of the interval of the false alarms in absence, of which the upper end is taken
_PRIOR = (0.5, 1.0)  # false alarms, and traces, imagined beside those that were seen: Jeffreys


class Recurrence(NamedTuple):
    """What traffic says of a solved issue. `at` is when it was known to have returned; None: it has not."""

    at: datetime | None
    release: str | None  # in which it returned; None where the traces name none
    n_exposed: int  # traces judged, of that release or since it was solved
    n_flagged: int  # of them failed by the evaluator
    n_confirmed: int  # of all of them, those that people say show it
    reason: str


class _Ratios(NamedTuple):
    """What one trace adds to the log likelihood ratio of a return."""

    passed: float
    flagged: float  # and not read
    confirmed: float  # read, flagged or not, and it shows the failure
    refuted: float  # flagged, read, and it does not


def recurrence(
    resolved_at: datetime, exposure: Exposure, absence: Exposure, settings: VerificationSettings
) -> Recurrence:
    """Whether the failure returned in `exposure` (traffic from `resolved_at` on) after its `absence`.

    The rate of a return (half of what it was, at least settings.recurrence_rate) is tested against hardly any, by the
    flags of the evaluator at its false-alarm rate in the absence, and by what people read: one confirmed hit counts as
    many flags, one refuted hit as none. A test begins with each release and every `epoch_days`, and all of them
    together err with a chance of `recurrence_error`.
    """
    hours, readings = exposure.hours, exposure.readings
    ratios = _ratios(exposure, absence, settings)
    steps = pl.concat(
        [
            hours.select(
                "at",
                "release",
                known_at="at",
                ratio=pl.col("n_flagged") * ratios.flagged + (pl.col("n_judged") - pl.col("n_flagged")) * ratios.passed,
            ),
            readings.select(
                "at",
                "release",
                known_at=pl.max_horizontal("read_at", pl.lit(resolved_at, UTC)),
                ratio=pl.when("is_failure")
                .then(ratios.confirmed)
                .otherwise(pl.when("is_flagged").then(ratios.refuted).otherwise(ratios.passed))
                - pl.when("is_flagged").then(ratios.flagged).otherwise(ratios.passed),
            ),
        ]
    )
    epochs = _epochs(hours, resolved_at, settings)
    summed = (
        steps.join_where(
            epochs,
            pl.col("release") == pl.col("of_release"),
            pl.col("at") >= pl.col("begins"),
            pl.col("at") < pl.col("ends"),
        )
        .sort("epoch", "known_at", "at")
        .with_columns(sum=pl.col("ratio").cum_sum().over("epoch", order_by=["known_at", "at"]))
    )
    bars = {k: crossing(k, settings.recurrence_error) for k in epochs["epoch"]}
    crossed = (
        summed.filter(pl.col("sum") >= pl.col("epoch").replace_strict(bars, return_dtype=pl.Float64))
        .sort("known_at", "epoch")
        .head(1)
        .select("known_at", "release", "begins", "ends")
        .rows()
    )
    if not crossed:
        confirmed = int(readings["is_failure"].sum())
        reason = (
            f"{exposure.n_flagged} of {exposure.n_judged} traces flagged since it was solved, {confirmed} confirmed"
        )
        return Recurrence(None, None, exposure.n_judged, exposure.n_flagged, confirmed, reason)
    at, release, begins, ends = crossed[0]
    part = exposure.of([release], begins, ends)
    known = Exposure(
        part.hours.filter(pl.col("at") <= at), part.readings.filter(pl.col("read_at") <= at), part.agreement
    )
    confirmed = int(known.readings["is_failure"].sum())
    named = f"release {release}" if release else "traffic that names no release"
    reason = f"{known.n_flagged} of {known.n_judged} traces of {named} flagged, {confirmed} of them confirmed by people"
    return Recurrence(at, release or None, known.n_judged, known.n_flagged, confirmed, reason)


def _ratios(exposure: Exposure, absence: Exposure, settings: VerificationSettings) -> _Ratios:
    before = exposure.rate_before or 0.0
    back = min(0.5, max(settings.recurrence_rate, before / 2))
    gone = _ABSENT_SHARE * back
    tpr = exposure.tpr
    false = min(_false_alarm_rate(absence), 0.5)
    rate, null_rate = false + back * tpr, false + gone * tpr
    return _Ratios(
        passed=math.log1p(-min(rate, 0.99)) - math.log1p(-null_rate),
        flagged=math.log(rate / null_rate),
        confirmed=math.log(back / gone),
        refuted=0.0,
    )


def _false_alarm_rate(absence: Exposure) -> float:
    """The share of traces without the failure that the evaluator flags: held out, and in the traffic of the absence.

    The upper end of an interval is taken, so that a rate that happened to be low raises no false alarm later.
    """
    found = absence.agreement
    n_alarms, n = (found.fp, found.fp + found.tn) if found is not None else (0, 0)
    confirmed = int(absence.readings.filter("is_flagged")["is_failure"].sum())
    n_alarms += max(0, absence.n_flagged - confirmed) + _PRIOR[0]
    n += absence.n_judged + _PRIOR[1]
    return wilson_of_share(n_alarms / n, n, _CAUTION).upper


def _epochs(hours: pl.DataFrame, resolved_at: datetime, settings: VerificationSettings) -> pl.DataFrame:
    """The tests in order of their begin: epoch (from 1), of_release, begins, ends."""
    length = timedelta(days=max(1, settings.epoch_days))
    spans = hours.group_by("release").agg(first=pl.col("at").min(), last=pl.col("at").max())
    rows = []
    for release, first, last in spans.select("release", "first", "last").iter_rows():
        begins = max(first, resolved_at)
        for n in range((last - begins) // length + 1 if last >= begins else 0):
            rows.append({"of_release": release, "begins": begins + n * length, "ends": begins + (n + 1) * length})
    schema = {"of_release": pl.String, "begins": UTC, "ends": UTC}
    return (
        pl.DataFrame(rows, schema=schema)
        .sort("begins", "of_release")
        .with_columns(epoch=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    )
