"""`make bench-generate`: what generated evaluators are worth on later traffic, and what making them costs.

    python -m evalpipe_tests.bench_generate                             all of it: half an hour; with --jobs 2 less
    python -m evalpipe_tests.bench_generate --real DIR                  also on annotated traces
    python -m evalpipe_tests.bench_generate --only coverage --seeds 4   one JSON line a run on stdout, then the summary
    python -m evalpipe_tests.bench_generate --quick                     a smoke test; the figures mean nothing
    python -m evalpipe_tests.bench_generate --out docs/quality.md

Settings come from the environment (EVALPIPE_GENERATION__N_REPEATS=2). Exits with 1 when a target is missed, unless
--quick.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.progress import Progress

from evalpipe.settings import Settings, load_settings
from evalpipe_tests.bench_generate.runs import Run, Spec, frame_of, run_all
from evalpipe_tests.bench_generate.sections import (
    Section,
    coverage_section,
    on_annotated,
    on_cost,
    on_coverage,
    on_demo,
    on_judges,
    on_planted,
)
from evalpipe_tests.bench_generate.studies import (
    QUICK,
    QUICK_FOLDS,
    Sizes,
    demo_specs,
    keep_annotated,
    keep_demo,
    noisy_specs,
    permuted_specs,
    planted_specs,
)
from evalpipe_tests.bench_generate.tasks import N_NEGATIVES
from evalpipe_tests.bench_ingest.measure import machine, markdown, printed, progress

_PARTS = ("planted", "demo", "real", "coverage", "judges", "cost")
_LIBRARIES = ("polars", "scikit-learn", "gepa", "numpy")


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write where asked to; the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.real is not None and not (given.real / "traces").is_dir():
        parser.error(f"--real {given.real}: there is no folder traces in it")
    sizes = _sizes(given)
    is_coverage_alone = given.only == ["coverage"]
    console = Console(stderr=is_coverage_alone, width=None if sys.stdout.isatty() else 200)
    with tempfile.TemporaryDirectory(prefix="bench-generate-") as name, progress(console) as bar:
        folder = Path(name)
        settings = load_settings(folder / "home")
        if given.quick:
            generation = settings.generation.model_copy(update={"n_folds": QUICK_FOLDS})
            settings = settings.model_copy(update={"generation": generation})
        demo = folder if given.without_demo else keep_demo(sizes, folder)
        if is_coverage_alone:
            sections = [_lines(sizes, settings, None if given.without_demo else demo, bar, given.jobs)]
        else:
            annotated = None if given.real is None else keep_annotated(given.real, folder)
            sections = []
            peers = Path(os.environ["BENCH_PEERS"]) if "BENCH_PEERS" in os.environ else None
            wanted = given.only or _PARTS
            for section in _sections(wanted, sizes, settings, demo, annotated, peers, bar, given.jobs):
                bar.console.print(section.markdown, style="dim", markup=False)
                sections.append(section)
    findings = [finding for section in sections for finding in section.findings]
    console.print(printed(findings, "evalpipe bench-generate"))
    if given.out is not None:
        given.out.write_text(_document(sections, settings, given.jobs), encoding="utf-8")
    return int(not given.quick and any(finding.is_met is False for finding in findings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, metavar="DIR", help="a folder of annotated traces (form: bench_triage)")
    parser.add_argument("--only", action="append", choices=_PARTS, help="only these parts")
    parser.add_argument("--seeds", type=int, metavar="N", help="of --only coverage: draws of examples, 5 if not given")
    parser.add_argument("--permuted", type=int, metavar="N", help="runs on shuffled labels, 100 if not given")
    parser.add_argument("--without-demo", action="store_true", help="with --only coverage: planted modes alone")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at once, each in a process of its own")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--out", type=Path, help="write the report as Markdown to this file, too")
    return parser


def _sizes(given: argparse.Namespace) -> Sizes:
    sizes = QUICK if given.quick else Sizes()
    if given.seeds is not None:
        sizes = replace(sizes, n_coverage_seeds=given.seeds)
    if given.permuted is not None:
        sizes = replace(sizes, n_permuted_seeds=given.permuted)
    return sizes


def _sections(
    wanted: Sequence[str],
    sizes: Sizes,
    settings: Settings,
    demo: Path,
    annotated: Path | None,
    peers: Path | None,
    bar: Progress,
    n_jobs: int,
) -> Iterator[Section]:
    """In the order of the report; coverage takes in the runs before it, cost comes last, when all is quiet."""
    runs = [frame_of([])]
    for part in (part for part in _PARTS if part in wanted):
        run = partial(_runs, settings=settings, bar=bar, n_jobs=n_jobs, name=part)
        match part:
            case "planted":
                section = on_planted(sizes, settings, run)
            case "demo":
                section = on_demo(sizes, settings, demo, run)
            case "real" if annotated is not None:
                section = on_annotated(sizes, settings, annotated, run, partial(bar.track, description="real, whole"))
            case "coverage":
                section = on_coverage(sizes, demo, run, pl.concat(runs))
            case "judges":
                section = on_judges(sizes, peers, demo.parent)
            case "cost":
                section = on_cost(sizes, settings, demo, annotated)
            case _:
                continue
        runs.append(section.runs)
        yield section


def _lines(sizes: Sizes, settings: Settings, demo: Path | None, bar: Progress, n_jobs: int) -> Section:
    """Coverage by itself: every run as a line of JSON as soon as it is done."""
    seeds = range(1, sizes.n_coverage_seeds + 1)
    specs = [
        *planted_specs(sizes, seeds),
        *noisy_specs(sizes, seeds),
        *(demo_specs(sizes, demo, seeds) if demo is not None else ()),
        *permuted_specs(sizes),
    ]
    runs = []
    for run in _runs(specs, settings, bar, n_jobs, "coverage"):
        runs.append(run)
        sys.stdout.write(json.dumps(run._asdict()) + "\n")
        sys.stdout.flush()
    section = coverage_section(frame_of(runs))
    bar.console.print(section.markdown, markup=False)
    return section


def _runs(specs: Sequence[Spec], settings: Settings, bar: Progress, n_jobs: int, name: str) -> Iterator[Run]:
    task = bar.add_task(name, total=len(specs))
    for runs in run_all(specs, settings, n_jobs=n_jobs):
        yield from runs
        bar.advance(task)


def _document(sections: Sequence[Section], settings: Settings, n_jobs: int) -> str:
    findings = [finding for section in sections for finding in section.findings if finding.is_met is not None]
    parts = "\n".join(section.markdown for section in sections)
    return f"""# Quality: evaluators that are as good as they say

Written by `make bench-generate` (`python -m evalpipe_tests.bench_generate --out docs/quality.md`), {n_jobs} run(s) at
once.
{machine(_LIBRARIES)}

{markdown(findings)}

How to read the tables. Every evaluator is made from annotated traces of an earlier time and then judges later ones,
whose truth is known: *later* is its MCC there. *Held-out* is what it states of itself, out of ten folds, with its 90 %
interval; *in-sample* is its MCC on the traces that it was made from, which promises nothing. *By choice* is what
`evalpipe generate` ships, judging by its artifact: a rule or a learned evaluator. *active* may block a release,
*monitoring* watches, a *candidate* is declined, *waiting* has too little evidence. *Alone* is one kind made by the same
functions. The baselines see the same examples: logistic regression with balanced classes on TF-IDF of words and pairs
of all text; the one keyword with the best MCC on the examples; a constant, whose MCC is undefined. A dash is undefined;
in a mean it counts as 0. Others are {N_NEGATIVES} for each failure, or what there is.

{_about_judges(settings)}
{parts}"""


def _about_judges(settings: Settings) -> str:
    if settings.llm.judge_model is None:
        return "No judge model is configured (EVALPIPE_JUDGE_MODEL), so the tables have no column for a judge.\n"
    return (
        f"*judge* is {settings.llm.judge_model}, evolved without reviewers' notes, for the first seed alone; its "
        "held-out figure is that of the examples kept aside, its later one that of at most 300 traces.\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
