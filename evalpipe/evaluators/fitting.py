"""Fitting a learned evaluator: naive-Bayes-weighted logistic regression, with scikit-learn.

The result is the program of linear.py, which learned.py scores without scikit-learn. Method: Wang and Manning (2012),
with Bernoulli ratios, and each field given the same loudness: a trace's tool outputs hold a hundred times the words
of its request, and would drown it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalpipe.evaluators.features import Features
from evalpipe.evaluators.folds import grouped_folds
from evalpipe.evaluators.linear import NumberFeature, Program, StepFeature, WordFeature, rounded, sigmoid
from evalpipe.evaluators.view import NUMBER_FIELDS
from evalpipe.evaluators.words import Ints
from evalpipe.settings import GenerationSettings

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0)  # inverse regularisation C to choose from
_VOICE = 3.0  # root mean square of what one field adds before it is weighed
_N_INNER_FOLDS = 5


def fit_program(
    features: Features,
    rows: Ints,
    is_failure: Bools,
    weight: Floats,
    groups: Sequence[str],
    settings: GenerationSettings,
    seed: int,
) -> Program:
    """A program fitted on `rows`; the other arrays are those of all rows. Strength, calibration and threshold come from
    folds inside the rows, by group, in which the features are chosen anew.
    """
    from threadpoolctl import threadpool_limits

    # The matrices are small: on a busy machine the threads of BLAS spin ten times as long as one needs to work.
    with threadpool_limits(limits=1):
        return _fit(features, rows, is_failure, weight, groups, settings, seed)


def _fit(
    features: Features,
    rows: Ints,
    is_failure: Bools,
    weight: Floats,
    groups: Sequence[str],
    settings: GenerationSettings,
    seed: int,
) -> Program:
    own_groups = [str(groups[row]) for row in rows]
    inner = grouped_folds(is_failure[rows], own_groups, n_folds=_N_INNER_FOLDS, seed=seed)
    margins = np.zeros((len(_STRENGTHS), len(rows)))
    for fold in range(int(inner.max()) + 1):
        train, test = rows[inner != fold], rows[inner == fold]
        design = _Design.of(features, train, is_failure, weight, settings.max_features)
        for i, strength in enumerate(_STRENGTHS):
            margins[i, inner == fold] = _apply(design.fit(strength), features, test)
    y, w = is_failure[rows], weight[rows]
    calibrations = [_calibrate(margin, y, w) for margin in margins]
    best = min(range(len(_STRENGTHS)), key=lambda i: (calibrations[i].loss, _STRENGTHS[i]))
    fitted = _Design.of(features, rows, is_failure, weight, settings.max_features).fit(_STRENGTHS[best])
    slope, intercept = rounded(calibrations[best].slope), rounded(calibrations[best].intercept)
    score = sigmoid(slope * margins[best] + intercept)
    return _stored(features, fitted, slope, intercept, _best_threshold(score, y, w))


class _Weights(NamedTuple):
    """One fit: the chosen features, what each weighs, and the same for the numbers."""

    features: Ints
    weights: Floats
    share: Floats  # of the traces, that have each feature
    mean: Floats
    sd: Floats
    number_weights: Floats
    bias: float


@dataclass(frozen=True)
class _Design:
    """The weighted features of some traces, ready to be fitted at any strength."""

    matrix: Any  # scipy CSR
    is_failure: Bools
    weight: Floats
    chosen: Ints
    ratio: Floats
    share: Floats
    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, features: Features, rows: Ints, is_failure: Bools, weight: Floats, max_features: int) -> "_Design":
        from scipy.sparse import csr_matrix, diags_array, hstack

        present = features.matrix[rows]
        y, w = is_failure[rows], weight[rows]
        positive, negative = present.T @ (w * y), present.T @ (w * ~y)
        # How much likelier the feature is in a failure, given one imagined trace of each kind with it and one without.
        ratio = np.log((positive + 1) / (np.sum(w * y) + 2)) - np.log((negative + 1) / (np.sum(w * ~y) + 2))
        spread = np.sqrt(1 / (positive + 1) + 1 / (negative + 1))
        seen = np.flatnonzero(positive + negative > 0)
        surest = seen[np.argsort(-np.abs(ratio / spread)[seen], kind="stable")[:max_features]]
        chosen = np.sort(surest)
        ratio = ratio[chosen] * _evened(present, chosen, ratio[chosen], features.block[chosen])
        numbers = features.numbers[rows]
        with np.errstate(invalid="ignore"):
            is_known = ~np.isnan(numbers)
            n_known = np.maximum(is_known.sum(axis=0), 1)
            mean = np.where(is_known, numbers, 0).sum(axis=0) / n_known
            sd = np.sqrt(np.where(is_known, (numbers - mean) ** 2, 0).sum(axis=0) / n_known)
        sd = np.where(sd > 1e-9, sd, 1.0) * np.sqrt(len(sd)) / _VOICE
        matrix = hstack(
            [present[:, chosen] @ diags_array(ratio), csr_matrix(np.nan_to_num((numbers - mean) / sd))]
        ).tocsr()
        share = np.asarray(present.mean(axis=0)).ravel()[chosen]
        return cls(matrix, y, w, chosen, ratio, share, mean, sd)

    def fit(self, strength: float) -> _Weights:
        from sklearn.linear_model import LogisticRegression

        n = len(self.chosen)
        if self.is_failure.all() or not self.is_failure.any():
            return _Weights(self.chosen, np.zeros(n), self.share, self.mean, self.sd, np.zeros(len(self.mean)), 0.0)
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=500, tol=1e-4)
        model.fit(self.matrix, self.is_failure, sample_weight=self.weight)
        weights = np.asarray(model.coef_)[0]
        bias = float(np.asarray(model.intercept_)[0])
        return _Weights(self.chosen, weights[:n] * self.ratio, self.share, self.mean, self.sd, weights[n:], bias)


def _evened(present: Any, chosen: Ints, ratio: Floats, block: Ints) -> Floats:
    """What each feature is multiplied by, so that every field speaks equally loud however many words it holds."""
    square = np.asarray(present.sum(axis=0)).ravel()[chosen] * ratio**2 / max(present.shape[0], 1)
    loudness = np.sqrt(np.bincount(block, weights=square))
    return (_VOICE / np.maximum(loudness, 1e-9))[block]


def _apply(fitted: _Weights, features: Features, rows: Ints) -> Floats:
    numbers = np.nan_to_num((features.numbers[rows] - fitted.mean) / fitted.sd)
    return features.matrix[rows][:, fitted.features] @ fitted.weights + numbers @ fitted.number_weights + fitted.bias


class _Calibration(NamedTuple):
    slope: float
    intercept: float
    loss: float


def _calibrate(margin: Floats, is_failure: Bools, weight: Floats) -> _Calibration:
    """Platt's sigmoid over held-out margins, with his softened targets, so that a perfect split stays finite.

    Source: Platt (1999).
    """
    from sklearn.linear_model import LogisticRegression

    target = np.where(is_failure, (is_failure.sum() + 1) / (is_failure.sum() + 2), 1 / (np.sum(~is_failure) + 2))
    doubled = np.concatenate([margin, margin])[:, None]
    model = LogisticRegression(C=1e6, max_iter=500)
    model.fit(
        doubled,
        np.repeat([True, False], len(margin)),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    slope, intercept = max(float(np.asarray(model.coef_)[0, 0]), 0.0), float(np.asarray(model.intercept_)[0])
    chance = np.clip(sigmoid(slope * margin + intercept), 1e-9, 1 - 1e-9)
    loss = -np.sum(weight * (target * np.log(chance) + (1 - target) * np.log(1 - chance)))
    return _Calibration(slope, intercept, round(float(loss), 9))


def _best_threshold(score: Floats, is_failure: Bools, weight: Floats) -> float:
    """The cut of held-out calibrated scores with the highest MCC; in the middle of the widest gap that gives it.

    Highest is the mean of the MCC that was seen and the one that the scores themselves promise: with ten failures
    the seen one alone jumps from cut to cut.
    """
    order = np.argsort(-score, kind="stable")
    ranked, w, y = score[order], weight[order], is_failure[order].astype(np.float64)
    agreement = (_mcc_of_cuts(w * y, w * (1 - y)) + _mcc_of_cuts(w * ranked, w * (1 - ranked))) / 2
    gap = ranked[:-1] - ranked[1:]
    is_cut = gap > 0
    if not is_cut.any():
        return 1.0
    best = np.flatnonzero(is_cut & (agreement[:-1] >= agreement[:-1][is_cut].max() - 1e-9))
    at = int(best[np.argmax(gap[best])])
    return rounded(float((ranked[at] + ranked[at + 1]) / 2))


def _mcc_of_cuts(positive: Floats, negative: Floats) -> Floats:
    """The MCC when all examples up to each place are flagged, given what each weighs as a failure and as none."""
    tp, fp = np.cumsum(positive), np.cumsum(negative)
    fn, tn = tp[-1] - tp, fp[-1] - fp
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(margins > 1e-12, (tp * tn - fp * fn) / np.sqrt(margins), -1.0)


def _stored(features: Features, fitted: _Weights, slope: float, intercept: float, threshold: float) -> Program:
    words: list[WordFeature] = []
    steps: list[StepFeature] = []
    for index, raw, share in zip(fitted.features.tolist(), fitted.weights.tolist(), fitted.share.tolist(), strict=True):
        field, what = features.names[index]
        if weight := rounded(raw):
            if isinstance(what, float):
                steps.append(StepFeature(field=field, value=what, weight=weight, share=round(share, 4)))
            else:
                words.append(WordFeature(field=field, words=what, weight=weight, share=round(share, 4)))
    numbers = [
        NumberFeature(field=field, mean=rounded(mean), sd=rounded(sd), weight=rounded(weight))
        for field, mean, sd, weight in zip(
            NUMBER_FIELDS, fitted.mean.tolist(), fitted.sd.tolist(), fitted.number_weights.tolist(), strict=True
        )
        if rounded(weight)
    ]
    return Program(
        words=tuple(words),
        steps=tuple(steps),
        numbers=tuple(numbers),
        bias=rounded(fitted.bias),
        slope=slope,
        intercept=intercept,
        threshold=threshold,
    )
