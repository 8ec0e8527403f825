"""Predictions against labels, as figures: counted, with an interval, as they are stored and as they are said."""

from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalpipe.evaluators.artifact import Artifact, program_sha256
from evalpipe.generation.examples import Examples
from evalpipe.quality.confusion import Confusion, confusion, mcc
from evalpipe.quality.intervals import Interval, mcc_interval

Bools = NDArray[np.bool_]

_DIGITS = 6  # of stored figures


class Agreement(NamedTuple):
    """Predictions against labels."""

    counts: Confusion
    mcc: float | None
    interval: Interval | None

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


def agreement_of(examples: Examples, flags: Bools, confidence: float, seed: int) -> Agreement:
    """Counted, with an interval that resamples whole groups of the examples."""
    counts = confusion(examples.is_failure, flags)
    value = mcc(counts)
    interval = (
        None
        if value is None
        else mcc_interval(examples.is_failure, flags, examples.groups, confidence=confidence, seed=seed)
    )
    return Agreement(counts, value, interval)


def quality_block(
    measured: Agreement, flattering: Agreement, examples: Examples, confidence: float, program: dict[str, Any]
) -> dict[str, Any]:
    """The figures that an artifact carries, bound to its program."""
    return {
        **measured.counts._asdict(),
        "mcc": stored(measured.mcc),
        "mcc_lower": stored(measured.lower),
        "mcc_upper": stored(measured.upper),
        "confidence": confidence,
        "in_sample_mcc": stored(flattering.mcc),
        "n_sessions": len(set(examples.groups)),
        "program_sha256": program_sha256(program),
    }


def quality_row(
    artifact: Artifact,
    split: str,
    agreement: Agreement,
    examples: Examples,
    labels_fingerprint: int,
    confidence: float,
    now: datetime,
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
        "n_faults": 0,
        "mcc": stored(agreement.mcc),
        "mcc_lower": stored(agreement.lower),
        "mcc_upper": stored(agreement.upper),
        "confidence": confidence,
        "n_sessions": len(set(examples.groups)),
        "labels_fingerprint": labels_fingerprint,
    }


def stored(value: float | None) -> float | None:
    """A figure to the digits that are kept."""
    return None if value is None else round(value, _DIGITS)


def shown(value: float | None) -> str:
    """A figure for people."""
    return "undefined" if value is None else f"{value:.2f}"
