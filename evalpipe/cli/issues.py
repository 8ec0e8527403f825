"""Issues from the command line: failure modes from first sighting to resolution, merged and split by people."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from evalpipe.cli.show import AsJson, home_of, show, tell

issues = typer.Typer(no_args_is_help=True, help="Failure modes as issues, from first sighting to resolution.")

Issue = Annotated[str, typer.Argument(help="Id or name of an issue, as evalpipe issues list shows it.")]
Author = Annotated[str, typer.Option("--as", help="Who says so; it is kept with the issue.", envvar="USER")]
Why = Annotated[str, typer.Option(help="Why, in your words; it is kept with the issue.")]


@issues.command("list")
def list_issues(context: typer.Context, as_json: AsJson = False) -> None:
    """Issues, the most frequent first."""
    from evalpipe.tables import ISSUES

    rows = home_of(context).lake.read(ISSUES).sort("n_failures", "issue_id", descending=[True, False])
    columns = ["issue_id", "name", "state", "flags", "severity", "services", "n_failures", "last_seen_at"]
    show(
        rows if as_json else rows.select(columns),
        title="Issues",
        as_json=as_json,
        empty="there is no issue yet: issues are born from annotations (evalpipe queue export)",
    )


@issues.command("show")
def show_issue(context: typer.Context, issue: Issue, as_json: AsJson = False) -> None:
    """Everything that happened to one issue, and what a fix of it still has to show."""
    import polars as pl

    from evalpipe.issues.decisions import find
    from evalpipe.issues.replay import replay
    from evalpipe.issues.telling import story
    from evalpipe.tables import ISSUE_EVENTS, VERIFICATIONS

    lake = home_of(context).lake
    events = lake.read(ISSUE_EVENTS)
    found = find(replay(events), issue)
    rows = events.filter(pl.col("issue_id") == found.issue_id).sort("at", "event_id").drop("event_id")
    told = pl.DataFrame(story(events, found.issue_id)).select("at", "kind", "author", "what")
    title = f"{found.issue_id} {found.name}: {found.state}"
    show(rows if as_json else told, title=title, as_json=as_json, empty="nothing happened to it")
    fix = lake.read(VERIFICATIONS, pl.col("issue_id") == found.issue_id)
    if not as_json and fix.height:
        said = fix.row(0, named=True)
        tell(f"{said['finding'].replace('_', ' ')}: {said['reason']}")


@issues.command("rename")
def rename(context: typer.Context, issue: Issue, name: str, author: Author = "unknown") -> None:
    """Give an issue a better name; annotations in the old words still belong to it."""
    from evalpipe.issues import decisions

    _decide(context, issue, lambda found, issues, **by: decisions.rename(found, name, issues=issues, **by), author)


@issues.command("merge")
def merge(context: typer.Context, issue: Issue, into: Issue, author: Author = "unknown") -> None:
    """Two names for one failure: annotations of the first count for the second from now on."""
    from evalpipe.issues import decisions

    _decide(
        context, issue, lambda found, issues, **by: decisions.merge(found, decisions.find(issues, into), **by), author
    )


@issues.command("severity")
def severity(
    context: typer.Context,
    issue: Issue,
    severity: Annotated[str, typer.Argument(help="critical, major or minor.")],
    why: Why = "",
    author: Author = "unknown",
) -> None:
    """Say how bad one occurrence is: issues stand in order of harm, and of a critical one all traffic is judged."""
    from evalpipe.issues import decisions

    _decide(context, issue, lambda found, _, **by: decisions.rate(found, severity, **by), author, why)


@issues.command("fixed")
def fixed(
    context: typer.Context,
    issue: Issue,
    release: Annotated[
        str | None, typer.Option("--in", help="service.version with the fix. Default: the next that is seen.")
    ] = None,
    why: Why = "",
    author: Author = "unknown",
) -> None:
    """Say that it is fixed. Traffic of that release, and people who read some of it, then have to prove it.

    Example: `evalpipe issues fixed "invented policy" --in 1.4.0`
    """
    from evalpipe.issues import decisions

    _decide(context, issue, lambda found, _, **by: decisions.claim_fix(found, release, **by), author, why)


@issues.command("not-fixed")
def not_fixed(context: typer.Context, issue: Issue, why: Why = "", author: Author = "unknown") -> None:
    """Take back that it is fixed."""
    from evalpipe.issues import decisions

    _decide(context, issue, lambda found, _, **by: decisions.withdraw_fix(found, **by), author, why)


@issues.command("resolve")
def resolve(context: typer.Context, issue: Issue, why: Why = "", author: Author = "unknown") -> None:
    """Answer for it that it is solved, without verification: its evaluator no longer blocks, and keeps watching."""
    from evalpipe.issues import decisions

    _decide(context, issue, lambda found, _, **by: decisions.resolve(found, **by), author, why)


@issues.command("reopen")
def reopen(context: typer.Context, issue: Issue, why: Why = "", author: Author = "unknown") -> None:
    """Say that it is back, or was never fixed."""
    from evalpipe.issues import decisions

    _decide(context, issue, lambda found, _, **by: decisions.reopen(found, **by), author, why)


@issues.command("ignore")
def ignore(context: typer.Context, issue: Issue, why: Why = "", author: Author = "unknown") -> None:
    """Stop working on it: no evaluator, no gate."""
    from evalpipe.issues import decisions

    _decide(context, issue, lambda found, _, **by: decisions.ignore(found, **by), author, why)


@issues.command("unignore")
def unignore(context: typer.Context, issue: Issue, why: Why = "", author: Author = "unknown") -> None:
    """Work on it again."""
    from evalpipe.issues import decisions

    _decide(context, issue, lambda found, _, **by: decisions.unignore(found, **by), author, why)


@issues.command("proposals")
def proposals(context: typer.Context, as_json: AsJson = False) -> None:
    """Issues that seem to be one failure in different words, for you to merge or to keep apart."""
    from evalpipe.tables import ISSUE_PROPOSALS

    rows = home_of(context).lake.read(ISSUE_PROPOSALS).sort("similarity", descending=True)
    columns = ["issue_id", "name", "into_issue_id", "into_name", "similarity", "shared_words", "reason"]
    show(
        rows if as_json else rows.select(columns),
        title="Proposed merges",
        as_json=as_json,
        empty="no two issues seem to be one failure",
    )


@issues.command("keep-apart")
def keep_apart(context: typer.Context, issue: Issue, other: Issue, why: Why = "", author: Author = "unknown") -> None:
    """Say that two issues are different failures: their merge is not proposed again."""
    from evalpipe.issues import decisions

    _decide(
        context,
        issue,
        lambda found, issues, **by: decisions.keep_apart(found, decisions.find(issues, other), **by),
        author,
        why,
    )


@issues.command("split")
def split(
    context: typer.Context,
    issue: Issue,
    modes: Annotated[list[str], typer.Argument(help="Failure modes of the issue, as people wrote them.")],
    author: Author = "unknown",
) -> None:
    """Take failure modes out of an issue into one of their own; also undoes a merge.

    Example: `evalpipe issues split "wrong refund" "refund to the wrong card"`
    """
    from evalpipe.issues import decisions

    _decide(context, issue, lambda found, issues, **by: decisions.split(found, modes, issues=issues, **by), author)


def _decide(
    context: typer.Context, issue: str, command: Callable[..., Any], author: str, why: str | None = None
) -> None:
    """Append the event that `command` makes of the issue, every issue, and who says so, when and why."""
    from datetime import UTC, datetime

    from evalpipe.issues.on_lake import decide

    evidence = {"why": why} if why else None
    lake = home_of(context).lake
    decided = decide(lake, issue, command, author=author, now=datetime.now(UTC), evidence=evidence)
    into = f" into {decided.evidence['into']}" if "into" in decided.evidence else ""
    tell(f"{decided.issue.issue_id} {decided.issue.name}: {decided.kind}{into}. Next: evalpipe run")
