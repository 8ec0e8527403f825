"""What each study says, as findings beside their targets and as Markdown. What is measured is in the other files."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evalpipe.quality.intervals import wilson
from evalpipe.settings import GateSettings
from evalpipe_tests.bench_gate.load import SuiteSizes
from evalpipe_tests.bench_gate.peers import PATTERNS, Compared, compared
from evalpipe_tests.bench_gate.releases import BROUGHT, CHANGES, NO_CHANGE, Said, World, simulated
from evalpipe_tests.bench_gate.speed import Timed, stages, timed
from evalpipe_tests.bench_gate.webhook import waited
from evalpipe_tests.bench_ingest.measure import Finding

_SEED = 7
_MIB, _GIB = 2**20, 2**30
_MAX_FALSE_ALARMS, _MIN_STOPPED = 0.01, 0.99
_MIN_TIMES_A_PEER = 20.0
CONFIDENCE = 0.95

USUAL = World(n_cases=200, n_evaluators=20, way="paired")
"""What CI does: the regression inputs, replayed against each release."""

_OTHER_WORLDS = (
    World(50, 20, "paired"),
    World(100, 20, "paired"),
    World(200, 5, "paired"),
    World(500, 20, "paired"),
    World(200, 20, "unpaired"),
    World(200, 20, "traffic"),
    World(500, 20, "traffic"),
    World(200, 20, "first"),
)
_IN_WORDS = {
    "paired": "same inputs",
    "unpaired": "other inputs",
    "traffic": "traffic, sessions of three",
    "first": "no release before",
}


class Section(NamedTuple):
    """A part of the report."""

    findings: list[Finding]
    markdown: str


class Limit(NamedTuple):
    """What a gate of so many cases may cost, from start to exit."""

    n_cases: int
    wall_s: float
    peak_bytes: int | None  # None: without a target
    n_repeats: int


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    suite: SuiteSizes = field(default_factory=SuiteSizes)
    limits: tuple[Limit, ...] = (Limit(1_000, 2.0, None, 7), Limit(100_000, 15.0, 2 * _GIB, 3))
    # At a thousand all three mostly start; the target is for the larger number.
    n_outputs: tuple[int, ...] = (1_000, 20_000)
    n_asked: int = 40  # gates by webhook, of each kind
    n_launches: int = 10  # through GraphQL
    n_releases: int = 10_000
    n_releases_elsewhere: int = 2_000
    n_checked: int = 20  # counted from frames of cases, too
    other_worlds: tuple[World, ...] = _OTHER_WORLDS


QUICK = Sizes(
    suite=SuiteSizes(n_rules=2, n_learned=1),
    limits=(Limit(20, 2.0, None, 1), Limit(60, 15.0, 2 * _GIB, 1)),
    n_outputs=(20,),
    n_releases=40,
    n_releases_elsewhere=10,
    n_checked=2,
    other_worlds=(World(50, 5, "traffic"),),
)


def on_speed(sizes: Sizes, folder: Path) -> Section:
    """The command from start to exit."""
    suite = sizes.suite
    told = f"{suite.n_rules + suite.n_learned} evaluators"
    findings, rows = [], []
    for limit in sizes.limits:
        found = timed(folder, limit.n_cases, limit.n_repeats, suite)
        claim = f"CLI gate, {limit.n_cases:,} cases, {told}, start to exit"
        findings.append(_at_most(claim, f"{found.ran}", f"{limit.wall_s:g} s", found.ran.wall_s / limit.wall_s))
        if limit.peak_bytes is not None:
            share = found.ran.peak_bytes / limit.peak_bytes
            findings.append(
                _at_most(f"its peak memory, {limit.n_cases:,} cases", _mib(found), _bytes(limit.peak_bytes), share)
            )
        pieces = stages(folder, limit.n_cases, suite)
        seconds = (found.ran.wall_s, found.ran.cpu_s, pieces.imports_s, pieces.read_s, pieces.judge_s, pieces.keep_s)
        size = (f"{limit.n_cases:,}", f"{found.n_bytes / 1e6:,.1f} MB", str(limit.n_repeats))
        rows.append([*size, *(f"{each:.2f}" for each in seconds)])
    heads = ["cases", "file", "repeats", "wall s", "CPU s", "imports s", "read s", "judge s", "keep s"]
    text = f"""
## Speed

`evalpipe gate --cases FILE` in a home with {suite.n_rules} rules and {suite.n_learned} learned evaluators, all of which
judge every case: the demo's conversations with their tool calls, some 1.3 KB of JSON a case. The evaluators flag about
a tenth of it. The command reads the file, judges, decides, and writes three tables and every form of the decision. Wall
and CPU seconds and peak memory are of the process, medians. The pieces are of one run: imports by themselves, reading
the file, judging up to the decision, and keeping tables and files.

{_table(heads, rows)}
"""
    return Section(findings, text)


def on_webhook(sizes: Sizes, folder: Path, demo: Path | None) -> Section:
    """How long CI waits for an answer, with `evalpipe up` on a copy of the demo's home."""
    if demo is None:
        return Section([], "\n## By webhook\n\nNot measured: it needs a demo home (--demo DIR).\n")
    home = folder / "webhook"
    shutil.copytree(demo, home)
    n_cases = 1_000
    found = waited(home, n=sizes.n_asked, n_launches=sizes.n_launches, n_cases=n_cases)
    claims = {
        "webhook to verdict": (found.alone, None, None),
        "webhook to verdict, another gate under way": (found.beside_another, 1.5, 5.0),
        "GraphQL launch to verdict": (found.through_graphql, 8.0, None),
    }
    findings, rows = [], []
    for claim, (seconds, most_at_median, most_at_p95) in claims.items():
        median, p95 = np.quantile(seconds, (0.5, 0.95))
        figures = {"median": (median, most_at_median), "p95": (p95, most_at_p95)}
        rows.append([claim, str(len(seconds)), *(f"{figure:.2f}" for figure, _ in figures.values())])
        findings += [
            _at_most(f"{claim}, {name}", f"{figure:.2f} s", f"{most:g} s", float(figure) / most)
            for name, (figure, most) in figures.items()
            if most is not None
        ]
    text = f"""
## By webhook

From `POST /gate?wait=1` to the answer, and from the launch through Dagster's webserver to the end of the run:
{n_cases:,} cases and the evaluators of the demo, `evalpipe up` with Dagster's daemon on the same machine.

{_table(["way", "gates", "median s", "p95 s"], rows)}
"""
    return Section(findings, text)


def on_peers(sizes: Sizes, folder: Path, peers: Path | None) -> Section:
    """evalpipe, and the peers that are installed, on the same outputs with the same assertions."""
    findings, rows, told = [], [], {}
    for n_outputs in sizes.n_outputs:
        ours, *others = compared(folder / str(n_outputs), n_outputs, 1, peers)
        rows += [_peer_row(one, ours) for one in (ours, *others)]
        told |= {one.name: one.includes for one in (ours, *others)}
        is_largest = n_outputs == max(sizes.n_outputs)
        findings += [
            Finding(
                f"{len(PATTERNS)} assertions on {n_outputs:,} outputs, beside {other.name}",
                f"{ours.ran.wall_s:.2f} s wall",
                f"{other.ran.wall_s:.1f} s",
                other.ran.wall_s / ours.ran.wall_s,
                at_least=_MIN_TIMES_A_PEER if is_largest else None,
            )
            for other in others
        ]
    absent = "" if len(told) == _N_PRODUCTS else "\nPeers that are not here were not installed in BENCH_PEERS.\n"
    listed = "\n".join(f"- {name}: {includes}." for name, includes in told.items())
    heads = ["product", "outputs", "wall s", "CPU s", "peak MiB", "wall, evalpipe = 1"]
    text = f"""
## Beside promptfoo and DeepEval

The same recorded outputs, and the same {len(PATTERNS)} regular expressions that must not be found in them, each product
from start to exit in one run after the other. All found the same patterns in the same outputs, else nothing is said
here. At a thousand outputs the time is mostly that of starting; a product is compared where its work tells.

{_table(heads, rows)}

{listed}
{absent}"""
    return Section(findings, text)


_N_PRODUCTS = 3


def on_releases(sizes: Sizes, settings: GateSettings) -> Section:
    """Simulated releases: who is stopped that should be, and who that should not."""
    rows, findings = [], []
    for change in CHANGES:
        said = simulated(USUAL, change, sizes.n_releases, _SEED, settings, sizes.n_checked)
        rows.append(_release_row(said))
        if change in (NO_CHANGE, BROUGHT):
            findings.append(_release_finding(said))
    for world in sizes.other_worlds:
        for change in (NO_CHANGE, BROUGHT):
            n_checked = min(sizes.n_checked, sizes.n_releases_elsewhere)
            rows.append(_release_row(simulated(world, change, sizes.n_releases_elsewhere, _SEED, settings, n_checked)))
    heads = ["cases", "evaluators", "compared with", "release", "simulated", "blocked %", "by the rate %"]
    heads += ["as got worse %", "blocked by the article %"]
    text = f"""
## Simulated releases

{sizes.n_releases:,} releases of each kind at the default policy with {USUAL.n_cases} cases, {USUAL.n_evaluators}
evaluators and the inputs of the last release replayed; {sizes.n_releases_elsewhere:,} elsewhere. Each has a suite of
its own, drawn from evaluators that would block: recall {_percent(0.5)} to 100, false alarms 0.1 to 15 %, 10 to 60
labelled failures, kept where the MCC and its bound measured on these labels suffice. A failure mode is in 0.2 to 5 % of
the cases; each case fails with a chance of its own, most nearly always or nearly never, as the same input fails again.
The last release is one that the same gate let ship. *Brought to 30 %* means that this share of the cases fails in one
mode; the gate sees what an evaluator of imperfect recall makes of it. Brackets are {100 * CONFIDENCE:.0f} % Wilson
intervals. The first {sizes.n_checked} of each kind were also counted from frames of cases, with the same result. The
counts go through the gate's own comparison and decision.

{_table(heads, rows)}

What to read from it. The pass rate of 80 % alone stops a release only when it falls below: an evaluator that recalls
half of a failure in 30 % of the cases sees 15 % and passes. The comparison with the last release finds it. What blocks
a release without a change is the pass rate too, nearly always: with few cases, evaluators that were just above it are
below it at the next run. 200 cases or more make that rare.
"""
    return Section(findings, text)


def _release_finding(said: Said) -> Finding:
    share = said.n_blocked / said.n
    is_harmless = said.change == NO_CHANGE
    return Finding(
        f"releases blocked, {said.change.name}: {said.world.n_cases} cases, {said.world.n_evaluators} evaluators, "
        f"{_IN_WORDS[said.world.way]}",
        f"{said.n_blocked:,} of {said.n:,} ({_share(said.n_blocked, said.n)} %)",
        "all of them",
        share,
        at_most=_MAX_FALSE_ALARMS if is_harmless else None,
        at_least=None if is_harmless else _MIN_STOPPED,
    )


def _release_row(said: Said) -> list[str]:
    world, n = said.world, said.n
    counts = (said.n_by_rate, said.n_by_regression, said.n_blocked_by_article)
    return [
        f"{world.n_cases}",
        f"{world.n_evaluators}",
        _IN_WORDS[world.way],
        said.change.name,
        f"{n:,}",
        _share(said.n_blocked, n),
        *(_percent(count / n) for count in counts),
    ]


def _share(count: int, n: int) -> str:
    interval = wilson(count, n, confidence=CONFIDENCE)
    assert interval is not None
    return f"{_percent(count / n)} [{_percent(interval.lower)}, {_percent(interval.upper)}]"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}"


def _peer_row(one: Compared, ours: Compared) -> list[str]:
    ran = one.ran
    times = ran.wall_s / ours.ran.wall_s
    return [
        one.name,
        f"{one.n_cases:,}",
        f"{ran.wall_s:.2f}",
        f"{ran.cpu_s:.2f}",
        f"{ran.peak_bytes / _MIB:,.0f}",
        f"{times:.1f}",
    ]


def _at_most(claim: str, measured: str, against: str, ratio: float) -> Finding:
    return Finding(claim, measured, against, ratio, at_most=1.0)


def _mib(found: Timed) -> str:
    return f"{found.ran.peak_bytes / _MIB:,.0f} MiB"


def _bytes(n_bytes: int) -> str:
    return f"{n_bytes / _GIB:g} GiB"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
