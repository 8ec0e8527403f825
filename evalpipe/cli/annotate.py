"""Annotate from the command line: the queue, annotations, issues."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from evalpipe.cli.show import AsJson, home_of, show, tell, warn, write_or_print

queue = typer.Typer(no_args_is_help=True, help="The traces that a reviewer should read this week, in order.")
annotations = typer.Typer(no_args_is_help=True, help="What people say of traces.")
issues = typer.Typer(no_args_is_help=True, help="Failure modes as issues, from first sighting to resolution.")

Cycle = Annotated[str | None, typer.Option(help="ISO week such as 2026-W47. Default: the newest with a queue.")]
Issue = Annotated[str, typer.Argument(help="Id or name of an issue, as evalpipe issues list shows it.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="File to write. Default: standard output.")]
Author = Annotated[str, typer.Option("--as", help="Who says so; it is kept with the issue.", envvar="USER")]
Why = Annotated[str, typer.Option(help="Why, in your words; it is kept with the issue.")]


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
    format: Annotated[str, typer.Option(help="csv, jsonl, labelstudio or argilla.")] = "csv",
    out: Out = None,
) -> None:
    """The queue as a file to fill in and import again.

    Example: `evalpipe queue export --out queue.csv`, fill in verdict and failure_mode, then
    `evalpipe annotations import queue.csv --annotator ana`
    """
    import polars as pl

    from evalpipe.review.exchange import export_queue as as_text
    from evalpipe.review.exchange import queue_rows
    from evalpipe.review.on_lake import queue_now
    from evalpipe.tables import TRACES

    home = home_of(context)
    home.require_traffic()
    queued = queue_now(home.lake, cycle)
    days = queued["day"].unique()
    rows = queue_rows(queued, home.lake.read(TRACES, pl.col("day").is_in(days.implode())))
    write_or_print(as_text(rows, format), out, f"a queue of {rows.height} unread traces")


@annotations.command("import")
def import_annotations(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="JSONL or CSV files with trace_id, verdict, failure_mode, ...")],
    annotator: Annotated[str | None, typer.Option(help="Who annotated, for rows that do not say.")] = None,
) -> None:
    """Take annotations in. Refused rows are reported by line and kept in `rejections` and inbox/rejected.

    Example: `evalpipe annotations import annotations.jsonl`
    """
    from datetime import UTC, datetime

    from evalpipe.errors import InputError
    from evalpipe.review.on_lake import deliver, take_in_annotations

    home = home_of(context)
    n_refused = 0
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is not a file. Give a .jsonl or .csv file of annotations")
        delivered = deliver(file, home.inbox)
        taken = take_in_annotations(
            home.lake, home.landing, home.inbox, delivered, datetime.now(UTC), default_annotator=annotator
        )
        n_refused += taken.rejections.height
        for row in taken.rejections.head(20).iter_rows(named=True):
            warn(f"refused: {file.name}, line {row['location']}: {row['reason']}")
        tell(f"{file.name}: {taken.rows.height} annotations are in, {taken.rejections.height} rows refused")
    tell("Next: evalpipe run")
    if n_refused:
        raise typer.Exit(2)


@annotations.command("export")
def export_annotations(
    context: typer.Context,
    format: Annotated[str, typer.Option(help="csv or jsonl.")] = "jsonl",
    out: Out = None,
) -> None:
    """Every annotation, as a file that `annotations import` reads."""
    from evalpipe.review.exchange import export_annotations as as_text
    from evalpipe.tables import ANNOTATIONS

    rows = home_of(context).lake.read(ANNOTATIONS)
    write_or_print(as_text(rows, format), out, f"{rows.height} annotations")


@issues.command("list")
def list_issues(context: typer.Context, as_json: AsJson = False) -> None:
    """Issues, the most frequent first."""
    from evalpipe.tables import ISSUES

    rows = home_of(context).lake.read(ISSUES).sort("n_failures", "issue_id", descending=[True, False])
    columns = ["issue_id", "name", "state", "flags", "services", "n_failures", "last_seen_at"]
    show(
        rows if as_json else rows.select(columns),
        title="Issues",
        as_json=as_json,
        empty="there is no issue yet: issues are born from annotations (evalpipe queue export)",
    )


@issues.command("show")
def show_issue(context: typer.Context, issue: Issue, as_json: AsJson = False) -> None:
    """Everything that happened to one issue."""
    import polars as pl

    from evalpipe.issues.lifecycle import find, replay
    from evalpipe.tables import ISSUE_EVENTS

    events = home_of(context).lake.read(ISSUE_EVENTS)
    found = find(replay(events), issue)
    rows = events.filter(pl.col("issue_id") == found.issue_id).sort("at", "event_id")
    show(rows.drop("event_id"), title=f"{found.issue_id} {found.name}", as_json=as_json, empty="nothing happened to it")


@issues.command("rename")
def rename(context: typer.Context, issue: Issue, name: str, author: Author = "unknown") -> None:
    """Give an issue a better name; annotations in the old words still belong to it."""
    from evalpipe.issues import lifecycle

    _decide(context, issue, lambda found, issues, **by: lifecycle.rename(found, name, issues=issues, **by), author)


@issues.command("merge")
def merge(context: typer.Context, issue: Issue, into: Issue, author: Author = "unknown") -> None:
    """Two names for one failure: annotations of the first count for the second from now on."""
    from evalpipe.issues import lifecycle

    _decide(
        context, issue, lambda found, issues, **by: lifecycle.merge(found, lifecycle.find(issues, into), **by), author
    )


@issues.command("resolve")
def resolve(context: typer.Context, issue: Issue, why: Why = "", author: Author = "unknown") -> None:
    """Say that it is fixed: its evaluator no longer blocks, and keeps watching."""
    from evalpipe.issues import lifecycle

    _decide(context, issue, lambda found, _, **by: lifecycle.resolve(found, **by), author, why)


@issues.command("reopen")
def reopen(context: typer.Context, issue: Issue, why: Why = "", author: Author = "unknown") -> None:
    """Say that it is back, or was never fixed."""
    from evalpipe.issues import lifecycle

    _decide(context, issue, lambda found, _, **by: lifecycle.reopen(found, **by), author, why)


@issues.command("ignore")
def ignore(context: typer.Context, issue: Issue, why: Why = "", author: Author = "unknown") -> None:
    """Stop working on it: no evaluator, no gate."""
    from evalpipe.issues import lifecycle

    _decide(context, issue, lambda found, _, **by: lifecycle.ignore(found, **by), author, why)


@issues.command("unignore")
def unignore(context: typer.Context, issue: Issue, why: Why = "", author: Author = "unknown") -> None:
    """Work on it again."""
    from evalpipe.issues import lifecycle

    _decide(context, issue, lambda found, _, **by: lifecycle.unignore(found, **by), author, why)


def _decide(
    context: typer.Context, issue: str, command: Callable[..., Any], author: str, why: str | None = None
) -> None:
    """Append the event that `command` makes of the issue, every issue, and who says so, when and why."""
    from datetime import UTC, datetime

    from evalpipe.issues.lifecycle import find, replay
    from evalpipe.tables import ISSUE_EVENTS

    home = home_of(context)
    issues = replay(home.lake.read(ISSUE_EVENTS))
    found = find(issues, issue)
    evidence = {"why": why} if why else None
    event = command(found, issues, author=author, now=datetime.now(UTC), evidence=evidence)
    home.lake.append_new(ISSUE_EVENTS, event)
    tell(f"{found.issue_id} {found.name}: {event['kind'][0]}. Next: evalpipe run")
