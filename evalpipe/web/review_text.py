"""Text of traces as it stands on the review pages: escaped, its evidence marked, queues and signals in words.

Everything a trace holds was written by strangers. Nothing of it becomes a tag, an address or a style: pages.shown.
"""

from collections.abc import Sequence

from markupsafe import Markup

from evalpipe.pages import shown
from evalpipe.review.desk.desk import Mark

LABELS = {
    "session_length": "long conversation",
    "token_excess": "more text than the task needs",
    "latency": "slow",
    "cost": "expensive",
    "resubmission": "asked again",
    "tool_deviation": "unusual use of tools",
    "repetition": "same call repeated",
    "ignored_error": "error ignored",
    "hedging": "unsure wording",
    "refusal": "refusal",
    "unsupported": "no source for it",
    "broken_output": "broken answer",
    "frustration": "unhappy user",
    "language_mismatch": "another language",
    "incomplete": "incomplete record",
    "unbacked_claim": "says it did what no call did",
    "asked_again": "asks for what it was told",
    "control": "random sample",
    "uncertainty": "evaluators unsure",
    "verification": "checks a fix",
}
"""What each queue and signal is called before people who read traces, not tables."""


def label(signal: str) -> str:
    """A queue or signal in words."""
    return LABELS.get(signal, signal.replace("_", " "))


def marked(text: str, marks: Sequence[Mark]) -> Markup:
    """`text` as `shown`, with its `marks` (ascending, without overlap) as <mark>, which keys can go to."""
    html, at = Markup(), 0
    for mark in marks:
        html += shown(text[at : mark.start])
        html += Markup('<mark tabindex="-1" data-signal="{}" data-label="{}">{}</mark>').format(
            mark.signal, label(mark.signal), shown(text[mark.start : mark.end])
        )
        at = mark.end
    return html + shown(text[at:])


def emphasised(text: str, places: Sequence[tuple[int, int]]) -> Markup:
    """`text` as `shown`, with these places (ascending, without overlap) as <b class="shared">."""
    html, at = Markup(), 0
    for start, end in places:
        html += shown(text[at:start]) + Markup('<b class="shared">{}</b>').format(shown(text[start:end]))
        at = end
    return html + shown(text[at:])


def first_line(text: str | None, n_characters: int = 160) -> str:
    """The beginning of `text` on one line; '' for none."""
    line = " ".join((text or "")[: 4 * n_characters].split())
    return line if len(line) <= n_characters else line[: n_characters - 1] + "…"
