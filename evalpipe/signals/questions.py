"""What an answer asks the user for although the user had said it: an order number, an address, a name.

What users ask is measured in requests.py. How people ask, and in which form they give it, are data in phrases/.
"""

from functools import cache
from typing import get_args

import polars as pl

from evalpipe.signals.answers import new_answers
from evalpipe.signals.phrases import (
    MAX_CONTENT,
    AskedKind,
    comparable,
    evidence_lists,
    holds_phrase,
    phrase_data,
    phrase_frame,
)


def question_features(messages: pl.DataFrame, answers: pl.DataFrame | None = None) -> pl.DataFrame:
    """What the answers of today among `messages` (messages.py) ask for again; one row a trace that does.

    n_asked_again: sentences that ask for something of a kind which stands in an earlier message of the user, in this
    trace or before it in its session; asked_again, what they ask for; evidence, the question and what was given.
    A question that names what it asks about, or wants it checked, asks for nothing new. `answers` are what
    `new_answers` found, where that is known.
    """
    given = _given(messages)
    questions = (
        _questions(new_answers(messages) if answers is None else answers)
        .join(messages.select("trace_id", "step", "session_key", "position"), on=["trace_id", "step"])
        .join(given, on=["session_key", "kind"])
        .filter(pl.col("position") > pl.col("position_given"))
        .sort("position", "position_given", "kind")
        .unique(["trace_id", "step", "text"], keep="first", maintain_order=True)
    )
    is_here = pl.col("trace_id_given") == pl.col("trace_id")
    before = questions.filter(is_here).select("trace_id", step="step_given", text="text_given")
    evidence = pl.concat([questions.select("trace_id", "step", "text"), before]).with_columns(
        signal=pl.lit("asked_again")
    )
    return (
        questions.group_by("trace_id", maintain_order=True)
        .agg(
            n_asked_again=pl.len().cast(pl.Int64),
            asked_again=pl.col("phrases").list.explode().unique(maintain_order=True),
        )
        .join(evidence_lists(evidence), on="trace_id", how="left", maintain_order="left")
    )


def _questions(answers: pl.DataFrame) -> pl.DataFrame:
    """trace_id, step, text (the sentence), kind (of what it asks for), phrases."""
    named = phrase_frame(answers, *get_args(AskedKind)).with_columns(words=comparable(pl.col("text")))
    is_asking = pl.col("text").str.contains("[?？]") | holds_phrase(pl.col("words"), "asking")
    is_checking = pl.col("text").str.contains(r"\d|@") | holds_phrase(pl.col("words"), "checking")
    return named.filter(is_asking & ~is_checking).drop("words")


def _given(messages: pl.DataFrame) -> pl.DataFrame:
    """session_key, kind, and where it was first given: trace_id_given, step_given, position_given, text_given."""
    said = messages.filter(pl.col("role") == "user").select(
        *("session_key", "trace_id", "step", "position"), text=pl.col("content").str.head(MAX_CONTENT)
    )
    forms = [
        said.select(
            "session_key",
            pl.col("trace_id", "step", "position").name.suffix("_given"),
            kind=pl.lit(kind),
            text_given=pl.col("text").str.extract(form),
        ).filter(pl.col("text_given").is_not_null())
        for kind, form in _forms().items()
    ]
    return pl.concat(forms).sort("position_given").unique(["session_key", "kind"], keep="first", maintain_order=True)


@cache
def _forms() -> dict[str, str]:
    """For each kind the pattern of what gives it."""
    return {f"asked/{kind}": f"({'|'.join(forms)})" for kind, forms in phrase_data("given").items()}
