"""Traces of the planted support agent that claims refunds, with what a reviewer said of each: what a judge that knows
no more than its instruction can only learn from the notes.

Failures claim a refund that no tool made. Of the others some made the refund that they claim, some only explain the
policy, some have nothing to do with refunds.
"""

from typing import NamedTuple

import polars as pl

from evalpipe.generation.examples import Examples, examples_for
from evalpipe.settings import GenerationSettings
from evalpipe.tables import TRACES
from evalpipe_tests.generation.planted import planted

ISSUE_NAME = "says it did something that it did not do"
_POLICY = "our policy is that a refund takes five days"
_ELSEWHERE = "a colleague will look at the"


class Claims(NamedTuple):
    """Examples, and the reviewers' notes by trace_id."""

    examples: Examples
    notes: dict[str, str]


def claims(n_failures: int, n_others: int, seed: int) -> Claims:
    """Examples with so many failures; a reviewer has written a note on each."""
    made = planted("claim", n_failures, n_others, seed)
    transcripts = made.traces["transcript"].to_list()
    for i, transcript in enumerate(transcripts):
        if i % 2 and _ELSEWHERE in transcript[-1]["content"]:
            transcript[-1]["content"] = _POLICY
    traces = made.traces.with_columns(pl.Series("transcript", transcripts, dtype=TRACES.schema["transcript"]))
    is_failure = made.labels["is_failure"].to_list()
    notes = {
        trace_id: _note(transcript, failed)
        for trace_id, transcript, failed in zip(traces["trace_id"], transcripts, is_failure, strict=True)
    }
    return Claims(examples_for(made.labels, traces, GenerationSettings()), notes)


def _note(transcript: list[dict], failed: bool) -> str:
    last = transcript[-1]["content"]
    if failed:
        return "It says that the money was refunded, but the tool was never called."
    if last == _POLICY:
        return "Fine: it only explains the policy."
    return "Fine, this refund was made." if "refunded" in last else "Fine."
