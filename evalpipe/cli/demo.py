"""The demo from the command line."""

from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from evalpipe.cli.show import err, home_of, interval, out, show, tell


def demo(
    context: typer.Context,
    weeks: Annotated[
        int, typer.Option(min=1, max=12, help="Weeks of simulated traffic; from 9 on the whole story is told.")
    ] = 9,
) -> None:
    """The whole loop on simulated traffic, into an empty home; takes a few minutes.

    Failures appear, are read, become issues and get evaluators; a bad release is blocked, a good one fixes two of them;
    people's reading proves it; one comes back and is caught, the evaluator of the other outlives its use.

    Example: `evalpipe --home /tmp/tour demo`
    """
    from datetime import UTC, datetime

    from evalpipe.dagster_home import instance_of
    from evalpipe.walkthrough import default_plan, walk

    home = home_of(context)
    plan = default_plan(datetime.now(UTC).date(), weeks)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    n_steps = len(plan.weeks) * _STEPS_A_WEEK
    with (
        Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar,
        instance_of(home) as instance,
    ):
        task = bar.add_task("starting", total=n_steps)

        def announce(what: str) -> None:
            bar.update(task, description=what.ljust(48), advance=1)

        walked = walk(home, instance, plan, announce)
        bar.update(task, completed=n_steps)
    tell(f"{walked.n_traces} traces in {weeks} weeks, {walked.n_annotations} of them read by the scripted reviewer")
    _standing(home)
    _stories(home)
    for outcome, cases in ((walked.good, walked.good_cases), (walked.bad, walked.bad_cases)):
        verdict = f"{outcome.decision.decision}, exit code {outcome.decision.exit_code}"
        tell(f"\ngate on {cases.name}: {verdict}")
        for reason in outcome.decision.reasons:
            tell(f"  {reason}")
    tell(f"\nLook at  {home.coverage_report}")
    tell(f"         {home.artifacts / 'gates' / walked.bad.run['gate_id'][0] / 'gate.html'}")
    tell(f"Explore  evalpipe --home {home.root} up")
    tell(f"         evalpipe --home {home.root} gate --cases {walked.bad_cases}")


_STEPS_A_WEEK = 30  # the assets, some of them twice, traffic and the reviewer


def _stories(home) -> None:
    """What happened to the issues that a release was to fix, and what was retired."""
    import polars as pl

    from evalpipe.issues.replay import replay
    from evalpipe.issues.telling import LIFE, story
    from evalpipe.tables import EVALUATORS, ISSUE_EVENTS

    events = home.lake.read(ISSUE_EVENTS)
    claimed = set(events.filter(pl.col("kind") == "fix_claimed")["issue_id"])
    for issue in replay(events).values():
        if issue.issue_id in claimed:
            tell(f"\n{issue.name} ({issue.issue_id}) is {issue.state.replace('_', ' ')}:")
            for each in story(events, issue.issue_id):
                if each.kind in LIFE:
                    tell(f"  {each.at:%Y-%m-%d}  {each.what}")
    for row in home.lake.read(EVALUATORS, pl.col("status") == "retired").iter_rows(named=True):
        tell(f"\nretired on {row['created_at']:%Y-%m-%d}: the evaluator of {row['failure_mode']}: {row['reason']}")


def _standing(home) -> None:
    import polars as pl

    from evalpipe.generation.on_lake import evaluator_overview
    from evalpipe.tables import COVERAGE, ISSUES

    issues = home.lake.read(ISSUES).select("issue_id", "state", "n_failures")
    coverage = home.lake.read(COVERAGE).filter(pl.col("measured_at") == pl.col("measured_at").max())
    rows = (
        evaluator_overview(home.lake, home.settings)
        .join(issues, on="issue_id", how="left")
        .join(coverage.select("issue_id", "is_covered"), on="issue_id", how="left")
        .sort("n_failures", descending=True)
    )
    table = pl.DataFrame(
        [
            {
                "issue": row["failure_mode"],
                "state": row["state"],
                "failures": row["n_failures"],
                "evaluator": row["kind"] or "none",
                "status": row["status"],
                "held-out MCC": interval(row) if row["version"] else "–",
                "covered": "yes" if row["is_covered"] else "no",
            }
            for row in rows.iter_rows(named=True)
        ]
    )
    out.print()
    show(table, title="Issues and evaluators", as_json=False, empty="no issue was found")
    covered = coverage["is_covered"]
    if covered.len():
        tell(f"coverage: {int(covered.sum())} of {covered.len()} active issues")
