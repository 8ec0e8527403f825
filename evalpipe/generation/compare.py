"""Is a challenger better than the incumbent? Both on the same examples, paired, whole groups resampled."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.run import run_evaluators
from evalpipe.generation.examples import Examples
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.settings import LlmSettings

Bools = NDArray[np.bool_]

_N_DRAWS = 2_000


class Comparison(NamedTuple):
    """Agreement of both with the labels on the examples that both could judge."""

    challenger_mcc: float | None
    incumbent_mcc: float | None
    probability_better: float  # that the challenger's is higher, over resampled groups
    n_examples: int


def incumbent_flags(incumbent: Artifact, examples: Examples) -> list[bool | None]:
    """What the incumbent says of each example without having seen it; None where it cannot tell.

    Of a trace it was made from, its held-out prediction; of a later one, its verdict.
    """
    view = examples.view
    later = view.filter(~pl.col("trace_id").is_in(list(incumbent.held_out)))
    verdicts = run_evaluators([incumbent], later, llm=LlmSettings()).filter(pl.col("outcome") != "fault")
    said = dict(verdicts.select("trace_id", pl.col("outcome") == "fail").iter_rows())
    known = {**said, **incumbent.held_out}
    return [known.get(trace) for trace in examples.trace_ids]


def compare(examples: Examples, challenger: Bools, incumbent: Sequence[bool | None], *, seed: int) -> Comparison:
    """Challenger's held-out predictions against the incumbent's, where both exist."""
    both = np.array([flag is not None for flag in incumbent], dtype=bool)
    is_failure = examples.is_failure[both]
    flags = (challenger[both], np.array([flag for flag in incumbent if flag is not None], dtype=bool))
    _, group = np.unique(np.asarray(examples.groups, dtype=str)[both], return_inverse=True)
    n_groups = int(group.max(initial=-1)) + 1
    if n_groups == 0:
        return Comparison(None, None, 0.0, 0)
    generator = np.random.default_rng(seed)
    times_drawn = generator.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=_N_DRAWS)
    drawn = [_drawn_mcc(is_failure, flag, group, times_drawn) for flag in flags]
    # Undefined is no agreement shown: it neither beats nor loses to another undefined one.
    better = float(np.mean(np.nan_to_num(drawn[0]) > np.nan_to_num(drawn[1])))
    return Comparison(
        mcc(confusion(is_failure, flags[0])), mcc(confusion(is_failure, flags[1])), better, int(both.sum())
    )


def _drawn_mcc(
    is_failure: Bools, flag: Bools, group: NDArray[np.int64], times_drawn: NDArray[np.int64]
) -> NDArray[np.float64]:
    cells = np.stack([is_failure & flag, ~is_failure & flag, ~is_failure & ~flag, is_failure & ~flag], axis=1)
    per_group = np.zeros((times_drawn.shape[1], 4))
    np.add.at(per_group, group, cells.astype(np.float64))
    tp, fp, tn, fn = (times_drawn @ per_group).T
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(margins > 0, (tp * tn - fp * fn) / np.sqrt(margins), np.nan)
