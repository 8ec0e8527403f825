"""What an evaluator may ask of a trace: the columns of the trace view, and numbers of its session and its language.

The former (traces/view.py) come from the trace alone, the latter from TRACE_FEATURES, which the pipeline counts once
a day with the earlier turns of the session at hand. What evaluators make of them is in the other files of this room.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from evalpipe.signals.features import feature_frame
from evalpipe.tables import TRACE_FEATURES, TRACES
from evalpipe.traces.view import NUMBER_MEANINGS as TRACE_MEANINGS
from evalpipe.traces.view import TEXT_FIELDS, TEXT_MEANINGS, view_frame

__all__ = ["FEATURE_FIELDS", "NUMBER_FIELDS", "NUMBER_MEANINGS", "TEXT_FIELDS", "TEXT_MEANINGS", "evaluator_view"]

_FEATURE_MEANINGS: Mapping[str, str] = {
    "n_turns": "turns of the session so far",
    "session_s": "seconds since the session began",
    "context_growth": "input tokens of a model call, as a multiple of those at the start of the session",
    "similarity": "similarity of a request to the nearest earlier one",
    "n_times_asked": "times the most repeated request was asked",
    "n_complaints": "complaints and corrections of the user",
    "is_left_unanswered": "1 when the last user message is left without an answer, else 0",
    "hedges_per_100_words": "hedging phrases per 100 words of the answers",
    "n_refusals": "sentences of the answers that refuse or deflect",
    "is_cut_off": "1 when the final answer stops in the middle, else 0",
    "broken_output": "how broken the final answer is, from 0 (whole) to 1 (empty)",
    "language_mismatch": "share of the answer in another language than the request's",
    "n_repeats": "times the same call or cycle of calls is made in a row",
    "n_ignored_errors": "failed tool calls that nothing was done about",
    "n_claims": "sentences of the answers that claim to have done something",
    "n_unbacked_claims": "claims to have done what no successful tool call could have done",
    "n_asked_again": "questions for what the user had given before",
    "unsupported": "share of the final answer's content words found in none of its sources",
    "n_unsupported_numbers": "numbers in the final answer found in none of its sources",
    "is_error": "1 when the application reported an error, else 0",
}

FEATURE_FIELDS: tuple[str, ...] = tuple(_FEATURE_MEANINGS)
"""The number fields that are counted with the session at hand: columns of TRACE_FEATURES."""

NUMBER_MEANINGS: Mapping[str, str] = {**TRACE_MEANINGS, **_FEATURE_MEANINGS}
"""Each number field in words, for explanations."""

NUMBER_FIELDS: tuple[str, ...] = tuple(NUMBER_MEANINGS)
"""Float64, null where the question makes no sense (the novelty of an answer that was never given)."""


def needs_features(fields: Collection[str] | None) -> bool:
    """Whether a view of these columns, None for all, has any that are counted with the session at hand."""
    return fields is None or not _FEATURE_MEANINGS.keys().isdisjoint(fields)


def evaluator_view(
    traces: pl.DataFrame, features: pl.DataFrame | None = None, *, fields: Collection[str] | None = None
) -> pl.DataFrame:
    """The columns that evaluators judge, of TRACES rows: the same rows in the same order.

    `features` are TRACE_FEATURES rows of any traces; for those that it lacks the numbers are counted here, as if
    nothing had gone before in their sessions. `fields` are the columns asked for (run.fields_of says what a suite
    asks for), None all of them; what is not asked for is absent, so that an evaluator that asks for it after all
    faults instead of reading a null. trace_id, session_id, service_name, day and transcript are always there.
    """
    wanted = [name for name in _FEATURE_MEANINGS if fields is None or name in fields]
    if not wanted:
        return view_frame(traces, fields=fields)
    known = TRACE_FEATURES.empty() if features is None else features
    lacking = traces.join(known, on="trace_id", how="anti").unique("trace_id")
    # Side by side: polars lets go of the interpreter while it works, and many of its steps use one core.
    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(feature_frame, lacking, TRACES.empty(), numbers=wanted)
        view = view_frame(traces, fields=fields)
        counted = counting.result()
    numbers = pl.concat(frame.select("trace_id", pl.col(wanted).cast(pl.Float64)) for frame in (known, counted)).unique(
        "trace_id", keep="first"
    )
    joined = view.join(numbers, on="trace_id", how="left", maintain_order="left")
    return joined.select(pl.exclude("transcript"), "transcript")
