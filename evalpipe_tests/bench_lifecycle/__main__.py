"""`make bench-lifecycle`: whether issues are called solved and returned when they are, by simulation.

    python -m evalpipe_tests.bench_lifecycle                        all of it: some seven minutes
    python -m evalpipe_tests.bench_lifecycle --only fixes           one part
    python -m evalpipe_tests.bench_lifecycle --first-seed 5000      other histories
    python -m evalpipe_tests.bench_lifecycle --quick                a smoke test; the figures mean nothing
    python -m evalpipe_tests.bench_lifecycle --out docs/lifecycle.md

Exits with 1 when a target is missed, unless --quick.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from evalpipe.settings import VerificationSettings
from evalpipe_tests.bench_ingest.measure import machine, markdown, printed, progress
from evalpipe_tests.bench_lifecycle.sections import QUICK, Section, Sizes, on_cost, on_fixes, on_surges
from evalpipe_tests.bench_lifecycle.studies import fixes

_LIBRARIES = ("polars", "numpy")


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write where asked to; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, metavar="N", help="of each study; 200 where not given")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="of the histories; 0 where not given")
    parser.add_argument("--only", action="append", choices=("fixes", "surges", "cost"), help="only these parts")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--out", type=Path, help="write the report as Markdown to this file, too")
    given = parser.parse_args(arguments)
    sizes = replace(QUICK if given.quick else Sizes(), first_seed=given.first_seed)
    if given.histories:
        sizes = replace(sizes, n_histories=given.histories)
    settings = VerificationSettings()
    console = Console(width=None if sys.stdout.isatty() else 200)
    sections: list[Section] = []
    with progress(console) as bar:
        task = bar.add_task("", total=len(fixes()) + 2)
        tick = lambda: bar.advance(task)  # noqa: E731
        parts: dict[str, Callable[[], Iterable[Section]]] = {
            "fixes": lambda: on_fixes(sizes, settings, tick),
            "surges": lambda: [on_surges(sizes, settings)],
            "cost": lambda: [on_cost(sizes, settings)],
        }
        for name, part in parts.items():
            if given.only and name not in given.only:
                continue
            bar.update(task, description=name)
            for section in part():
                sections.append(section)
                bar.console.print(section.markdown, style="dim", markup=False)
            bar.advance(task)
    findings = [finding for section in sections for finding in section.findings]
    console.print(printed(findings, "evalpipe bench-lifecycle"))
    if given.out is not None:
        given.out.write_text(_document(sections, sizes), encoding="utf-8")
    return int(not given.quick and any(finding.is_met is False for finding in findings))


def _document(sections: Sequence[Section], sizes: Sizes) -> str:
    findings = [finding for section in sections for finding in section.findings]
    parts = "\n".join(section.markdown for section in sections)
    return f"""# The lifecycle of issues: solved when it is, returned when it has

Written by `make bench-lifecycle` (`python -m evalpipe_tests.bench_lifecycle --out docs/lifecycle.md`).
{machine(_LIBRARIES)}

{markdown(findings)}

How it is measured. {sizes.n_histories} simulated histories a study, seeds from {sizes.first_seed} on, lived through
week by week by the pipeline's own functions: transition, verification, replay, prevalence, surges. An issue occurs in
3 % of the traffic in six of ten histories, in 1 to 10 % in the others. Its evaluator flags 70 to 95 % of the failures
and 0 to 2 % of other traces; the pipeline knows of that only what 10 to 40 held-out failures and four times as many
others showed, and estimates from it how common the failure was. Traffic is 40 to 500 traces a day, less by night and
at the weekend, all of it judged. People read each Monday: 10 random traces, and for verification at most 40, hits
first, then random passes; of a solved issue 5 hits. Brackets are 95 % intervals (Wilson).

{parts}"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
