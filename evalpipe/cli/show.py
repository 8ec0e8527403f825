"""How the command line shows frames, progress and answers: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import polars as pl

    from evalpipe.home import Home

AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for programs.")]

_piped_width = None if sys.stdout.isatty() else 140  # a pipe has no width; 80 columns would break every id
out = Console(width=_piped_width)
err = Console(stderr=True, width=None if sys.stderr.isatty() else 1_000)  # a log takes whole lines


def home_of(context: typer.Context) -> "Home":
    """The home that --home names."""
    from evalpipe.home import Home

    return Home.open(context.find_root().obj)


def show(frame: "pl.DataFrame", *, title: str, as_json: bool, empty: str) -> None:
    """A frame as a table, or as a JSON array of objects; `empty` says what to do when there are no rows."""
    if as_json:
        print(json.dumps(frame.to_dicts(), default=str, ensure_ascii=False))
    elif frame.is_empty():
        out.print(empty, style="dim")
    else:
        table = Table(title=title, title_justify="left", header_style="bold")
        for name, dtype in frame.schema.items():
            table.add_column(name, justify="right" if dtype.is_numeric() else "left", overflow="fold")
        for row in frame.iter_rows():
            table.add_row(*(Text(_cell(value)) for value in row))
        out.print(table)


def tell(message: str) -> None:
    """One line of result. Text from traces is never read as markup."""
    out.print(Text(message))


def whisper(message: str) -> None:
    """One line beside the result, on standard error."""
    err.print(Text(message, style="dim"))


def warn(message: str) -> None:
    """One line on standard error."""
    err.print(Text(message, style="yellow"))


def write_or_print(text: str, path: Path | None, what: str) -> None:
    """Write `text` to `path` and say so; without a path, to standard output."""
    if path is None:
        print(text, end="" if text.endswith("\n") else "\n")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        tell(f"wrote {what} to {path}")


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress bar on standard error, gone when it is done; a log is spared it."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        yield bar


def interval(row: dict[str, Any], figure: str = "mcc") -> str:
    """'0.82 [0.61, 0.93]', or 'undefined'."""
    if row.get(figure) is None:
        return "undefined"
    lower, upper = row.get(f"{figure}_lower"), row.get(f"{figure}_upper")
    bounds = f" [{lower:.2f}, {upper:.2f}]" if lower is not None and upper is not None else ""
    return f"{row[figure]:.2f}{bounds}"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)
