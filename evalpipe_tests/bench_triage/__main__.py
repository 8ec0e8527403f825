"""`make bench-triage`: what reading in the queue's order finds, and what making it costs, beside the targets.

    python -m evalpipe_tests.bench_triage                           all of it: some ten minutes, 2 GB of disk
    python -m evalpipe_tests.bench_triage --real DIR                also on annotated traces (form: worlds.py)
    python -m evalpipe_tests.bench_triage --only demo               one part
    python -m evalpipe_tests.bench_triage --quick                   a smoke test; the figures mean nothing
    python -m evalpipe_tests.bench_triage --out docs/triage.md

Exits with 1 when a target is missed, unless --quick.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from evalpipe.settings import Settings
from evalpipe_tests.bench_ingest.measure import machine, markdown, printed, progress
from evalpipe_tests.bench_triage.sections import QUICK, Section, Sizes, on_annotated, on_demo, on_load
from evalpipe_tests.bench_triage.yields import CONFIDENCE

_LIBRARIES = ("polars", "scikit-learn", "deltalake", "numpy")


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write where asked to; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, metavar="DIR", help="a folder of annotated traces")
    parser.add_argument("--traces", type=int, metavar="N", help="traces of the large day; 100,000 where not given")
    parser.add_argument("--only", action="append", choices=("demo", "real", "cost"), help="only these parts")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--out", type=Path, help="write the report as Markdown to this file, too")
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else Sizes()
    settings = Settings()
    if given.traces:
        smaller = (given.traces // 10, given.traces // 2)
        sizes = replace(sizes, load=replace(sizes.load, n_traces=given.traces, smaller=smaller))
    console = Console(width=None if sys.stdout.isatty() else 200)
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="bench-triage-") as folder, progress(console) as bar:
        parts: dict[str, Iterator[Section]] = {"demo": on_demo(sizes, settings)}
        if given.real is not None:
            parts["real"] = on_annotated(sizes, settings, given.real)
        parts["cost"] = on_load(sizes, settings, Path(folder))
        wanted = [name for name in parts if not given.only or name in given.only]
        task = bar.add_task("", total=len(wanted))
        for name in wanted:
            bar.update(task, description=name)
            for section in parts[name]:
                sections.append(section)
                bar.console.print(section.markdown, style="dim", markup=False)
            bar.advance(task)
    findings = [finding for section in sections for finding in section.findings]
    console.print(printed(findings, "evalpipe bench-triage"))
    if given.out is not None:
        given.out.write_text(_document(sections), encoding="utf-8")
    return int(not given.quick and any(finding.is_met is False for finding in findings))


def _document(sections: Sequence[Section]) -> str:
    findings = [finding for section in sections for finding in section.findings if finding.is_met is not None]
    parts = "\n".join(section.markdown for section in sections)
    return f"""# Triage: the right traces first

Written by `make bench-triage` (`python -m evalpipe_tests.bench_triage --out docs/triage.md`).
{machine(_LIBRARIES)}

{markdown(findings)}

How to read the tables. Every order reads the same number of traces of the same traffic. *Lift* is the share of
failures among what was read over their share in all of it, which is what random reading finds on average; it is
computed, not simulated. The queue is read whole, with its share of random traces. *Most tokens* is longest first; the
isolation forest is scikit-learn's on spans, tokens, duration, tool calls and tool errors. Brackets are
{100 * CONFIDENCE:.0f} % intervals: Wilson for what was found per 100, resampled sessions for ratios, with the same
draws for all orders. *Precision* is the average precision of sorting all traffic by a score; a useless score has the
prevalence.

Traffic is thinned to rare failures by leaving out sessions that have one, whole and by chance.

{parts}"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
