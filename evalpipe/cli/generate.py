"""Generate from the command line: regenerate evaluators, look at them, run one."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from evalpipe.cli.show import AsJson, home_of, interval, progress, show, tell

evaluators = typer.Typer(no_args_is_help=True, help="The generated checks: one per issue, in versions.")

EvaluatorId = Annotated[str, typer.Argument(help="Id of an evaluator, such as ev_1f0c2b9a77.")]


def generate(
    context: typer.Context,
    issue_ids: Annotated[list[str] | None, typer.Argument(help="Issues; default: those whose labels changed.")] = None,
) -> None:
    """Regenerate evaluators now, also when few labels changed.

    Examples: `evalpipe generate`, `evalpipe generate iss_3f2a9c1b44`
    """
    import polars as pl

    from evalpipe.dagster_home import instance_of
    from evalpipe.errors import StateError
    from evalpipe.materialise import materialise
    from evalpipe.plan import due_issues
    from evalpipe.tables import EVALUATORS, ISSUES

    home = home_of(context)
    home.require_traffic()
    known = home.lake.read(ISSUES)["issue_id"].to_list()
    if unknown := sorted(set(issue_ids or ()) - set(known)):
        raise StateError(f"there is no issue {', '.join(unknown)}. Run: evalpipe issues list")
    asked = issue_ids or [due.issue_id for due in due_issues(home)]
    if not asked:
        tell("no issue gained enough labels since its evaluator was generated; name issues to generate them anyway")
        return
    before = home.lake.read(EVALUATORS).select("evaluator_id", "version")
    with progress() as bar, instance_of(home) as instance:
        task = bar.add_task("generating", total=len(asked))
        for issue_id in asked:
            bar.update(task, description=f"generating {issue_id}")
            materialise(home, instance, "evaluators", [issue_id])
            bar.advance(task)
    new = home.lake.read(EVALUATORS, pl.col("issue_id").is_in(asked)).join(
        before, on=["evaluator_id", "version"], how="anti"
    )
    for row in new.iter_rows(named=True):
        tell(f"{row['evaluator_id']} version {row['version']}, {row['kind']}, {row['status']}: {row['reason']}")
    if n_kept := len(set(asked) - set(new["issue_id"])):
        tell(f"{n_kept} issues keep what they had; evalpipe evaluators list says what each is worth")


@evaluators.command("list")
def list_evaluators(context: typer.Context, as_json: AsJson = False) -> None:
    """Every evaluator with its held-out MCC and interval, and every active issue that has none, with why."""
    from evalpipe.generation.on_lake import evaluator_overview

    home = home_of(context)
    rows = evaluator_overview(home.lake, home.settings)
    if not as_json:
        figures = [interval(row) if row["version"] else f"needs {row['reason']}" for row in rows.iter_rows(named=True)]
        rows = rows.with_columns(held_out_mcc=_strings(figures)).select(
            "failure_mode", "evaluator_id", "version", "kind", "status", "held_out_mcc"
        )
    show(
        rows.drop("artifact", strict=False),
        title="Evaluators",
        as_json=as_json,
        empty="there is no evaluator and no active issue: evalpipe annotations import FILE, then evalpipe run",
    )


@evaluators.command("show")
def show_evaluator(
    context: typer.Context,
    evaluator_id: EvaluatorId,
    version: Annotated[int | None, typer.Option(help="Default: the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """What an evaluator looks for, in words, and what separates failures; --json prints the whole artifact."""
    artifact = _artifact(context, evaluator_id, version)
    if as_json:
        print(artifact.to_json())
        return
    import polars as pl

    from evalpipe.generation.dossier import dossier_of
    from evalpipe.tables import LABELS, SETTLED

    lake = home_of(context).lake
    dossier = dossier_of(artifact, lake.read(LABELS, SETTLED, pl.col("issue_id") == artifact.issue_id))
    tell(f"{artifact.evaluator_id} version {artifact.version} ({artifact.kind}) for {artifact.failure_mode!r}")
    tell(artifact.explanation)
    for figure in dossier.figures:
        tell(f"{figure.of} MCC {figure.in_words()}{f' ({figure.note})' if figure.note else ''}")
    missed, false_alarms = dossier.mistakes
    tell(f"on traces it had not seen it missed {len(missed)} failures and raised {len(false_alarms)} false alarms")
    if not dossier.families:
        tell("nothing separates the failures that could not be chance")
    for family in dossier.families:
        show(_patterns(family.patterns), title=f"What separates failures: {family.title}", as_json=False, empty="")


@evaluators.command("history")
def history(
    context: typer.Context,
    issue: Annotated[str | None, typer.Argument(help="Id of an issue, or of its evaluator. Default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """The life of evaluators from birth to retirement, the newest last.

    Versions with why each replaced the last, their MCC over time, demotions, what they caught in gates, retirement and
    restoration.
    """
    import polars as pl

    from evalpipe.errors import StateError
    from evalpipe.evaluators.history import history_frame
    from evalpipe.tables import EVALUATOR_HEALTH, EVALUATOR_QUALITY, EVALUATORS, GATE_RESULTS, GATE_RUNS

    lake = home_of(context).lake
    asked = [] if issue is None else [(pl.col("issue_id") == issue) | (pl.col("evaluator_id") == issue)]
    versions = lake.read(EVALUATORS, *asked)
    if issue is not None and versions.is_empty():
        raise StateError(f"{issue} is no issue with an evaluator, nor an evaluator. Run: evalpipe evaluators list")
    rows = history_frame(
        versions,
        quality=lake.read(EVALUATOR_QUALITY, *asked),
        health=lake.read(EVALUATOR_HEALTH, *asked),
        gate_runs=lake.read(GATE_RUNS),
        gate_results=lake.read(GATE_RESULTS, *asked),
    )
    if not as_json:
        at = pl.col("at").dt.strftime("%Y-%m-%d %H:%M")
        rows = rows.select(at, "failure_mode", "version", "what", "detail")
    show(rows, title="Evaluators over time", as_json=as_json, empty="there is no evaluator yet: evalpipe run")


@evaluators.command("export")
def export(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that suite.json is written to, or a file that ends in .json.")
    ],
) -> None:
    """Write the suite as one JSON file with checksums, which gates cases where there is no home.

    What is in it is said by a published schema. One artifact: `evalpipe evaluators show EV_ID --json`.

    Example: `evalpipe evaluators export build`, then `evalpipe gate --suite build/suite.json --cases cases.jsonl`
    """
    from datetime import UTC, datetime

    from evalpipe.errors import InputError
    from evalpipe.files import write_whole
    from evalpipe.gate.bundle import FILE_NAME
    from evalpipe.gate.on_lake import exported_suite

    if folder.name.startswith("ev_") and not folder.exists():
        raise InputError(
            f"{folder} looks like an evaluator, and export takes a folder. For one artifact: "
            f"evalpipe evaluators show {folder} --json; for a folder of this name: evalpipe evaluators export "
            f"{folder}/{FILE_NAME}"
        )
    home = home_of(context)
    text = exported_suite(home.lake, home.settings, datetime.now(UTC))
    path = folder if folder.suffix == ".json" else folder / FILE_NAME
    write_whole(path, text)
    tell(f"wrote the suite to {path}")


@evaluators.command("run")
def run_evaluator(
    context: typer.Context,
    evaluator_id: EvaluatorId,
    cases: Annotated[Path, typer.Option(help="Cases as JSONL or CSV, as for the gate.")],
    version: Annotated[int | None, typer.Option(help="Default: the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """The verdict of one evaluator on each case, with its explanation."""
    from evalpipe.evaluators.run import fields_of, run_evaluators
    from evalpipe.evaluators.view import evaluator_view
    from evalpipe.gate.cases import read_cases

    artifact = _artifact(context, evaluator_id, version)
    view = evaluator_view(read_cases(cases).traces, fields=fields_of([artifact]))
    said = run_evaluators([artifact], view, llm=home_of(context).settings.llm)
    shown = said.select("trace_id", "outcome", "score", "explanation")
    show(shown, title=evaluator_id, as_json=as_json, empty="no case is of a service that it judges")


@evaluators.command("backfill")
def backfill(
    context: typer.Context,
    issue_ids: Annotated[list[str] | None, typer.Argument(help="Issues; default: those of all evaluators.")] = None,
    first: Annotated[datetime | None, typer.Option("--from", help="First day. Required.", formats=["%Y-%m-%d"])] = None,
    last: Annotated[datetime | None, typer.Option("--to", help="Last day. Required.", formats=["%Y-%m-%d"])] = None,
) -> None:
    """Judge past traffic with the evaluators as they are now, day by day. Stopped and started again, it goes on.

    Example: `evalpipe evaluators backfill iss_3f2a9c1b44 --from 2026-03-02 --to 2026-04-30`
    """
    import polars as pl

    from evalpipe.dagster_home import instance_of
    from evalpipe.errors import InputError, StateError
    from evalpipe.evaluators.on_lake import judging
    from evalpipe.materialise import materialise
    from evalpipe.plan import verdicts_missing
    from evalpipe.tables import VERDICTS

    if first is None or last is None or first > last:
        raise InputError("a backfill needs its first and last day: --from 2026-03-02 --to 2026-04-30")
    home = home_of(context)
    home.require_traffic()
    issues = sorted(set(issue_ids or ()))
    trusted = judging(home.lake, home.settings.quality, issues)
    if lacking := sorted(set(issues) - set(trusted["issue_id"])):
        raise StateError(f"no trusted evaluator checks {', '.join(lacking)}. Run: evalpipe evaluators list")
    days = verdicts_missing(home, first.date(), last.date(), issues)
    if not days:
        tell("nothing is missing: every day with traffic is judged by the evaluators as they are")
        return
    with progress() as bar, instance_of(home) as instance:
        task = bar.add_task("judging", total=len(days))
        for day in days:
            bar.update(task, description=f"judging {day}")
            materialise(home, instance, "verdicts", [day], config={"issues": issues})
            materialise(home, instance, "verdict_counts", [day])
            bar.advance(task)
    of_days = pl.col("day").is_in([date.fromisoformat(day) for day in days])
    made = (
        home.lake.scan(VERDICTS)
        .filter(of_days)
        .join(trusted.lazy().select("evaluator_id", "version"), on=["evaluator_id", "version"], how="semi")
    )
    n, n_faults = made.select(pl.len(), (pl.col("outcome") == "fault").sum().alias("n_faults")).collect().row(0)
    tell(f"judged by {trusted.height} evaluators on {len(days)} days: {n:,} verdicts, of them {n_faults:,} faults")


@evaluators.command("prune")
def prune(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be retired, and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """Retire evaluators that have outlived their use, each with its reason; history stays.

    Those of issues that were merged, ignored or solved long ago, that find nothing, that find what another finds, or
    that cost more than they find. Taken back by `evalpipe evaluators restore ISSUE`.
    """
    from datetime import UTC, datetime

    from evalpipe.pruning import prune as retire

    home = home_of(context)
    retired = retire(home.lake, home.settings.monitor, datetime.now(UTC), is_rehearsal=dry_run)
    title = "Would be retired" if dry_run else "Retired"
    show(retired, title=title, as_json=as_json, empty="no evaluator is stale")


@evaluators.command("restore")
def restore(
    context: typer.Context,
    issue: Annotated[str, typer.Argument(help="Id of the issue whose evaluator was retired.")],
    author: Annotated[str, typer.Option("--as", help="Who says so; it is kept with the version.", envvar="USER")],
) -> None:
    """Take the retirement of an evaluator back: a new version with what the last living one was."""
    from datetime import UTC, datetime

    from evalpipe.pruning import restore as bring_back

    home = home_of(context)
    row = bring_back(home.lake, home.artifacts, issue, by=author, now=datetime.now(UTC)).row(0, named=True)
    tell(f"{row['evaluator_id']} version {row['version']}: {row['reason']}")
    tell("evalpipe run measures it, and it judges traffic again")


def _artifact(context: typer.Context, evaluator_id: str, version: int | None):
    import polars as pl

    from evalpipe.errors import StateError
    from evalpipe.evaluators.artifact import Artifact
    from evalpipe.tables import EVALUATORS

    rows = home_of(context).lake.read(EVALUATORS, pl.col("evaluator_id") == evaluator_id).sort("version")
    chosen = rows if version is None else rows.filter(pl.col("version") == version)
    if chosen.is_empty():
        what = evaluator_id if version is None else f"{evaluator_id} version {version}"
        raise StateError(f"there is no evaluator {what}. Run: evalpipe evaluators list")
    return Artifact.from_json(chosen["artifact"][-1])


def _patterns(patterns: list[dict]):
    """Lines of a table for a terminal; ids and rules are in the JSON."""
    import polars as pl

    return pl.DataFrame(
        {
            "pattern": ("missing: " if row.get("is_absent") else "") + row["predicate"],
            "failures": f"{row['tpr']:.0%}",
            "others": f"{row['fpr']:.0%}",
            "support": row["support"],
            "log_odds": row["log_odds"],
            "q": row.get("q"),
        }
        for row in patterns
    )


def _strings(values: list[str]):
    import polars as pl

    return pl.Series(values, dtype=pl.String)
