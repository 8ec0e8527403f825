"""A gate for a terminal."""

from typing import TYPE_CHECKING

from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.cells import cells
from evalpipe.gate.render.plain import plain_terminal

if TYPE_CHECKING:
    from rich.console import Group


def terminal(outcome: GateOutcome) -> "Group":
    """The decision for a terminal: print it with a rich console. Control characters of strangers do not reach it."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    decision = outcome.decision
    colour = {"pass": "green", "block": "red", "abstain": "yellow"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Failure mode", "Role", "Outcome", "Pass rate", "Before", "Cases", "MCC", "Issue"):
        table.add_column(title, justify="right" if title in ("Pass rate", "Before", "Cases", "MCC") else "left")
    styles = {"failed": "red", "abstained": "yellow", "passed": "green", "skipped": "dim"}
    for result in decision.results:
        texts = [plain_terminal(cell) for cell in cells(result)]
        style = styles[result.outcome]
        table.add_row(*(Text(cell, style if cell == result.outcome else "") for cell in texts))
    reasons = [Text(f"x {plain_terminal(reason)}", "red") for reason in decision.blocking_reasons]
    reasons += [Text(f"! {plain_terminal(reason)}", "yellow") for reason in decision.warnings]
    headline = Text(plain_terminal(decision.headline), f"bold {colour[decision.decision]}")
    return Group(
        *([table, Text()] if decision.results else []), *(Padding(line, (0, 0, 0, 2)) for line in reasons), headline
    )


def terminal_text(outcome: GateOutcome, *, width: int, is_coloured: bool) -> str:
    """The same as text, for who writes to a terminal in another way."""
    from io import StringIO

    from rich.console import Console

    text = StringIO()
    console = Console(file=text, width=width, force_terminal=is_coloured, no_color=not is_coloured)
    console.print(terminal(outcome))
    return text.getvalue()
