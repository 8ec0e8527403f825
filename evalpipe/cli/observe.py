"""Observe from the command line: ingest, run, up, maintain."""

import sys
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

    home = home_of(context)
    with progress() as bar:
        task = bar.add_task("landing", total=None)
        landed = home.ingest(paths, now=datetime.now(UTC), progress=lambda n: bar.update(task, completed=n))
    if landed.rejections.height:
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
    from datetime import UTC, datetime

    from evalpipe.plan import anything_stale

    home, now = home_of(context), datetime.now(UTC)
    home.absorb(now)
    home.require_traffic()
    if not anything_stale(home, now, only or ()):
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


Host = Annotated[str | None, typer.Option(help="Address to listen on; any but loopback needs EVALPIPE_INGEST_TOKENS.")]
HttpPort = Annotated[int | None, typer.Option(min=0, max=65_535, help="Port of OTLP/HTTP; default 4318.")]
GrpcPort = Annotated[int | None, typer.Option(min=0, max=65_535, help="Port of OTLP/gRPC; default 4317.")]


def serve(context: typer.Context, host: Host = None, http_port: HttpPort = None, grpc_port: GrpcPort = None) -> None:
    """Receive traces over OTLP until Ctrl-C: HTTP on 4318, gRPC on 4317; a request is durable before its answer.

    Examples: `evalpipe serve`, `EVALPIPE_INGEST_TOKENS=KEY evalpipe serve --host 0.0.0.0`
    """
    from evalpipe.home import Home
    from evalpipe.web.server import serve as serve_otlp

    home = home_of(context)
    asked = {"host": host, "http_port": http_port, "grpc_port": grpc_port}
    ingest = home.settings.ingest.model_copy(update={name: value for name, value in asked.items() if value is not None})
    serve_otlp(Home(home.settings.model_copy(update={"ingest": ingest})), announce=tell)


def up(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    ui_host: Annotated[
        str, typer.Option(help="Address of the Dagster UI, which has no login of its own.")
    ] = "127.0.0.1",
    host: Host = None,
    http_port: HttpPort = None,
    grpc_port: GrpcPort = None,
) -> None:
    """Start the receivers, the Dagster UI and its daemon on this home; Ctrl-C stops all.

    Example: `evalpipe --home /srv/evalpipe up --port 3000`
    """
    from evalpipe.dagster_home import dagster_command
    from evalpipe.supervise import Command, supervise

    home = home_of(context)
    asked = {"--host": host, "--http-port": http_port, "--grpc-port": grpc_port}
    options = [part for name, value in asked.items() if value is not None for part in (name, str(value))]
    receivers = [sys.executable, "-m", "evalpipe", "--home", str(home.root), "serve", *options]
    tell(f"Dagster UI: http://{ui_host}:{port} (home: {home.root})")
    raise typer.Exit(supervise([Command(receivers, {}), dagster_command(home, ui_host, port)]))


def maintain(
    context: typer.Context,
    retention_hours: Annotated[
        int | None,
        typer.Option(min=1, help="Keep files that old table versions need for so long; default: the setting, 168."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compact small files of every table, and remove those that no version needs and raw segments that expired."""
    from datetime import UTC, datetime

    from evalpipe.upkeep import upkeep

    with progress() as bar:
        bar.add_task("compacting", total=None)
        done = upkeep(home_of(context), datetime.now(UTC), retention_hours)
    show(done.tables, title="Maintained", as_json=as_json, empty="there is no table yet")
    if done.expired and not as_json:
        tell(f"{len(done.expired)} raw segments had expired and were removed")


def _partitions(partitions: tuple[str, ...]) -> str:
    if partitions == ("all",):
        return "made"
    if len(partitions) == 1:
        return partitions[0]
    return f"{len(partitions)} partitions, {partitions[0]} to {partitions[-1]}"
