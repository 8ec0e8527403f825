"""Is one evaluator better than another? Both on the same examples, paired, whole groups resampled."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.run import run_evaluators
from evalpipe.generation.examples import Examples
from evalpipe.generation.flags import Flags
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.quality.intervals import cells_of, mcc_of_cells, resampled_sums
from evalpipe.settings import LlmSettings

Bools = NDArray[np.bool_]


class Comparison(NamedTuple):
    """Agreement of both with the labels on the examples that both could judge."""

    challenger_mcc: float | None
    incumbent_mcc: float | None
    probability_better: float  # that the challenger's is higher, over resampled groups
    n_examples: int


def incumbent_flags(incumbent: Artifact, examples: Examples, llm: LlmSettings) -> Flags:
    """What the incumbent says of each example without having seen it; not known where it cannot tell.

    Of a trace it was made from, its held-out prediction; of a later one, its verdict.
    """
    view = examples.view
    later = view.filter(~pl.col("trace_id").is_in(list(incumbent.held_out)))
    verdicts = run_evaluators([incumbent], later, llm=llm).filter(pl.col("outcome") != "fault")
    said = dict(verdicts.select("trace_id", pl.col("outcome") == "fail").iter_rows())
    known = {**said, **incumbent.held_out}
    return Flags.of([known.get(trace) for trace in examples.trace_ids])


def compare(examples: Examples, challenger: Flags, incumbent: Flags, *, seed: int) -> Comparison:
    """The challenger's held-out predictions against the incumbent's, where both are known."""
    both = challenger.is_known & incumbent.is_known
    if not both.any():
        return Comparison(None, None, 0.0, 0)
    is_failure, groups = examples.is_failure[both], np.asarray(examples.groups, dtype=str)[both]
    flags = (challenger.said[both], incumbent.said[both])
    cells = np.stack([cells_of(is_failure, said) for said in flags], axis=1)
    drawn = mcc_of_cells(resampled_sums(cells, groups, np.random.default_rng(seed)))
    # Undefined is no agreement shown: it neither beats nor loses to another undefined one.
    better = float(np.mean(np.nan_to_num(drawn[:, 0]) > np.nan_to_num(drawn[:, 1])))
    of_challenger, of_incumbent = (mcc(confusion(is_failure, said)) for said in flags)
    return Comparison(of_challenger, of_incumbent, better, int(both.sum()))
