"""`make bench-generate`: what generated evaluators are worth on later traffic, and what making them costs.

    python -m evalpipe_tests.bench_generate                             all of it: some twenty minutes
    python -m evalpipe_tests.bench_generate --only coverage --seeds 4   one JSON line a run on stdout, then the summary
    python -m evalpipe_tests.bench_generate --quick                     a smoke test; the figures mean nothing

Exits with 1 when a target is missed, unless --quick or --only coverage.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from evalpipe.settings import Settings
from evalpipe_tests.bench_generate.report import coverage_tables
from evalpipe_tests.bench_generate.runs import Run, Spec, frame_of, run_all
from evalpipe_tests.bench_generate.studies import QUICK, Sizes, demo_specs, keep_demo, permuted_specs, planted_specs
from evalpipe_tests.bench_ingest.measure import progress


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write where asked to; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("coverage",), help="only this part")
    parser.add_argument("--seeds", type=int, metavar="N", help="examples drawn for each mode and number of failures")
    parser.add_argument("--permuted", type=int, metavar="N", help="runs on shuffled labels; 100 where not given")
    parser.add_argument("--without-demo", action="store_true", help="planted modes alone, which start at once")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at once, each in a process of its own")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else Sizes()
    if given.seeds:
        sizes = replace(sizes, n_coverage_seeds=given.seeds)
    if given.permuted is not None:
        sizes = replace(sizes, n_permuted_seeds=given.permuted)
    settings = Settings()
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 200)
    with tempfile.TemporaryDirectory(prefix="bench-generate-") as folder, progress(console) as bar:
        return _coverage(sizes, settings, Path(folder), bar, n_jobs=given.jobs, with_demo=not given.without_demo)


def _coverage(sizes: Sizes, settings: Settings, folder: Path, bar: Progress, *, n_jobs: int, with_demo: bool) -> int:
    """Every run as a JSON line on stdout as soon as it is done, the summary on stderr."""
    seeds = range(1, sizes.n_coverage_seeds + 1)
    specs = list(planted_specs(sizes, seeds))
    if with_demo:
        specs += demo_specs(sizes, keep_demo(sizes, folder), seeds)
    specs += permuted_specs(sizes)
    runs = []
    for run in runs_of(specs, settings, bar, n_jobs, "coverage"):
        runs.append(run)
        print(json.dumps(run._asdict()), flush=True)
    bar.console.print(coverage_tables(frame_of(runs)), markup=False)
    return 0


def runs_of(specs: Sequence[Spec], settings: Settings, bar: Progress, n_jobs: int, name: str) -> Iterator[Run]:
    """The runs of all specs, with a bar."""
    task = bar.add_task(name, total=len(specs))
    for made in run_all(specs, settings, n_jobs=n_jobs):
        yield from made
        bar.advance(task)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
