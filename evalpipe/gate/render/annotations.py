"""A gate's failing cases as GitHub workflow commands: lines that a job prints and GitHub shows as annotations.

Source: docs.github.com/actions/reference/workflow-commands-for-github-actions, "Setting an error message"; the
escapes are those of the toolkit (actions/toolkit, packages/core/src/command.ts).
"""

from collections.abc import Iterator
from typing import NamedTuple

from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.failing import blocking_first, failing, reasons_without_evaluator
from evalpipe.gate.render.plain import plain_terminal, short

_MAX_OF_A_LEVEL = 10  # GitHub shows so many errors, and so many warnings, of one step


class _Told(NamedTuple):
    message: str
    title: str
    line: int | None = None


def annotations(outcome: GateOutcome, *, cases_file: str | None = None) -> str:
    """Lines to print: at most 10 errors and 10 warnings, of which the last says how many there are besides.

    Errors are what blocks: each evaluator once with its reason, then its cases in turn, so that each is seen. Warnings
    are the decision's. `cases_file`, a path relative to the repository, is where a case stands. Empty where the
    release may ship without a warning.
    """
    lines = [
        *_lines("error", list(_errors(outcome)), cases_file),
        *_lines("warning", [_Told(said, "evalpipe gate") for said in outcome.decision.warnings], cases_file),
    ]
    return "".join(f"{line}\n" for line in lines)


def _errors(outcome: GateOutcome) -> Iterator[_Told]:
    if outcome.decision.decision == "abstain":
        yield _Told(outcome.decision.headline, "evalpipe gate could not decide")
    for reason in reasons_without_evaluator(outcome):
        yield _Told(reason, "evalpipe gate")
    blocking = [result for result in blocking_first(outcome) if result.is_blocking]
    yield from (_Told(result.reason, result.run.failure_mode) for result in blocking)
    cases = [failing(outcome, result).filter("is_counted").to_dicts() for result in blocking]
    for place in range(max((len(rows) for rows in cases), default=0)):
        for result, rows in zip(blocking, cases, strict=True):
            if place < len(rows):
                row = rows[place]
                yield _Told(f"{row['case_id']}: {short(row['explanation'])}", result.run.failure_mode, row["line"])


def _lines(level: str, told: list[_Told], cases_file: str | None) -> Iterator[str]:
    shown = told if len(told) <= _MAX_OF_A_LEVEL else told[: _MAX_OF_A_LEVEL - 1]
    for one in shown:
        place = {"file": cases_file, "line": str(one.line)} if cases_file and one.line is not None else {}
        properties = ",".join(f"{name}={_property(value)}" for name, value in {**place, "title": one.title}.items())
        yield f"::{level} {properties}::{_data(one.message)}"
    if len(told) > len(shown):
        rest = f"{len(told) - len(shown)} more are in the summary of this gate"
        yield f"::{level} title=evalpipe gate::{rest}"


def _data(text: str) -> str:
    """A message: on one line, and with its own signs of a command as text."""
    return plain_terminal(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
