"""A gate as one HTML page that needs nothing else: no script, no font, no request.

Everything in it may be the text of a stranger: the template escapes, and what is marked is made in conversation.py.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.advice import change_in_words, next_steps
from evalpipe.gate.render.cells import WORDS, after_the_word
from evalpipe.gate.render.failing import blocking_first, failing
from evalpipe.gate.render.links import Links
from evalpipe.gate.render.plain import short

if TYPE_CHECKING:
    from jinja2 import Environment

    from evalpipe.gate.render.conversation import Conversation

_MAX_CASES = 20  # of an evaluator, as conversations; of one that does not block, a quarter
_MAX_CHARS = 1_500_000  # of all conversations together: a page of some 3 MB, which a browser opens at once
_MAX_RELEASES = 10  # of the history, with this gate
_MAX_REFUSED = 50
_SIGNS = {"passed": "✓", "failed": "✕", "abstained": "?", "skipped": "–"}
_TONES = {"passed": "good", "failed": "bad", "abstained": "warn", "skipped": "idle"}
_DECISIONS = {"pass": "passed", "block": "failed", "abstain": "abstained"}


class _Case(NamedTuple):
    case_id: str
    line: int | None
    asked: str
    explanation: str
    is_counted: bool
    talk: "Conversation | None"  # None where the page has no room left


class _Failing(NamedTuple):
    result: EvaluatorResult
    cases: list[_Case]
    n_failing: int


class _Cell(NamedTuple):
    outcome: str
    rate: float | None
    said: str


class _Gate(NamedTuple):
    """A column of the history."""

    name: str
    decided_at: Any
    is_this: bool
    decision: str


def gate_page(outcome: GateOutcome, *, links: Links | None = None, confidence: float = 0.95) -> str:
    """The page.

    `confidence` is that of the intervals. Of each evaluator that blocks at most 20 failing cases are shown as
    conversations, of another at most 5, and 1.5 million characters of them together.
    """
    gates, rows = _history(outcome)
    return (
        _environment()
        .get_template("gate.html")
        .render(
            run=outcome.run.row(0, named=True),
            decision=outcome.decision,
            word=WORDS[outcome.decision.decision],
            tone=_TONES[_DECISIONS[outcome.decision.decision]],
            steps=next_steps(outcome),
            ordered=blocking_first(outcome),
            failing=_failing(outcome),
            refused=outcome.refused[:_MAX_REFUSED],
            n_refused=len(outcome.refused),
            gates=gates,
            history=rows,
            links=links or Links(),
            confidence=confidence,
            signs=_SIGNS,
            tones=_TONES,
            limits={"cases": _MAX_CASES, "others": _MAX_CASES // 4, "chars": _MAX_CHARS},
        )
    )


def _failing(outcome: GateOutcome) -> list[_Failing]:
    from evalpipe.gate.render.conversation import conversation

    found = [
        (result, cases)
        for result in blocking_first(outcome)
        if (cases := failing(outcome, result)).height and result.role != "skipped"
    ]
    shown = {result.run.evaluator_id: _MAX_CASES if result.is_blocking else _MAX_CASES // 4 for result, _ in found}
    wanted = [case_id for result, cases in found for case_id in cases.head(shown[result.run.evaluator_id])["case_id"]]
    traces = outcome.traces.filter(pl.col("trace_id").is_in(wanted)).select("trace_id", "transcript", "request")
    trace_of = {row["trace_id"]: row for row in traces.iter_rows(named=True)}
    n_left = _MAX_CHARS
    sections = []
    for result, cases in found:
        made = []
        for row in cases.head(shown[result.run.evaluator_id]).iter_rows(named=True):
            trace = trace_of[row["case_id"]]
            talk = None
            if n_left > 0:
                talk = conversation(trace["transcript"] or [], row["explanation"], result.run.kind)
                n_left -= talk.n_chars
            made.append(
                _Case(
                    row["case_id"],
                    row["line"],
                    _asked(trace),
                    short(row["explanation"]),
                    row["is_counted"],
                    talk,
                )
            )
        sections.append(_Failing(result, made, cases.height))
    return sections


def _asked(trace: dict[str, Any]) -> str:
    """What the user said last, on one line."""
    said = [message["content"] for message in trace["transcript"] or [] if message["role"] == "user"]
    line = " ".join(((said[-1] if said else trace["request"]) or "")[:600].split())
    return line if len(line) <= 140 else line[:139] + "…"


def _history(outcome: GateOutcome) -> tuple[list[_Gate], list[tuple[EvaluatorResult, list[_Cell | None]]]]:
    """The last gate of each of the last releases, oldest first, this one last; a row for each evaluator of today."""
    runs, results, _ = outcome.history
    this = outcome.run.select("gate_id", "decided_at", "release", "decision")
    same = pl.col("gate_id") == outcome.gate_id
    if outcome.run["release"][0] is not None:
        same |= pl.col("release") == outcome.run["release"][0]
    before = (
        runs.select(this.columns)
        .filter(~same.fill_null(False), pl.col("decided_at") <= this["decided_at"][0])
        .sort("decided_at", "gate_id")
        .unique(pl.coalesce("release", "gate_id"), keep="last", maintain_order=True)
        .tail(_MAX_RELEASES - 1)
    )
    gates = [
        _Gate(
            row["release"] or "unnamed",
            row["decided_at"],
            row["gate_id"] == outcome.gate_id,
            _DECISIONS[row["decision"]],
        )
        for row in [*before.iter_rows(named=True), *this.iter_rows(named=True)]
    ]
    said = pl.concat([results.filter(pl.col("gate_id").is_in(before["gate_id"].to_list())), outcome.results])
    cells = {
        (row["evaluator_id"], row["gate_id"]): _Cell(row["outcome"], row["pass_rate"], row["reason"])
        for row in said.iter_rows(named=True)
    }
    ids = [*before["gate_id"], outcome.gate_id]
    ordered = blocking_first(outcome)
    return gates, [(one, [cells.get((one.run.evaluator_id, gate_id)) for gate_id in ids]) for one in ordered]


@cache
def _environment() -> "Environment":
    from evalpipe.pages import shown, templates

    filters = {
        "percent": _percent,
        "whole": _whole,
        "two": _two,
        "change": change_in_words,
        "shown": shown,
        "code": _code,
        "after_the_word": after_the_word,
    }
    return templates("evalpipe.gate.render", "templates", filters)


def _percent(share: float | None) -> str:
    """One decimal; never rounded to all or nothing."""
    if share is None:
        return "–"
    rounded = f"{share:.1%}"
    return {"100.0%": "99.9%", "0.0%": "0.1%"}.get(rounded, rounded) if 0 < share < 1 else f"{share:.0%}"


def _whole(share: float) -> str:
    return f"{share:.0%}"


def _two(figure: float | None) -> str:
    return "undefined" if figure is None else f"{figure:.2f}".replace("-", "\u2212")


def _code(text: str) -> Any:
    """What stands in backquotes as code; the rest as `shown`."""
    from markupsafe import Markup

    from evalpipe.pages import shown

    parts = [shown(part) for part in text.split("`")]
    return Markup().join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))
