"""Which verdicts of before still hold, so that a day that is judged again costs no more than what is new on it.

A verdict holds for its evaluator's version as long as the trace looks as it did. Reading and writing is in on_lake.py,
which traces are drawn in sampling.py.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from evalpipe.evaluators.sampling import Bools, Floats
from evalpipe.evaluators.view import FEATURE_FIELDS

SEEN_AS = 1
"""Raise when what evaluators are shown of a trace, or how they judge it, changes: all is judged again."""

_OF_TRACE = (
    *("session_id", "turn_index", "service_name", "request", "response", "transcript", "n_spans", "n_tool_calls"),
    *("n_input_tokens", "n_output_tokens", "cost_usd", "duration_ns", "end_unix_ns", "status"),
)


class Standing(NamedTuple):
    """What one evaluator has to do with the traces of a day; arrays in their order."""

    is_kept: Bools  # it has judged the trace as it is
    is_due: Bools  # it has to judge it
    chance: Floats  # of its verdicts, kept or made


def trace_states(traces: pl.DataFrame, features: pl.DataFrame) -> pl.Series:
    """A hash of all that evaluators can see of each of the TRACES rows, in order; `features` are their TRACE_FEATURES.

    Stable within one version of polars. Where it differs for another reason than the trace, the trace is only judged
    again.
    """
    joined = traces.select("trace_id", *_OF_TRACE).join(
        features.select("trace_id", *(pl.col(name).alias(f"feature {name}") for name in FEATURE_FIELDS)),
        on="trace_id",
        how="left",
        maintain_order="left",
    )
    return joined.select(trace_state=pl.struct(pl.exclude("trace_id")).hash(SEEN_AS).reinterpret(signed=True))[
        "trace_state"
    ]


def standing_of(
    said: pl.DataFrame, states: pl.DataFrame, is_served: Bools, draw: Floats | None, chance: Floats
) -> Standing:
    """What holds of `said`, the VERDICTS rows of one version, and what it has to judge of the traces of the day.

    `states` are trace_id and trace_state of the traces; `is_served` tells which are of the evaluator's services,
    `draw` and `chance` what is drawn of them now (without a draw all are). A fault is tried again; a trace that looks
    otherwise than it did is a new one.

    A verdict that is kept has the larger of the chance it was made with and the chance its trace has now. Draws nest:
    where the rate has been raised, the trace is in the larger sample, with the larger chance; where it has been
    lowered, all traces of then were drawn at the higher rate and those that came since at the lower, so each has its
    own chance, and weighting by one over it stays unbiased without throwing away what was paid for.
    """
    before = said.select("trace_id", "outcome", "inclusion_probability", "trace_state")
    known = states.join(before, on=["trace_id", "trace_state"], how="left", maintain_order="left")
    had = known["inclusion_probability"].fill_null(0.0).to_numpy()
    is_fault = (known["outcome"] == "fault").fill_null(False).to_numpy()
    is_kept = known["outcome"].is_not_null().to_numpy() & ~is_fault & is_served
    is_drawn = np.ones(len(had), dtype=bool) if draw is None else draw < chance
    return Standing(is_kept, is_served & ~is_kept & (is_drawn | is_fault), np.maximum(had, chance))
