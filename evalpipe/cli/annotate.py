"""Annotate from the command line: the queue and what people say of it. Issues are in issues.py."""

from pathlib import Path
from typing import Annotated

import typer

from evalpipe.cli.show import AsJson, home_of, show, tell, warn, write_or_print

queue = typer.Typer(no_args_is_help=True, help="The traces that a reviewer should read this week, in order.")
annotations = typer.Typer(no_args_is_help=True, help="What people say of traces.")

Cycle = Annotated[str | None, typer.Option(help="ISO week such as 2026-W47. Default: the newest with a queue.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="File to write. Default: standard output.")]


@queue.command("build")
def build(context: typer.Context) -> None:
    """Build the queues whose traffic changed, and what they rest on."""
    from evalpipe.cli.observe import run

    run(
        context,
        only=["raw_otlp", "spans", "traces", "sessions", "trace_features", "trace_signals", "verdicts", "candidates"],
    )


@queue.command("list")
def list_queue(context: typer.Context, cycle: Cycle = None, as_json: AsJson = False) -> None:
    """The queue in reading order, with why each trace is in it."""
    from evalpipe.review.on_lake import queue_now

    home = home_of(context)
    home.require_traffic()
    rows = queue_now(home.lake, cycle)
    columns = ["rank", "trace_id", "service_name", "arm", "queue", "status", "reasons"]
    show(
        rows if as_json else rows.select(columns),
        title="Review queue",
        as_json=as_json,
        empty="the queue is empty: evalpipe run builds it from what was ingested",
    )


@queue.command("export")
def export_queue(
    context: typer.Context,
    cycle: Cycle = None,
    format: Annotated[str, typer.Option(help="csv, jsonl, labelstudio, argilla or langfuse.")] = "csv",
    out: Out = None,
) -> None:
    """The queue as a file to fill in and import again.

    Example: `evalpipe queue export --out queue.csv`, fill in verdict and failure_mode, then
    `evalpipe annotations import queue.csv --annotator ana`
    """
    import polars as pl

    from evalpipe.review.exchange.text import export_queue as as_text
    from evalpipe.review.exchange.text import queue_rows
    from evalpipe.review.on_lake import queue_now
    from evalpipe.tables import TRACES

    home = home_of(context)
    home.require_traffic()
    queued = queue_now(home.lake, cycle)
    days = queued["day"].unique()
    rows = queue_rows(queued, home.lake.read(TRACES, pl.col("day").is_in(days.implode())))
    write_or_print(as_text(rows, format), out, f"a queue of {rows.height} unread traces")


@queue.command("labelstudio-config")
def labelstudio_config() -> None:
    """The labelling interface for Label Studio, to which `queue export --format labelstudio` fits."""
    from evalpipe.review.exchange.text import LABEL_STUDIO_CONFIG

    print(LABEL_STUDIO_CONFIG, end="")


@queue.command("yield")
def queue_yield(context: typer.Context, as_json: AsJson = False) -> None:
    """What reading found, week by week: failures per arm, and how many times more than in traces drawn at random."""
    from evalpipe.tables import QUEUE_YIELD

    show(
        home_of(context).lake.read(QUEUE_YIELD).drop("confidence"),
        title="Yield of the queues",
        as_json=as_json,
        empty="nothing was read yet: evalpipe queue list",
    )


@annotations.command("agreement")
def agreement(context: typer.Context, as_json: AsJson = False) -> None:
    """How far people agree on traces that two of them read, and what an evaluator could reach at best."""
    from evalpipe.tables import AGREEMENT

    show(
        home_of(context).lake.read(AGREEMENT).drop("confidence"),
        title="Agreement between reviewers",
        as_json=as_json,
        empty="nothing was read twice yet: name two reviewers in reviewers.yaml",
    )


@annotations.command("import")
def import_annotations(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="CSV, JSON lines, or exports of other tools.")],
    annotator: Annotated[str | None, typer.Option(help="Who annotated, for rows that do not say.")] = None,
) -> None:
    """Take annotations in. Refused rows are reported by line and kept in `rejections` and inbox/rejected.

    A CSV or JSON-lines file has trace_id, verdict, failure_mode and more; exports of Label Studio, Argilla, Langfuse
    and Phoenix are known by what is in them.

    Example: `evalpipe annotations import annotations.jsonl`
    """
    from datetime import UTC, datetime

    from evalpipe.errors import InputError
    from evalpipe.review.on_lake import deliver, take_in_annotations

    home = home_of(context)
    n_refused = 0
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is not a file. Give a CSV or JSON-lines file, or an export of an annotation tool")
        delivered = deliver(file, home.inbox)
        taken = take_in_annotations(
            home.lake, home.landing, home.inbox, delivered, datetime.now(UTC), default_annotator=annotator
        )
        n_refused += taken.rejections.height
        for row in taken.rejections.head(20).iter_rows(named=True):
            where = f"line {row['location']}" if row["location"][0].isdigit() else row["location"]
            warn(f"refused: {file.name}, {where}: {row['reason']}")
        tell(f"{file.name}: {taken.rows.height} annotations are in, {taken.rejections.height} rows refused")
    tell("Next: evalpipe run")
    if n_refused:
        raise typer.Exit(2)


@annotations.command("export")
def export_annotations(
    context: typer.Context,
    format: Annotated[str, typer.Option(help="csv, jsonl, labelstudio, argilla, langfuse or phoenix.")] = "jsonl",
    out: Out = None,
) -> None:
    """Every annotation, as a file that `annotations import` reads."""
    from evalpipe.review.exchange.text import export_annotations as as_text
    from evalpipe.tables import ANNOTATIONS

    rows = home_of(context).lake.read(ANNOTATIONS)
    write_or_print(as_text(rows, format), out, f"{rows.height} annotations")
