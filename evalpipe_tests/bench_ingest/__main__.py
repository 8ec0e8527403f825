"""`make bench-ingest`: every claim about ingest with its figure, its floor in the same run, and its target.

    python -m evalpipe_tests.bench_ingest                           all of it: some ten minutes, 6 GB of disk
    python -m evalpipe_tests.bench_ingest --quick                   a smoke test; the figures mean nothing
    python -m evalpipe_tests.bench_ingest --out docs/performance.md
    BENCH_PEERS=/srv/peers python -m evalpipe_tests.bench_ingest    beside Phoenix and MLflow (peers.py)

Exits with 1 when a target is missed, unless --quick.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from evalpipe_tests.bench_ingest import stages
from evalpipe_tests.bench_ingest.measure import Finding, machine, markdown, printed, progress
from evalpipe_tests.bench_ingest.payloads import Traffic
from evalpipe_tests.bench_ingest.peers import beside_peers
from evalpipe_tests.bench_ingest.receiving import BODY_SPANS, receiving, storing
from evalpipe_tests.bench_ingest.stages import QUICK, TODAY, Sizes

_LIBRARIES = ("polars", "deltalake", "protobuf", "isal", "uvicorn", "uvloop", "grpcio", "dagster")
_ONLY_SPANS = ("--only", "raw_otlp", "--only", "spans")
_PEER_S = 90.0
_PEER_SPANS = 50_000  # at most; a peer stores fewer in its time

Stage = Callable[[Sizes, Path], Iterator[Finding]]


def stored(sizes: Sizes, folder: Path) -> Iterator[Finding]:
    """The whole way, and the peers on the same way where there are any."""
    by_run = storing(sizes, folder / "run", ("-m", "evalpipe", "--home", str(folder / "run"), "run", *_ONLY_SPANS))
    job = ("-m", "evalpipe_tests.bench_ingest.cold_job", str(folder / "job"))
    by_job = storing(sizes, folder / "job", job)
    for how, ours in (
        ("evalpipe run, which starts Dagster", by_run),
        ("the same work in a process without it", by_job),
    ):
        yield Finding(
            f"{ours.n_spans:,} spans from one HTTP client until a query finds them; cold start of {how}",
            f"{ours.stored_s:.1f} s wall, {ours.per_s:,.0f} spans/s",
            f"acknowledged after {ours.acknowledged_s:.1f} s",
        )
    if peers := os.environ.get("BENCH_PEERS"):
        bodies = list(Traffic(_PEER_SPANS, TODAY, body_spans=BODY_SPANS).gzipped())
        yield from beside_peers(by_job, bodies, Path(peers).absolute(), folder, _PEER_S)


STAGES: dict[str, Stage] = {
    "decode": stages.decoding,
    "land": stages.making_durable,
    "append": stages.appending,
    "memory": stages.remembering,
    "receive": receiving,
    "store": stored,
}


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write where asked to; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, no median")
    parser.add_argument("--only", action="append", choices=STAGES, help="only these stages; may be given several times")
    parser.add_argument("--out", type=Path, help="write the table as Markdown to this file, too")
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else Sizes()
    console = Console(width=None if sys.stdout.isatty() else 200)
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder, progress(console) as bar:
        wanted = [name for name in STAGES if not given.only or name in given.only]
        task = bar.add_task("", total=len(wanted))
        for name in wanted:
            bar.update(task, description=name)
            own = Path(folder) / name
            own.mkdir()
            for finding in STAGES[name](sizes, own):
                findings.append(finding)
                bar.console.print(*finding.cells[:4], sep="  ", style="dim")
            bar.advance(task)
    console.print(printed(findings, "evalpipe bench-ingest"))
    if given.out is not None:
        given.out.write_text(_document(findings), encoding="utf-8")
    return int(not given.quick and any(finding.is_met is False for finding in findings))


def _document(findings: Sequence[Finding]) -> str:
    return f"""# Performance of ingest

Written by `make bench-ingest` (`python -m evalpipe_tests.bench_ingest --out docs/performance.md`). Every ratio is of
two figures of the same run, medians of {Sizes().repeats}; CPU seconds count all threads. Clients, where there are any,
run on the same cores. The traffic is made (`bench_ingest/payloads.py`): 12 spans a trace, 3.3 KB of protobuf a span,
gzip 5.7 times smaller.

{machine(_LIBRARIES)}

{markdown(findings)}
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
