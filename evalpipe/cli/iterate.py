"""Iterate from the command line: the cases that CI replays, the coverage report, the backtest."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from evalpipe.cli.show import AsJson, home_of, progress, show, tell, write_or_print

cases = typer.Typer(no_args_is_help=True, help="Regression inputs for CI.")

File = Path | None
CaseFormat = Literal["jsonl", "promptfoo", "inspect", "deepeval"]


@cases.command("export")
def export_cases(
    context: typer.Context,
    out_file: Annotated[File, typer.Option("--out", "-o", help="File. Default: standard output.")] = None,
    issues: Annotated[
        list[str] | None, typer.Option("--issue", help="Of this issue; may be repeated. Default: all open or solved.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Per issue at most so many failures, near misses and controls each.")
    ] = None,
    form: Annotated[CaseFormat, typer.Option("--format", help="What reads them.")] = "jsonl",
) -> None:
    """The inputs that CI replays against a new release: per issue annotated failures, near misses, healthy controls.

    Example: `evalpipe cases export --out cases.jsonl`, answer each input with the new release, put the answer into
    `output`, then `evalpipe gate --cases cases.jsonl`
    """
    from evalpipe.gate.exchange import FORMATS
    from evalpipe.gate.on_lake import regression_cases

    found = regression_cases(home_of(context).lake, issues or (), limit=limit)
    write_or_print(FORMATS[form](found), out_file, f"{len(found)} cases")


def coverage(context: typer.Context, as_json: AsJson = False) -> None:
    """Which issues an evaluator watches for, the most harmful first, and what each of the others lacks.

    As it was measured last: `evalpipe run` measures it again.
    """
    from evalpipe.quality.coverage import coverage_figures, latest_coverage
    from evalpipe.tables import COVERAGE

    rows = latest_coverage(home_of(context).lake.read(COVERAGE))
    figures = coverage_figures(rows)
    if as_json:
        print(json.dumps(figures._asdict() | {"issues": rows.to_dicts()}, default=str, ensure_ascii=False))
        return
    if figures.n_active:
        shares = (figures.issue_share, figures.occurrence_share, figures.traffic_share)
        of_issues, of_failures, of_traffic = ("unknown" if s is None else f"{s:.0%}" for s in shares)
        tell(
            f"{figures.n_covered} of {figures.n_active} issues are covered: {figures.n_blocking} may block a release, "
            f"{figures.n_monitoring} only monitored"
        )
        tell(f"by issues {of_issues}, by annotated failures {of_failures}, by failing traffic {of_traffic}")
    shown = rows.select("name", "severity", "harm", "prevalence", "status", "mcc", "lacks")
    show(shown, title="Coverage", as_json=False, empty="nothing is measured yet: evalpipe run")


def report(context: typer.Context) -> None:
    """Write the coverage report from the tables as they are; prints its path."""
    from datetime import UTC, datetime

    from evalpipe.plan import WHOLE, expected
    from evalpipe.report.on_lake import write_coverage_report

    home = home_of(context)
    home.require_traffic()
    now = datetime.now(UTC)
    made_from = expected(home, "coverage_report", now).get(WHOLE, 0)
    written = write_coverage_report(home.lake, home.coverage_report, home.settings, made_from=made_from, now=now)
    tell(str(written.path))


def backtest(
    context: typer.Context,
    first: Annotated[
        datetime, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DAY", help="First day; its whole week counts.")
    ],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], metavar="DAY", help="Last day.")],
    as_json: AsJson = False,
) -> None:
    """When would each regression have been caught, by which evaluator, with which false alarms?

    Replays history week by week with only what was known then; writes a page and prints its path.

    Example: `evalpipe backtest --from 2026-03-02 --to 2026-05-03`
    """
    import polars as pl

    from evalpipe.backtest.on_lake import backtest as replay
    from evalpipe.files import write_whole
    from evalpipe.report.backtest import backtest_page, headline

    home = home_of(context)
    with progress() as bar:
        task = bar.add_task("weeks of traffic", total=None)
        found = replay(
            home.lake,
            first.date(),
            last.date(),
            home.settings,
            progress=lambda n, total: bar.update(task, completed=n, total=total),
        )
    path = home.reports / f"backtest-{found.backtest_id}.html"
    write_whole(path, backtest_page(**found._asdict(), settings=home.settings))
    if as_json:
        answer = found._asdict() | {"page": str(path), "rows": found.rows.to_dicts()}
        print(json.dumps(answer, default=str, ensure_ascii=False))
        return
    tell(headline(found.rows, found.n_compared))
    show(
        found.rows.select(
            pl.col("issue_name").alias("issue"),
            "release",
            pl.col("regressed_at", "caught_at").dt.strftime("%Y-%m-%d %H:%M").name.map(lambda name: name[:-3]),
            pl.col("caught_by").alias("by"),
            "role",
            pl.col("delay_days").alias("days"),
            pl.col("delay_traces").alias("traces"),
            "reason",
        ),
        title="Backtest",
        as_json=False,
        empty="nothing regressed, as far as is known, and there was no alarm",
    )
    tell(str(path))
