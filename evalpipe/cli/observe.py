"""Observe from the command line: ingest, run, up, maintain."""

from pathlib import Path
from typing import Annotated

import typer

from evalpipe.cli.show import AsJson, home_of, progress, show, tell, warn


def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="OTLP files or folders: JSON lines, protobuf; plain, .gz, .zst.")],
) -> None:
    """Land OTLP files durably; ingesting a file twice changes nothing.

    Example: `evalpipe ingest traces.jsonl.gz /var/lib/otelcol/`
    """
    from datetime import UTC, datetime

    from evalpipe.tables import REJECTIONS

    home = home_of(context)
    with progress() as bar:
        task = bar.add_task("landing", total=None)
        landed = home.landing.ingest(paths, now=datetime.now(UTC), progress=lambda n: bar.update(task, completed=n))
    if landed.rejections.height:
        home.lake.append_new(REJECTIONS, landed.rejections)
        for row in landed.rejections.head(10).iter_rows(named=True):
            warn(f"refused: {row['source']}, {row['location']}: {row['reason']}")
    known = f", {landed.n_known} payloads were known already" if landed.n_known else ""
    tell(
        f"{landed.n_files} files: {landed.n_payloads} payloads with {landed.n_spans} spans are durable in "
        f"{landed.n_segments} new segments{known}." + (" Next: evalpipe run" if landed.n_payloads else "")
    )
    if landed.rejections.height:
        tell(f"{landed.rejections.height} refused; they are kept, with the reason, in the table rejections")
        raise typer.Exit(2)


def run(
    context: typer.Context,
    only: Annotated[list[str] | None, typer.Option(help="Only these assets; may be given several times.")] = None,
    as_json: AsJson = False,
) -> None:
    """Materialise what is stale, in this process, in order, once.

    Examples: `evalpipe run`, `evalpipe run --only spans --only traces`
    """
    import json

    from evalpipe.plan import anything_stale

    home = home_of(context)
    home.require_traffic()
    if not anything_stale(home, only or ()):
        print("[]") if as_json else tell("nothing was stale")
        return
    from evalpipe.dagster_home import instance_of  # two seconds of imports that a quiet day does not need
    from evalpipe.materialise import materialise_stale

    with progress() as bar, instance_of(home) as instance:
        task = bar.add_task("looking for what is stale", total=None)

        def announce(asset: str, partitions: object) -> None:
            n = len(partitions)  # type: ignore[arg-type]
            bar.update(task, description=f"{asset}: {n} partition{'s' if n > 1 else ''}")

        made = materialise_stale(home, instance, only or (), announce)
    if as_json:
        print(json.dumps([step._asdict() for step in made]))
    else:
        for step in made:
            tell(f"{step.asset}: {_partitions(step.partitions)}")


def up(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address of the Dagster UI, which has no login of its own.")] = "127.0.0.1",
) -> None:
    """Start the Dagster UI and its daemon on this home; Ctrl-C stops both.

    Example: `evalpipe --home /srv/evalpipe up --port 3000`
    """
    from evalpipe.dagster_home import serve_dagster

    home = home_of(context)
    tell(f"Dagster UI: http://{host}:{port} (home: {home.root})")
    raise typer.Exit(serve_dagster(home, host, port))


def maintain(
    context: typer.Context,
    retention_hours: Annotated[int, typer.Option(help="Keep files that old table versions need for so long.")] = 168,
    as_json: AsJson = False,
) -> None:
    """Compact small files of every table and remove those that no version needs."""
    from evalpipe.lake.maintenance import maintain as maintain_lake

    with progress() as bar:
        bar.add_task("compacting", total=None)
        done = maintain_lake(home_of(context).lake, retention_hours)
    show(done, title="Maintained", as_json=as_json, empty="there is no table yet")


def _partitions(partitions: tuple[str, ...]) -> str:
    if partitions == ("all",):
        return "made"
    if len(partitions) == 1:
        return partitions[0]
    return f"{len(partitions)} partitions, {partitions[0]} to {partitions[-1]}"
