"""The `evalpipe` command: its global options, its commands in the order of the loop, its exit codes."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from evalpipe.cli import annotate, demo, generate, iterate, observe
from evalpipe.cli.gate import gate
from evalpipe.cli.issues import issues
from evalpipe.cli.reviewers import reviewers
from evalpipe.errors import EvalpipeError
from evalpipe.extras import missing_part

app = typer.Typer(
    name="evalpipe",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Production traces of an AI application become evaluators that gate its next deployment.\n\n"
    "Begin with `evalpipe demo`, or with your own traces: `evalpipe ingest traces.jsonl`, `evalpipe run`, "
    "`evalpipe queue export`.\n\nExit codes: 0 done, 1 the answer is no, 2 bad input or could not decide.",
)


@app.callback()
def _options(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="Folder of all data. Default: EVALPIPE_HOME, else ./data.", show_default=False)
    ] = None,
) -> None:
    context.obj = home


app.command()(demo.demo)
app.command()(observe.up)
app.command()(observe.serve)
app.command()(observe.ingest)
app.command()(observe.run)
app.add_typer(annotate.queue, name="queue")
app.add_typer(reviewers, name="reviewers")
app.add_typer(annotate.annotations, name="annotations")
app.add_typer(issues, name="issues")
app.command()(generate.generate)
app.add_typer(generate.evaluators, name="evaluators")
app.command()(generate.prune)
app.command()(gate)
app.add_typer(iterate.cases, name="cases")
app.command()(iterate.coverage)
app.command()(iterate.report)
app.command()(iterate.backtest)
app.command()(observe.maintain)


def main() -> None:
    """The console script. An EvalpipeError becomes one line and its exit code, and so does a part that is not
    installed; anything else is a bug, and is shown.
    """
    # Nothing leaves the machine: these are read when dagster, litellm and dspy are first imported.
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        app()
    except EvalpipeError as error:
        print(f"evalpipe: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        words = missing_part(error, "this command", is_portable="--suite" in sys.argv)
        if words is None:
            raise
        print(f"evalpipe: {words}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # The reader of a pipe, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
