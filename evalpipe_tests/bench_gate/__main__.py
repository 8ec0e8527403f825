"""`make bench-gate`: whether the gate stops the releases that it should, and how fast it is, beside the targets.

    python -m evalpipe_tests.bench_gate                             all of it: some eight minutes
    BENCH_PEERS=/srv/peers python -m evalpipe_tests.bench_gate      beside promptfoo and DeepEval (peers.py)
    python -m evalpipe_tests.bench_gate --demo data                 the webhook too, on a copy of this demo home
    python -m evalpipe_tests.bench_gate --only releases             one part
    python -m evalpipe_tests.bench_gate --quick                     a smoke test; the figures mean nothing
    python -m evalpipe_tests.bench_gate --out docs/gate.md

Exits with 1 when a target is missed, unless --quick.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from evalpipe.settings import GateSettings
from evalpipe_tests.bench_gate.peers import peers_folder
from evalpipe_tests.bench_gate.sections import QUICK, Section, Sizes, on_peers, on_releases, on_speed, on_webhook
from evalpipe_tests.bench_ingest.measure import machine, markdown, printed, progress

_LIBRARIES = ("polars", "deltalake", "numpy", "pydantic")


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write where asked to; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", choices=("speed", "peers", "webhook", "releases"), help="only these parts"
    )
    parser.add_argument("--demo", type=Path, help="a home that evalpipe demo made")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--out", type=Path, help="write the report as Markdown to this file, too")
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else Sizes()
    console = Console(width=None if sys.stdout.isatty() else 200)
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="bench-gate-") as folder, progress(console) as bar:
        parts: dict[str, Callable[[], Section]] = {
            "speed": lambda: on_speed(sizes, Path(folder)),
            "peers": lambda: on_peers(sizes, Path(folder), peers_folder()),
            "webhook": lambda: on_webhook(sizes, Path(folder), given.demo),
            "releases": lambda: on_releases(sizes, GateSettings()),
        }
        wanted = [name for name in parts if not given.only or name in given.only]
        task = bar.add_task("", total=len(wanted))
        for name in wanted:
            bar.update(task, description=name)
            sections.append(parts[name]())
            bar.console.print(sections[-1].markdown, style="dim", markup=False)
            bar.advance(task)
    findings = [finding for section in sections for finding in section.findings]
    console.print(printed(findings, "evalpipe bench-gate"))
    if given.out is not None:
        given.out.write_text(_document(sections), encoding="utf-8")
    return int(not given.quick and any(finding.is_met is False for finding in findings))


def _document(sections: Sequence[Section]) -> str:
    findings = [finding for section in sections for finding in section.findings]
    parts = "\n".join(section.markdown for section in sections)
    return f"""# The gate: who is stopped, and how fast

Written by `make bench-gate` (`python -m evalpipe_tests.bench_gate --out docs/gate.md`).
{machine(_LIBRARIES)}

{markdown(findings)}
{parts}"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
