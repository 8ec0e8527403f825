"""Traces of an invented support agent in which a failure mode is planted, with the labels of a reviewer who knows it.

Half of the others are hard: they share one half of what makes the failure.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from evalpipe.ids import content_hash
from evalpipe.tables import LABELS, TRACES

NOW = datetime(2026, 1, 5, tzinfo=UTC)
ISSUE = "iss_planted"

_NAMES = [
    "Ada",
    "Bo",
    "Cleo",
    "Dara",
    "Emil",
    "Fay",
    "Gus",
    "Hana",
    "Ivo",
    "June",
    "Karl",
    "Lea",
    "Milo",
    "Nora",
    "Otto",
    "Pia",
    "Quinn",
    "Rosa",
    "Sven",
    "Tara",
]
_GOODS = [
    "lamp",
    "kettle",
    "jacket",
    "phone",
    "chair",
    "desk",
    "camera",
    "watch",
    "printer",
    "tent",
    "bicycle",
    "carpet",
    "mixer",
    "guitar",
    "mirror",
]
_CITIES = [
    "Oslo",
    "Rome",
    "Lyon",
    "Graz",
    "Bern",
    "Cork",
    "Turin",
    "Porto",
    "Bergen",
    "Malmo",
    "Leeds",
    "Ghent",
    "Split",
    "Gdansk",
    "Tartu",
]
_REASONS = [
    "it arrived late",
    "the box was open",
    "it makes a strange noise",
    "the colour is off",
    "a part is missing",
    "I chose wrongly",
    "it does not switch on",
    "the size is wrong",
    "my neighbour got it",
    "it smells of smoke",
    "I found it cheaper elsewhere",
]
_ASIDES = [
    "I am in a hurry today",
    "my dog is barking so be quick",
    "this is for my sister",
    "we are moving soon",
    "I like your shop",
    "the website was slow",
    "I wrote last month too",
    "it was a birthday present",
    "the courier was kind",
    "I paid by card",
    "my phone is nearly empty",
    "I read the manual twice",
    "the weather is awful",
    "I can send a photo",
]
_CLOSINGS = [
    "Is there anything else I can do for you?",
    "Have a good day.",
    "Let me know if that helps.",
    "Happy to help further.",
    "Please tell me how it goes.",
    "We appreciate your patience.",
    "Thank you for writing to us.",
    "Enjoy your week.",
]
_RUDE = [
    "that is your own fault",
    "stop wasting my time",
    "anyone can see that",
    "learn to read",
    "do not be ridiculous",
    "calm down already",
    "how hard can it be",
    "I already told you that",
]
_FIRM = [
    "that is not covered",
    "I cannot change this",
    "the deadline has passed",
    "we do not ship there",
    "this is the final price",
    "I am not able to do so",
]

Message = dict[str, object]


class Planted(NamedTuple):
    """TRACES and LABELS rows of one issue."""

    traces: pl.DataFrame
    labels: pl.DataFrame


class _Trace:
    """One conversation under construction."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.order = f"A{rng.integers(10_000, 99_999)}"
        self.good = self.pick(_GOODS)
        self.messages: list[Message] = []

    def pick(self, options: list[str]) -> str:
        return str(options[int(self.rng.integers(len(options)))])

    def say(self, role: str, text: str) -> None:
        self.messages.append({"role": role, "content": text, "tool": None, "is_error": False})

    def call(self, tool: str, result: str = "done", *, arguments: str | None = None, is_error: bool = False) -> None:
        own = arguments if arguments is not None else f'{{"order": "{self.order}"}}'
        self.messages.append({"role": "tool_call", "content": own, "tool": tool, "is_error": False})
        self.messages.append({"role": "tool_result", "content": result, "tool": tool, "is_error": is_error})

    def open(self) -> None:
        self.say(
            "user",
            f"Hello, {self.pick(_NAMES)} here from {self.pick(_CITIES)}. My {self.good} {self.order}: "
            f"{self.pick(_REASONS)}. {self.pick(_ASIDES)}.",
        )
        self.call(
            "get_order", f"order {self.order} {self.good} to {self.pick(_CITIES)}", is_error=self.rng.random() < 0.1
        )
        if self.rng.random() < 0.4:
            self.say(
                "assistant", f"I see the {self.good}. {self.pick(_FIRM) if self.rng.random() < 0.3 else 'One moment'}."
            )
            self.say("user", f"{self.pick(_ASIDES)}, and {self.pick(_REASONS)}.")
        if self.rng.random() < 0.5:
            self.call("get_shipping", f"parcel in {self.pick(_CITIES)}")

    def close(self, text: str) -> None:
        self.say("assistant", f"{self.pick(_NAMES)}, {text}. {self.pick(_CLOSINGS)}")


def _ordering(trace: _Trace, is_failure: bool) -> None:
    """Refunds before checking the policy; the others check first, or do one of the two alone."""
    steps = ["issue_refund", "check_policy"] if is_failure else ["check_policy", "issue_refund"]
    if not is_failure and trace.rng.random() < 0.5:
        steps = [trace.pick(steps)]
    for step in steps:
        trace.call(step)
    trace.close(f"your {trace.good} is being handled")


def _loop(trace: _Trace, is_failure: bool) -> None:
    """Makes the same search four times or more; the others search as often, each time for something else."""
    n = int(trace.rng.integers(4, 7)) if is_failure or trace.rng.random() < 0.5 else 1
    for i in range(n):
        query = trace.good if is_failure else f"{trace.good} {trace.pick(_CITIES)} {i}"
        trace.call("search_catalog", "nothing found", arguments=f'{{"query": "{query}"}}')
    trace.close(f"I looked for the {trace.good}")


def _claim(trace: _Trace, is_failure: bool) -> None:
    """Says it was refunded, and no refund was made; the others refund it, or say nothing of the kind."""
    claims = is_failure or trace.rng.random() < 0.5
    if (claims and not is_failure) or (not claims and trace.rng.random() < 0.3):
        trace.call("issue_refund")
    done = ["I have refunded your order", "your money has been refunded", "the amount was refunded to your card"]
    trace.close(trace.pick(done) if claims else f"a colleague will look at the {trace.good}")


def _repeat(trace: _Trace, is_failure: bool) -> None:
    """The user must ask again in nearly the same words; the others go on to something else."""
    question = f"when will my {trace.good} reach {trace.pick(_CITIES)} if {trace.pick(_REASONS)}"
    trace.say("user", question + "?")
    trace.say("assistant", f"Our shop is in {trace.pick(_CITIES)}.")
    if is_failure:
        trace.say("user", f"Again: {question}?")
    elif trace.rng.random() < 0.5:
        trace.say("user", f"And {trace.pick(_ASIDES)}, but {trace.pick(_REASONS)}?")
    trace.close(f"the {trace.good} is on its way")


def _two_arms(trace: _Trace, is_failure: bool) -> None:
    """Closes the account, or cancels although the payment failed; the others do one harmless half of it."""
    arm = int(trace.rng.integers(2))
    if is_failure and arm:
        trace.call("close_account")
    elif is_failure or trace.rng.random() < 0.5:
        trace.call("take_payment", "declined" if is_failure else "paid", is_error=is_failure)
        trace.call("cancel_order")
    elif trace.rng.random() < 0.5:
        trace.call("take_payment", "declined", is_error=True)
    trace.close(f"your {trace.good} is settled")


def _rude(trace: _Trace, is_failure: bool) -> None:
    """One of many rude phrases; half of the others are as firm, and polite."""
    firm = trace.pick(_RUDE) if is_failure else trace.pick(_FIRM)
    trace.close(f"{firm}" if is_failure or trace.rng.random() < 0.5 else f"the {trace.good} is fine")


MODES: dict[str, Callable[[_Trace, bool], None]] = {
    "ordering": _ordering,
    "loop": _loop,
    "claim": _claim,
    "repeat": _repeat,
    "two_arms": _two_arms,
    "rude": _rude,
}


def planted(mode: str, n_failures: int, n_others: int, seed: int) -> Planted:
    """`n_failures` traces with the mode and `n_others` without, in an order that tells nothing."""
    rng = np.random.default_rng([seed, *mode.encode()])
    truth = rng.permutation(np.arange(n_failures + n_others) < n_failures)
    rows = []
    for i, is_failure in enumerate(truth.tolist()):
        trace = _Trace(rng)
        trace.open()
        MODES[mode](trace, is_failure)
        rows.append(_row(content_hash([mode, seed, i], 32), trace.messages, int(rng.integers(1, 60)) * 10**9))
    traces = TRACES.conform(pl.DataFrame(rows, schema_overrides={"transcript": TRACES.schema["transcript"]}))
    return Planted(traces, labels_of(traces, truth.tolist()))


def labels_of(traces: pl.DataFrame, is_failure: list[bool]) -> pl.DataFrame:
    """LABELS rows of the one issue."""
    return LABELS.conform(
        traces.select(
            "trace_id",
            "day",
            "session_id",
            "service_name",
            issue_id=pl.lit(ISSUE),
            is_failure=pl.Series(is_failure, dtype=pl.Boolean),
            weight=pl.lit(1.0),
            n_annotators=pl.lit(1),
            is_disputed=pl.lit(False),
            labelled_at=pl.lit(NOW),
            sources=pl.lit(["human"]),
        )
    )


def _row(trace_id: str, messages: list[Message], duration_ns: int) -> dict[str, object]:
    said = {role: [m["content"] for m in messages if m["role"] == role] for role in ("user", "assistant")}
    calls = [m for m in messages if m["role"] == "tool_result"]
    return {
        "trace_id": trace_id,
        "day": date(2026, 1, 1),
        "session_id": f"session-{trace_id[:12]}",
        "service_name": "support",
        "name": "chat",
        "request": said["user"][0],
        "response": said["assistant"][-1],
        "transcript": messages,
        "n_spans": 1 + len(calls),
        "n_llm_calls": len(said["assistant"]),
        "n_tool_calls": len(calls),
        "n_tool_errors": sum(bool(m["is_error"]) for m in calls),
        "n_user_messages": len(said["user"]),
        "duration_ns": duration_ns,
        "start_unix_ns": 0,
        "end_unix_ns": duration_ns,
        "status": "ok",
        "is_complete": True,
        "defects": [],
    }
