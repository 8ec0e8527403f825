"""Predictions against labels, as figures: counted, with an interval, as they are stored and as they are said."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from evalpipe.evaluators.artifact import (
    Artifact,
    AtProduction,
    Baseline,
    Figures,
    Mistakes,
    Quality,
    program_sha256,
)
from evalpipe.generation.competitors import Competitor
from evalpipe.generation.examples import Examples
from evalpipe.generation.flags import Flags
from evalpipe.quality.confusion import Confusion, confusion, mcc, mcc_of_rates
from evalpipe.quality.intervals import Interval, mcc_interval
from evalpipe.settings import QualitySettings

_DIGITS = 6  # of stored figures
_MAX_MISTAKES = 20  # of each kind: what a person reads


class Agreement(NamedTuple):
    """Predictions against labels."""

    counts: Confusion
    mcc: float | None
    interval: Interval | None
    n_groups: int  # independent cases among the examples

    @property
    def lower(self) -> float | None:
        return None if self.interval is None else self.interval.lower

    @property
    def upper(self) -> float | None:
        return None if self.interval is None else self.interval.upper

    def in_words(self) -> str:
        """The MCC with its interval: 0.84 [0.61, 0.93]."""
        if self.interval is None:
            return shown(self.mcc)
        return f"{shown(self.mcc)} [{self.interval.lower:.2f}, {self.interval.upper:.2f}]"


def agreement_of(examples: Examples, flags: Flags, quality: QualitySettings, seed: int = 0) -> Agreement:
    """Counted where the flags are known, with the interval in which the MCC of as many later traces will lie."""
    counts = _counts(examples, flags)
    n_groups = len(set(_known_groups(examples, flags)))
    return Agreement(counts, mcc(counts), _interval(examples, flags, quality, seed), n_groups)


def mcc_of(examples: Examples, flags: Flags) -> float | None:
    """The MCC alone."""
    return mcc(_counts(examples, flags))


def agreement_at(
    prevalence: float | None, measured: Agreement, examples: Examples, flags: Flags, quality: QualitySettings, seed: int
) -> dict[str, Any] | None:
    """The agreement as it would be where this share of the traces fails; None where the share is not known."""
    counts = measured.counts
    n_negatives = counts.n - counts.n_positives
    if prevalence is None or not counts.n_positives or not n_negatives:
        return None  # no error rate can be told
    interval = _interval(examples, flags, quality, seed, prevalence)
    value = mcc_of_rates(counts.tp / counts.n_positives, counts.tn / n_negatives, prevalence)
    return {"prevalence": round(prevalence, _DIGITS), **_stored_figures(value, interval)}


def _counts(examples: Examples, flags: Flags) -> Confusion:
    return confusion(examples.is_failure[flags.is_known], flags.said[flags.is_known])


def _known_groups(examples: Examples, flags: Flags) -> list[str]:
    return np.asarray(examples.groups, dtype=str)[flags.is_known].tolist()


def _interval(
    examples: Examples, flags: Flags, quality: QualitySettings, seed: int, prevalence: float | None = None
) -> Interval | None:
    return mcc_interval(
        examples.is_failure[flags.is_known],
        flags.said[flags.is_known],
        _known_groups(examples, flags),
        confidence=quality.confidence,
        evidence=quality.evidence,
        seed=seed,
        prevalence=prevalence,
    )


def mistakes_of(examples: Examples, flags: Flags) -> Mistakes:
    """The held-out examples that it gets wrong, those with the most weight first."""
    ids = np.array(examples.trace_ids, dtype=str)
    order = np.lexsort((ids, -examples.weight))
    is_wrong = flags.is_known & (flags.said != examples.is_failure)
    missed, false_alarms = (
        ids[[row for row in order if is_wrong[row] and examples.is_failure[row] == wanted]][:_MAX_MISTAKES].tolist()
        for wanted in (True, False)
    )
    return Mistakes(missed=missed, false_alarms=false_alarms)


def quality_block(
    measured: Agreement,
    flattering: Agreement,
    baselines: Mapping[str, Agreement],
    at_production: dict[str, Any] | None,
    chosen: Competitor,
    confidence: float,
) -> Quality:
    """The figures that an artifact carries, bound to its program."""
    return Quality(
        **measured.counts._asdict(),
        n_faults=chosen.n_faults,
        **_stored_figures(measured.mcc, measured.interval),
        confidence=confidence,
        in_sample_mcc=stored(flattering.mcc),
        n_sessions=measured.n_groups,
        program_sha256=program_sha256(chosen.program),
        in_sample=Figures(**flattering.counts._asdict(), **_stored_figures(flattering.mcc, flattering.interval)),
        baselines=[Baseline(name=name, **_stored_figures(each.mcc, each.interval)) for name, each in baselines.items()],
        at_production=None if at_production is None else AtProduction(**at_production),
        cost_usd_per_verdict=stored(chosen.cost_usd_per_verdict),
    )


def _stored_figures(value: float | None, interval: Interval | None) -> dict[str, Any]:
    lower, upper = (None, None) if interval is None else interval
    return {"mcc": stored(value), "mcc_lower": stored(lower), "mcc_upper": stored(upper)}


def quality_row(
    artifact: Artifact, split: str, agreement: Agreement, labels_fingerprint: int, confidence: float, now: datetime
) -> dict[str, Any]:
    """An EVALUATOR_QUALITY row."""
    return {
        "evaluator_id": artifact.evaluator_id,
        "version": artifact.version,
        "issue_id": artifact.issue_id,
        "kind": artifact.kind,
        "measured_at": now,
        "split": split,
        **agreement.counts._asdict(),
        "n_faults": artifact.quality.get("n_faults", 0) if split == "held_out" else 0,
        **_stored_figures(agreement.mcc, agreement.interval),
        "confidence": confidence,
        "n_sessions": agreement.n_groups,
        "labels_fingerprint": labels_fingerprint,
    }


def stored(value: float | None) -> float | None:
    """A figure to the digits that are kept."""
    return None if value is None else round(value, _DIGITS)


def shown(value: float | None) -> str:
    """A figure for people."""
    return "undefined" if value is None else f"{value:.2f}"
