"""How common a failure is in traffic, from how often an imperfect evaluator flags it and how often it errs.

What was flagged and judged is counted in evaluators/rates.py; the errors come from evaluator_quality. Nothing here
knows of issues or of time.
"""

from typing import NamedTuple

import numpy as np

from evalpipe.quality.confusion import Confusion
from evalpipe.quality.intervals import N_DRAWS
from evalpipe.quality.sampling import Estimate, Floats


class Judged(NamedTuple):
    """What an evaluator found in a sample of traffic. A weight is one over the chance with which a trace was judged."""

    judged_weight: float  # sum over all judged
    flagged_weight: float  # sum over the flagged
    judged_weight_sq: float  # sum of its square over all judged
    flagged_weight_sq: float  # and over the flagged

    @property
    def flagged_share(self) -> float | None:
        """Share of traffic that would be flagged; None where nothing was judged."""
        return self.flagged_weight / self.judged_weight if self.judged_weight > 0 else None


def corrected_prevalence(judged: Judged, errors: Confusion, *, confidence: float, seed: int) -> Estimate | None:
    """Share of traffic that shows a failure, in [0, 1], with its interval; None where the evaluator tells nothing.

    The value is (flagged share - fpr) / (tpr - fpr), clipped to [0, 1]. It tells nothing where nothing was judged,
    where `errors` lack a kind of label, or where failures are flagged no more often than other traces.

    The interval takes three uncertainties into account: draws of the flagged share, the tpr and the fpr, each from its
    Jeffreys posterior, go through the same formula. Half a unit of each kind is the prior, also of the weighted share:
    a unit as heavy as a judged trace is on average (by weight), so that no flags in a sample that skips most of the
    traffic do not pass for none at all. The size of the sample is then the number of equal weights with the variance
    of the linearised share. A draw in which failures are flagged no more often than other traces allows anything: it
    counts as 0 for the lower bound and as 1 for the upper. The flagged share does not narrow the fpr, though traffic
    cannot be flagged less often than by error: that would exclude 0 wherever few labels happened to show no error.

    Measured: over histories with a prevalence of 0.5 to 30 %, a tpr of 0.55 to 0.98, an fpr of 0.1 to 10 %, 10 to 60
    labelled failures, 40 to 300 other labels and 500 to 20,000 traces, of which all or a fifth are judged, intervals of
    95 % hold the truth in 95.2 % of 8,000; where a rule chose what is judged (chances of 1 to 10) in 96.3 % of 4,000.
    The interval of Lang and Reiczigel (2014) holds it in 97.0 % and 98.8 %, and is wider. On a grid of 144 corners, 400
    histories each, it is 90 % (1 % of failures, 10 and 40 labels, an fpr of 0.2 %) to 99 %, and 95.4 % on average.

    Sources: Rogan and Gladen (1978), American J. Epidemiology 107; Särndal, Swensson, Wretman (1992), section 5.7;
    Brown, Cai, DasGupta (2001), Statistical Science 16.
    """
    share = judged.flagged_share
    n_negatives = errors.tn + errors.fp
    if share is None or not errors.n_positives or not n_negatives:
        return None
    tpr, fpr = errors.tp / errors.n_positives, errors.fp / n_negatives
    if tpr <= fpr:
        return None
    value = min(1.0, max(0.0, (share - fpr) / (tpr - fpr)))
    generator = np.random.default_rng(seed)
    shares = generator.beta(*_posterior(judged), size=N_DRAWS)
    tprs = generator.beta(errors.tp + 0.5, errors.fn + 0.5, size=N_DRAWS)
    fprs = generator.beta(errors.fp + 0.5, errors.tn + 0.5, size=N_DRAWS)
    lower, upper = _bounds(shares, tprs, fprs, confidence)
    return Estimate(value, min(lower, value), max(upper, value))


class _Beta(NamedTuple):
    a: float
    b: float


def _posterior(judged: Judged) -> _Beta:
    """Of the flagged share. With equal weights it is Jeffreys': n_flagged + 1/2 and n_judged - n_flagged + 1/2."""
    unit = judged.judged_weight_sq / judged.judged_weight
    total = judged.judged_weight + unit
    share = (judged.flagged_weight + unit / 2) / total
    flagged_sq = judged.flagged_weight_sq + unit**2 / 2
    other_sq = judged.judged_weight_sq - judged.flagged_weight_sq + unit**2 / 2
    variance = ((1 - share) ** 2 * flagged_sq + share**2 * other_sq) / total**2
    n_effective = share * (1 - share) / variance
    return _Beta(share * n_effective, (1 - share) * n_effective)


def _bounds(shares: Floats, tprs: Floats, fprs: Floats, confidence: float) -> tuple[float, float]:
    separation = tprs - fprs
    tells = separation > 0
    prevalence = np.clip((shares - fprs) / np.where(tells, separation, 1.0), 0.0, 1.0)
    lower = np.quantile(np.where(tells, prevalence, 0.0), (1 - confidence) / 2)
    upper = np.quantile(np.where(tells, prevalence, 1.0), (1 + confidence) / 2)
    return float(lower), float(upper)
