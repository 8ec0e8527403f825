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
    confirmed: float  # read, flagged or not, and it shows the failure; flagged, read and refuted adds nothing


def recurrence(
    resolved_at: datetime, exposure: Exposure, absence: Exposure, settings: VerificationSettings
) -> Recurrence:
    """Whether the failure returned in `exposure` (traffic from `resolved_at` on) after its `absence`.

    The rate of a return (half of what it was, at least settings.recurrence_rate) is tested against hardly any, by the
    flags of the evaluator at its false-alarm rate until then, and by what people read: one confirmed hit counts as
    many flags, one refuted hit as none. A test begins with each release and every `epoch_days`, and all of them
    together err with a chance of `recurrence_error`.
    """
    hours, readings = exposure.hours, exposure.readings
    steps = pl.concat(
        [
            hours.select(
                "at",
                "release",
                known_at="at",
                n_passed=pl.col("n_judged") - pl.col("n_flagged"),
                n_flagged="n_flagged",
                n_confirmed=pl.lit(0, pl.Int64),
            ),
            # What a person says of a trace takes the place of what its verdict says, except of a pass that is one.
            readings.filter(pl.col("is_flagged") | pl.col("is_failure")).select(
                "at",
                "release",
                known_at=pl.max_horizontal("read_at", pl.lit(resolved_at, UTC)),
                n_passed=-(~pl.col("is_flagged")).cast(pl.Int64),
                n_flagged=-pl.col("is_flagged").cast(pl.Int64),
                n_confirmed=pl.col("is_failure").cast(pl.Int64),
            ),
        ]
    )
    epochs = _with_ratios(_epochs(hours, resolved_at, settings), exposure, absence, settings)
    ratio = pl.sum_horizontal(pl.col(f"n_{name}") * pl.col(name) for name in _Ratios._fields)
    summed = (
        steps.join_where(
            epochs,
            pl.col("release") == pl.col("of_release"),
            pl.col("at") >= pl.col("begins"),
            pl.col("at") < pl.col("ends"),
        )
        .sort("epoch", "known_at", "at")
        .with_columns(sum=ratio.cum_sum().over("epoch", order_by=["known_at", "at"]))
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
    known = part.known_at(at)
    confirmed = int(known.readings["is_failure"].sum())
    named = f"release {release}" if release else "traffic that names no release"
    reason = f"{known.n_flagged} of {known.n_judged} traces of {named} flagged, {confirmed} of them confirmed by people"
    return Recurrence(at, release or None, known.n_judged, known.n_flagged, confirmed, reason)


def _with_ratios(
    epochs: pl.DataFrame, exposure: Exposure, absence: Exposure, settings: VerificationSettings
) -> pl.DataFrame:
    """The epochs with their _Ratios. All that came before an epoch is absence, or an earlier test would have told.

    So what the evaluator flags in absence becomes better known with each release that goes by in quiet.
    """
    found = absence.agreement
    n_alarms, n = (found.fp, found.fp + found.tn) if found is not None else (0, 0)
    n_alarms, n = n_alarms + absence.n_flagged, n + absence.n_judged
    hours = exposure.hours.sort("at").select("at", pl.col("n_judged", "n_flagged").cum_sum())
    place = hours["at"].search_sorted(epochs["begins"], "left")
    past = pl.DataFrame({"n": [0, *hours["n_judged"]], "n_flagged": [0, *hours["n_flagged"]]})[place]
    ratios = [
        _ratios(n_alarms + n_flagged, n + n_judged, exposure, settings) for n_judged, n_flagged in past.iter_rows()
    ]
    schema = dict.fromkeys(_Ratios._fields, pl.Float64)
    return pl.concat([epochs, pl.DataFrame(ratios, schema=schema, orient="row")], how="horizontal")


def _ratios(n_flagged: int, n: int, exposure: Exposure, settings: VerificationSettings) -> _Ratios:
    """Of a test before which `n_flagged` of `n` traces were flagged in absence: by error, or for what is left of it.

    The upper end of an interval is taken, so that a rate that happened to be low raises no false alarm later.
    """
    back = min(0.5, max(settings.recurrence_rate, (exposure.rate_before or 0.0) / 2))
    gone = _ABSENT_SHARE * back
    false = wilson_of_share((n_flagged + _PRIOR[0]) / (n + _PRIOR[1]), n + _PRIOR[1], _CAUTION).upper
    null_rate = min(0.5, max(false, gone * exposure.tpr))
    rate = min(0.99, null_rate + (back - gone) * exposure.tpr)
    return _Ratios(
        passed=math.log1p(-rate) - math.log1p(-null_rate),
        flagged=math.log(rate / null_rate),
        confirmed=math.log(back / gone),
    )


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
