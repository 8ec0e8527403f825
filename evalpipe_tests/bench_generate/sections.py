"""The parts of the report: each does its piece of work and says in Markdown what came of it, with its targets."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.errors import NotEnoughEvidenceError
from evalpipe.settings import Settings
from evalpipe_tests.bench_generate.cost import generating, judging
from evalpipe_tests.bench_generate.coverage import MIN_LATER_POSITIVES, declined, summary
from evalpipe_tests.bench_generate.peers import PEERS, judges
from evalpipe_tests.bench_generate.report import (
    coverage_tables,
    in_percent,
    judges_table,
    later_table,
    prospective_table,
    whole_table,
)
from evalpipe_tests.bench_generate.runs import ALL, CHOICE, Run, Spec, frame_of
from evalpipe_tests.bench_generate.studies import (
    Sizes,
    annotated_modes,
    annotated_specs,
    demo_specs,
    noisy_specs,
    permuted_specs,
    planted_specs,
    with_judge,
)
from evalpipe_tests.bench_generate.tasks import N_NEGATIVES, stored_modes, stored_task, whole_service
from evalpipe_tests.bench_generate.whole import OutOfFold, out_of_fold
from evalpipe_tests.bench_ingest.measure import Finding, markdown
from evalpipe_tests.generation.claims import ISSUE_NAME

RunAll = Callable[[Sequence[Spec]], Iterable[Run]]
"""Runs of specs; it shows how far it is."""
Track = Callable[[Sequence[tuple[str, str]]], Iterable[tuple[str, str]]]
"""The same modes, while it shows how far they are."""

_STRUCTURAL = ("ordering", "loop")
_HARDER = ("claim", "repeat", "two_arms", "rude")
_RULE_TARGETS = {"10": 0.60, "20": 0.80, "40": 0.90}
_CHOICE_TARGETS = {"10": 0.47, "20": 0.76, "40": 0.93}
_BASELINE = "TF-IDF + logistic"
_JUDGE_SEED = 1
_MUST_WIN = ("not_attributable", "premature_transfer")


class Section(NamedTuple):
    """A part of the report."""

    findings: list[Finding]
    markdown: str
    runs: pl.DataFrame


def on_planted(sizes: Sizes, settings: Settings, run_all: RunAll) -> Section:
    """Planted modes of an invented support agent."""
    runs = frame_of(run_all(_asked(planted_specs(sizes, range(1, sizes.n_seeds + 1), ALL), settings)))
    later = pl.col("later_mcc").fill_null(0)
    findings = []
    for mode in (mode for mode in _STRUCTURAL if mode in sizes.planted_modes):
        of = runs.filter(mode=mode, size="10", evaluator=CHOICE).select(pl.col("held_out_mcc").fill_null(0), later)
        worst, mean = min(of.min().row(0)), of.mean().row(0)
        what = f"planted `{mode}` from 10 failures, {of.height} seed(s)"
        said = f"{mean[0]:.2f} held-out, {mean[1]:.2f} later"
        findings.append(Finding(what, said, f"{worst:.2f}, the worst of all", worst, at_least=0.95))
    for what, evaluator, modes, targets in (
        ("rules alone, all planted modes", "rule", sizes.planted_modes, _RULE_TARGETS),
        ("by choice, the harder planted modes", CHOICE, _HARDER, _CHOICE_TARGETS),
    ):
        for size, target in targets.items():
            of = runs.filter(pl.col("mode").is_in(modes), size=size, evaluator=evaluator)
            if of.height:
                mean = of.select(later.mean()).item()
                claim = f"{what}, {size} failures: mean later MCC of {of.height} runs"
                findings.append(Finding(claim, f"{mean:.2f}", "", mean, at_least=target))
    n_later, n_failing = runs["later_n"].max(), runs["later_n_positives"].max()
    return Section(
        findings,
        f"""## Planted modes

Conversations of an invented support agent (evalpipe_tests/generation/planted.py); half of the others share one half of
what makes the failure. Each seed is another set of examples; the later part is {n_later:,} traces with {n_failing}
failures of one further seed.

{prospective_table(runs)}
""",
        runs,
    )


def on_demo(sizes: Sizes, settings: Settings, demo: Path, run_all: RunAll) -> Section:
    """The demo's traffic."""
    runs = frame_of(run_all(_asked(demo_specs(sizes, demo, range(1, sizes.n_seeds + 1), ALL), settings)))
    task = stored_task(demo, *stored_modes(demo, 1)[0])
    return Section(
        [],
        f"""## The demo's traffic

{sizes.demo_weeks} weeks of {sizes.demo_sessions_per_day} sessions a day through ingest, with three releases. The
first 60 % by time are the earlier part, {task.earlier.traces.height:,} traces; each seed draws the annotated ones from
it. The later part is {task.later.traces.height:,} traces, without the cases that were met earlier (same session, task
or nearly the same request). *As it is* is the MCC at the later part's own prevalence, one failure in some
{task.later.traces.height / max(task.later.n_positives, 1):.0f} for the most frequent mode; the others are at that of
the examples, one in {1 + N_NEGATIVES}.

{prospective_table(runs) if runs.height else "No mode is frequent enough."}
""",
        runs,
    )


def on_annotated(sizes: Sizes, settings: Settings, annotated: Path, run_all: RunAll, track: Track) -> Section:
    """Real traces."""
    runs = frame_of(run_all(_asked(annotated_specs(sizes, annotated), settings)))
    services = []
    for source in runs["source"].unique(maintain_order=True):
        task = stored_task(annotated, source, runs.filter(source=source)["mode"][0])
        sides = f"{task.earlier.traces.height} traces earlier, {task.later.traces.height} later"
        services.append(f"- {source}: {sides}, split by {'whole cases' if task.is_by_case else 'time'}")
    whole = list(_whole(settings, annotated, track))
    findings = [*_against_baseline(whole), *_later_against_baseline(runs)]
    return Section(
        findings,
        f"""## Annotated traces

Real traces with labels from their sources (tau-bench, HaluEval, BEGIN, ...), from a folder given on the command line;
modes with ten failures or more. Generated from the first 60 % by time, with {N_NEGATIVES} others for each failure or
what there is. A case with traces on both sides stays out of the later one; where that leaves less than a third of it,
whole cases are split in the order of their median time instead, since the same few tasks come back all the time.
Later MCCs are as they are, at the later part's own prevalence, one run each.

{chr(10).join(services)}

{later_table(runs)}

All labelled traces of the service, out of ten folds that keep each case whole; the others are all that do not show the
mode, other failures included.

{whole_table(whole)}
""",
        runs,
    )


def on_coverage(sizes: Sizes, demo: Path, run_all: RunAll, known: pl.DataFrame) -> Section:
    """The claims of `known` runs and of further seeds, and shuffled labels."""
    further = range(sizes.n_seeds + 1, sizes.n_coverage_seeds + 1)
    noisy = noisy_specs(sizes, range(1, sizes.n_coverage_seeds + 1))
    specs = [*planted_specs(sizes, further), *demo_specs(sizes, demo, further), *noisy, *permuted_specs(sizes)]
    runs = pl.concat([known.filter(evaluator=CHOICE), frame_of(run_all(specs))])
    return coverage_section(runs)


def coverage_section(runs: pl.DataFrame) -> Section:
    """Coverage of runs by choice, and what became of shuffled labels."""
    row = summary(runs).row(0, named=True)
    statuses = declined(runs)
    n_permuted = sum(statuses.values())
    n_active = statuses.get("active", 0)
    findings = []
    if row["n"]:
        claim = f"stated 90 % intervals that contain the later MCC, {row['n']} runs"
        contained = row["n_contained"] / row["n"]
        findings.append(Finding(claim, in_percent(row["n_contained"], row["n"]), "", contained, at_least=0.85))
    if n_permuted:
        claim = f"shuffled labels that became active, {n_permuted} seeds"
        findings.append(Finding(claim, in_percent(n_active, n_permuted), "", n_active / n_permuted, at_most=0.05))
    return Section(
        findings,
        f"""## Is the claim true later?

Every evaluator by choice of the tables above and of further seeds: does its stated 90 % interval contain the MCC on
later traces, at the prevalence of its examples? The planted modes come a second time as *noisy*: one label in ten is
wrong, in the examples and later, so that no claim is near 1. A later MCC that is undefined, because nothing or
everything was flagged, counts as 0. Runs with fewer than {MIN_LATER_POSITIVES} later failures are left out: they
measure the later MCC worse than the interval is wide. The later figure has an error of its own, which makes the shares
too low: about .02 on the planted modes, .05 on the demo's. The intervals of the shares are Wilson's, as if all runs
were independent.

{coverage_tables(runs)}
""",
        runs,
    )


def on_judges(sizes: Sizes, peers: Path | None, folder: Path) -> Section:
    """Judges evolved against a model from a script, evalpipe's and those of the peers that are installed."""
    found = list(judges(sizes.judge, folder, peers, _JUDGE_SEED))
    first, again = found[:2]
    what = f"scripted judge, {sizes.judge.n_failures} failures and {sizes.judge.n_others} others"
    findings = [
        Finding(f"{what}: MCC before it is evolved", f"{first.mcc_before or 0:.2f}", "", first.mcc_before, at_most=0.1),
        Finding(f"{what}: held-out MCC", f"{first.mcc or 0:.2f}", "", first.mcc, at_least=0.95),
        Finding(f"{what}: calls to find it", str(first.n_calls), "250", first.n_calls / 250, at_most=1.0),
        Finding(f"{what}: calls of a second run", str(again.n_calls), "", float(again.n_calls), at_most=0.0),
    ]
    absent = [peer.name for peer in PEERS if peer.name not in {each.name for each in found}]
    lacking = f"Not installed in BENCH_PEERS, and so not here: {'; '.join(absent)}.\n" if absent else ""
    return Section(
        findings,
        f"""## Judges

A judge for `{ISSUE_NAME}` is evolved from {sizes.judge.n_failures} failures and {sizes.judge.n_others} others of the
planted agent, each with a reviewer's note, by a model from a script over HTTP (evalpipe_tests/scripted_model.py): it
understands the failure only as far as the instruction names it, and learns only from notes. So this compares the loops
around the model, with one seed, not models. All products see the same traces, evalpipe's train and validation part;
the held-out traces are the rest. Evidently passes the notes on to its reflection; MLflow's GEPA alignment passes on
scores alone, so that this model cannot improve anything there, where a real one might. Calls are those until the
instruction is there, and seconds include the start of each product; the held-out traces are asked by evalpipe's judge,
with each instruction alone.

{judges_table(found)}

{lacking}""",
        frame_of([]),
    )


def on_cost(sizes: Sizes, settings: Settings, demo: Path, annotated: Path | None) -> Section:
    """Seconds and memory."""
    source, mode = stored_modes(demo, settings.generation.min_positives)[0]
    findings = [*generating(sizes.cost, settings, _largest(annotated)), *judging(sizes.cost, demo, source, mode)]
    return Section(
        findings,
        f"""## Cost

Every line is a process of its own; memory is its peak, interpreter and libraries included. Generating is measured on
the planted mode `two_arms`, 40 failures and 160 others. The large day repeats the demo's longer sessions with other
numbers, ten spans a trace. The {sizes.cost.n_rules} rules are pairs of predicates that the search is given: of text,
tools and numbers, or of all kinds, with arguments, places in the dialogue and overlap with sources. Wall seconds depend
on what else the machine does, CPU seconds little.

{markdown(findings)}
""",
        frame_of([]),
    )


def _asked(specs: Iterable[Spec], settings: Settings) -> list[Spec]:
    """With a judge where a model is configured."""
    return list(specs if settings.llm.judge_model is None else with_judge(specs))


def _whole(settings: Settings, annotated: Path, track: Track) -> Iterator[tuple[str, str, int, int, list[OutOfFold]]]:
    for source, mode in track(annotated_modes(annotated)):
        part = whole_service(annotated, source, mode)
        try:
            yield source, mode, part.n_positives, part.traces.height, out_of_fold(part, settings)
        except NotEnoughEvidenceError:
            continue


def _against_baseline(whole: Iterable[tuple[str, str, int, int, list[OutOfFold]]]) -> Iterator[Finding]:
    """Modes that are named must reach the baseline; the others that, or be declined."""
    for source, mode, n_positives, n, figures in whole:
        of = {each.evaluator: each for each in figures}
        chosen, baseline = of[CHOICE].stated.mcc or 0.0, of[_BASELINE].stated.mcc or 0.0
        is_declined = of[CHOICE].status in ("candidate", "waiting")
        is_held = mode in _MUST_WIN or not is_declined
        yield Finding(
            f"{source} `{mode}`, {n_positives} of {n}, out of fold: MCC minus that of {_BASELINE}",
            f"{chosen:.2f} ({of[CHOICE].kind}, {'declined' if is_declined else of[CHOICE].status})",
            f"{baseline:.2f}",
            chosen - baseline,
            at_least=0.0 if is_held else None,
        )


def _later_against_baseline(runs: pl.DataFrame) -> Iterator[Finding]:
    for cell in runs.filter(pl.col("mode").is_in(_MUST_WIN), size="all").partition_by("source", "mode"):
        of = {row["evaluator"]: row for row in cell.iter_rows(named=True)}
        chosen, baseline = (of[name]["later_mcc_as_it_is"] or 0.0 for name in (CHOICE, _BASELINE))
        yield Finding(
            f"{cell['source'][0]} `{cell['mode'][0]}`, all earlier failures: later MCC minus that of {_BASELINE}",
            f"{chosen:.2f}",
            f"{baseline:.2f}",
            chosen - baseline,
            at_least=0.0,
        )


def _largest(annotated: Path | None) -> tuple[Path, str, str] | None:
    if annotated is None:
        return None
    modes = annotated_modes(annotated)
    source, mode = max(modes, key=lambda each: whole_service(annotated, *each).traces.height)
    return annotated, source, mode
