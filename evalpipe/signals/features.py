"""What can be counted in a trace and its session: the parts of this room that count, as one row a trace.

Nothing here knows what is usual (usual.py) or gives a score (anomaly.py).
"""

import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import polars as pl

from evalpipe.ids import content_hash
from evalpipe.signals.answers import answer_features, new_answers
from evalpipe.signals.claims import claim_features
from evalpipe.signals.messages import message_frame, session_key
from evalpipe.signals.questions import question_features
from evalpipe.signals.requests import request_features, request_frame
from evalpipe.signals.sources import source_features
from evalpipe.signals.tools import tool_features
from evalpipe.tables import TRACE_FEATURES

_N_HEX = 13  # of the hash that draws: 52 bits, which a Float64 holds exactly
_ABSENT = {  # what a trace without such messages has; what is not here is then unknown
    **dict.fromkeys(("n_user_messages", "n_user_words", "n_new_requests", "n_complaints", "n_refusals"), 0),
    **dict.fromkeys(("n_repeats", "n_ignored_errors", "n_claims", "n_unbacked_claims", "n_asked_again"), 0),
    "n_times_asked": 1,
    "is_left_unanswered": False,
}
_LISTS = ("complaints", "hedges", "refusals", "calls", "repeated", "unbacked_claims", "asked_again")


class _Read(NamedTuple):
    """What the parts count from, found once for all of them."""

    messages: pl.DataFrame
    requests: pl.DataFrame
    answers: pl.DataFrame
    numbers: Collection[str] | None  # the columns asked for; None: all

    @classmethod
    def of(cls, messages: pl.DataFrame, numbers: Collection[str] | None) -> "_Read":
        requests = request_frame(messages)
        return cls(messages, requests, new_answers(messages, requests), numbers)


_NUMBERS_OF: Mapping[Callable[[_Read], pl.DataFrame], frozenset[str]] = {
    lambda read: request_features(read.messages, read.requests): frozenset(
        {"similarity", "n_times_asked", "n_complaints", "is_left_unanswered", "n_turns"}  # n_turns counts requests
    ),
    lambda read: answer_features(read.messages, read.answers, numbers=read.numbers): frozenset(
        {"hedges_per_100_words", "n_refusals", "is_cut_off", "broken_output", "language_mismatch"}
    ),
    lambda read: claim_features(read.messages, read.answers): frozenset({"n_claims", "n_unbacked_claims"}),
    lambda read: question_features(read.messages, read.answers): frozenset({"n_asked_again"}),
    lambda read: tool_features(read.messages): frozenset({"n_repeats", "n_ignored_errors"}),
    lambda read: source_features(read.messages): frozenset({"unsupported", "n_unsupported_numbers"}),
}
"""The parts, and the columns of TRACE_FEATURES that each has to be asked for."""

NUMBERS: frozenset[str] = frozenset({"session_s", "context_growth", "is_error"}).union(*_NUMBERS_OF.values())
"""The columns of TRACE_FEATURES that can be counted by themselves."""


def feature_frame(
    today: pl.DataFrame, earlier: pl.DataFrame, *, numbers: Collection[str] | None = None
) -> pl.DataFrame:
    """TRACE_FEATURES of the TRACES rows `today`, sorted by `draw`, so that a sample of a day is read from its front.

    `earlier` are traces before them of the same sessions and users: they make a session longer and a request a second
    one, and get no row. With `numbers` there are only these columns, of NUMBERS, beside trace_id; what they do not need
    is not counted.
    """
    asked = [part for part, own in _NUMBERS_OF.items() if numbers is None or not own.isdisjoint(numbers)]
    parts: list[pl.DataFrame] = []
    if asked:
        read = _Read.of(message_frame(today, earlier), numbers)
        # Many of the steps of a part use one core; polars lets go of the interpreter while it works.
        with ThreadPoolExecutor(min(len(asked), os.cpu_count() or 1)) as pool:
            parts = list(pool.map(lambda part: part(read), asked))
    features = _sizes(today)
    evidence = []
    for number, part in enumerate(parts):
        evidence.append(pl.col(f"evidence_{number}").fill_null([]))
        features = features.join(part.rename({"evidence": f"evidence_{number}"}), on="trace_id", how="left")
    absent = {name: value for name, value in _ABSENT.items() if name in features.columns}
    features = features.with_columns(pl.col(name).fill_null(value) for name, value in absent.items())
    so_far = [each for each in _session_so_far() if numbers is None or each.meta.output_name() in numbers]
    features = (
        features.join(_sessions(today, earlier), on="session_key", how="left")
        .sort("session_key", "start_unix_ns", "trace_id")
        .with_columns(so_far)
        .sort("draw", "trace_id")
    )
    if numbers is not None:
        return features.select("trace_id", *numbers)
    return TRACE_FEATURES.conform(
        features.with_columns(*(pl.col(name).fill_null([]) for name in _LISTS), evidence=pl.concat_list(evidence))
    )


def _sizes(traces: pl.DataFrame) -> pl.DataFrame:
    has_tokens = pl.any_horizontal(pl.col("n_input_tokens", "n_output_tokens").is_not_null())
    sizes = traces.select(
        "trace_id",
        "day",
        "session_id",
        "service_name",
        "service_version",
        "start_unix_ns",
        "end_unix_ns",
        "turn_index",
        "n_tool_calls",
        "cost_usd",
        "defects",
        session_key=session_key(),
        n_tokens=pl.when(has_tokens).then(pl.sum_horizontal("n_input_tokens", "n_output_tokens")),
        duration_s=pl.col("duration_ns") / 1e9,
        context=_context(),
        is_error=pl.col("status") == "error",
    )
    keys = sizes["session_key"].unique()
    # A content hash, and not that of polars: it is the same in every version and on every machine.
    draws = [int(content_hash(key.encode(), _N_HEX), 16) / 16**_N_HEX for key in keys]
    return sizes.join(
        pl.DataFrame({"session_key": keys, "draw": draws}, {"session_key": pl.String, "draw": pl.Float64}),
        on="session_key",
    )


def _sessions(today: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Of each session of today: its first start, the context it began with, and its traces before today."""
    past = earlier.join(today.select("trace_id"), on="trace_id", how="anti")
    columns = ["session_id", "trace_id", "start_unix_ns", "n_input_tokens", "n_llm_calls"]
    traces = [
        frame.select(*columns, is_earlier=pl.lit(is_earlier)) for frame, is_earlier in ((today, False), (past, True))
    ]
    return (
        pl.concat(traces)
        .sort("start_unix_ns", "trace_id")
        .group_by(session_key=session_key())
        .agg(
            session_start=pl.col("start_unix_ns").first(),
            first_context=_context().first(),
            n_earlier=pl.col("is_earlier").sum(),
        )
    )


def _context() -> pl.Expr:
    """Input tokens a model call: how much of the conversation is sent each time."""
    return pl.col("n_input_tokens") / pl.col("n_llm_calls").clip(lower_bound=1)


def _session_so_far() -> list[pl.Expr]:
    n_asked = pl.col("n_new_requests").clip(lower_bound=1).cum_sum().over("session_key")
    return [
        pl.max_horizontal(pl.col("turn_index").fill_null(0) + 1, pl.col("n_earlier") + n_asked).alias("n_turns"),
        ((pl.col("end_unix_ns") - pl.col("session_start")) / 1e9).clip(lower_bound=0).alias("session_s"),
        pl.when(pl.col("first_context") > 0).then(pl.col("context") / pl.col("first_context")).alias("context_growth"),
    ]
