"""Simulated releases whose truth is known, through the gate's own counting, comparison and decision.

A case fails with a chance of its own, as applications are not deterministic, and an evaluator errs as it was drawn to
err; the gate sees only what the evaluator says. What the shares mean is said in sections.py.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.gate.baseline import Baseline, Turned, compare, compare_counted
from evalpipe.gate.decide import Decision, EvaluatorRun, GatePolicy, decide
from evalpipe.quality.comparison import effective_n
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.quality.intervals import mcc_interval
from evalpipe.quality.trust import status_of
from evalpipe.settings import GateSettings, QualitySettings
from evalpipe.tables import GATE_CASES

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Way = Literal["paired", "unpaired", "traffic", "first"]

N_KNOWN = 200  # evaluators that suites are drawn from
_POSITIVES, _NEGATIVES_EACH = (10, 60), 4  # labels that an evaluator was measured on
_RECALL, _FALSE_ALARM = (0.5, 1.0), (0.001, 0.15)
_PREVALENCE = (0.002, 0.05)  # from a rare failure to a usual open issue
_LIKENESS = 2.0  # concentration of the chances of cases: most fail nearly always or nearly never
_TURNS = 3  # cases of a session of traffic
_MAX_REDRAWN = 100  # suites until one lets its own baseline ship
_LATER_EVIDENCE = 0.5  # as evaluators are measured: the interval of the MCC of as many later labels


class Evaluator(NamedTuple):
    """How it errs, and what is known of it."""

    recall: float
    false_alarm: float
    mcc: float
    mcc_lower: float
    n_positives: int


@dataclass(frozen=True)
class World:
    """What is gated. paired: the same inputs as the last release; unpaired: others; traffic: others, in sessions whose
    cases are alike; first: nothing was gated before."""

    n_cases: int
    n_evaluators: int
    way: Way


@dataclass(frozen=True)
class Change:
    """What the release does to one failure mode of the suite, named by its shares of the cases."""

    name: str
    before: float | None = None  # None: as rare as the others
    after: float | None = None  # None: as before


NO_CHANGE = Change("no change")
BROUGHT = Change("a failure mode brought to 30 %", after=0.30)
CHANGES = (
    NO_CHANGE,
    BROUGHT,
    Change("brought to 20 %", after=0.20),
    Change("brought to 10 %", after=0.10),
    Change("an open issue at 10 %, unchanged", before=0.10),
    Change("an open issue at 10 %, solved", before=0.10, after=0.0),
)


class Said(NamedTuple):
    """Of releases of one kind: how many the gate stops."""

    world: World
    change: Change
    n: int
    n_blocked: int
    n_blocked_by_article: int
    n_by_rate: int  # a pass rate below the one asked is among the reasons
    n_by_regression: int  # getting worse is
    n_checked: int  # that were also counted from GATE_CASES frames, with the same result


def simulated(world: World, change: Change, n: int, seed: int, settings: GateSettings, n_checked: int = 0) -> Said:
    """`n` releases. Raises AssertionError where the counts of the first `n_checked` are not those of the frames."""
    decided = list(releases(world, change, n, seed, settings, n_checked))
    return Said(
        world,
        change,
        n,
        sum(each.by_default.decision == "block" for each in decided),
        sum(each.by_article.decision == "block" for each in decided),
        sum(any(r.is_blocking and r.outcome == "failed" for r in each.by_default.results) for each in decided),
        sum(any(r.is_blocking and r.is_regression for r in each.by_default.results) for each in decided),
        min(n, n_checked),
    )


class Decided(NamedTuple):
    """One release."""

    by_default: Decision
    by_article: Decision
    changed: int  # place of the evaluator whose failure mode changed


def releases(
    world: World, change: Change, n: int, seed: int, settings: GateSettings, n_checked: int = 0
) -> Iterator[Decided]:
    """Release by release, each of a suite of its own."""
    default = GatePolicy(gate=settings)
    article = GatePolicy(gate=settings.model_copy(update={"policy": "article"}))
    for number in range(n):
        draw = np.random.default_rng([seed, number])
        shipped = _shipped(world, change, default, draw)
        flags = shipped.next(change, world, draw)
        runs = shipped.counted(flags)
        if world.way != "first":
            turned = _turned(shipped.flags, flags) if world.way == "paired" else {}
            worth = _worth(flags, world)
            baseline = Baseline("gate_before", "1.0", shipped.results(world))
            compared = compare_counted(runs, turned, worth, baseline, settings)
            if number < n_checked:
                frames = (_cases(each, world, start) for each, start in _named(shipped.flags, flags, world))
                before, now = frames
                assert compare(runs, now, worth, baseline._replace(cases=before), settings) == compared
            outcomes = {result.run.evaluator_id: result.outcome for result in shipped.decision.results}
            runs = [
                replace(
                    run,
                    previous_outcome=outcomes[run.evaluator_id],
                    **(compared[run.evaluator_id]._asdict() if run.evaluator_id in compared else {}),
                )
                for run in runs
            ]
        yield Decided(*(decide(runs, policy, n_cases=world.n_cases) for policy in (default, article)), shipped.changed)


@dataclass(frozen=True)
class _Shipped:
    """A suite, and the last release as it was judged by it."""

    suite: Sequence[Evaluator]
    chances: Floats  # that a case (column) shows the failure of an evaluator (row)
    alarms: Floats  # that the evaluator is wrong about a case without it
    rates: Floats
    flags: Bools
    decision: Decision
    changed: int

    def next(self, change: Change, world: World, draw: np.random.Generator) -> Bools:
        """What is said of the next release."""
        chances, alarms = self.chances, self.alarms
        if world.way in ("unpaired", "traffic"):
            chances, alarms = _chances(self.rates, world, draw), _alarms(self.suite, world, draw)
        if change.after is not None:
            chances = chances.copy()
            chances[self.changed] = _moved(chances[self.changed], change.after, world, draw)
        return _flags(self.suite, chances, alarms, draw)

    def counted(self, flags: Bools) -> list[EvaluatorRun]:
        return _counted(self.suite, flags)

    def results(self, world: World) -> pl.DataFrame:
        worth = _worth(self.flags, world)
        rows = [
            {
                "evaluator_id": result.run.evaluator_id,
                "version": result.run.version,
                "n_pass": result.run.n_pass,
                "n_fail": result.run.n_fail,
                "n_own": None,
                "n_effective": worth[result.run.evaluator_id],
            }
            for result in self.decision.results
        ]
        return pl.DataFrame(rows)


def _shipped(world: World, change: Change, policy: GatePolicy, draw: np.random.Generator) -> _Shipped:
    """A release that the gate let ship by the same suite: what was blocked is no release."""
    for _ in range(_MAX_REDRAWN):
        known = known_evaluators()
        suite = [known[i] for i in draw.choice(len(known), world.n_evaluators, replace=False)]
        changed = int(draw.integers(world.n_evaluators))
        rates = np.exp(draw.uniform(*np.log(_PREVALENCE), world.n_evaluators))
        if change.before is not None:
            rates[changed] = change.before
        chances, alarms = _chances(rates, world, draw), _alarms(suite, world, draw)
        flags = _flags(suite, chances, alarms, draw)
        decision = decide(_counted(suite, flags), policy, n_cases=world.n_cases)
        if decision.decision == "pass" or world.way == "first":
            return _Shipped(suite, chances, alarms, rates, flags, decision, changed)
    raise RuntimeError(f"no suite of {world} let a release ship in {_MAX_REDRAWN} draws")


@cache
def known_evaluators() -> tuple[Evaluator, ...]:
    """Evaluators that would block: error rates are drawn, then labels, and who measures well enough is kept."""
    draw, quality = np.random.default_rng(11), QualitySettings()
    known: list[Evaluator] = []
    while len(known) < N_KNOWN:
        recall, false_alarm = draw.uniform(*_RECALL), math.exp(draw.uniform(*np.log(_FALSE_ALARM)))
        n_positives = int(draw.integers(*_POSITIVES, endpoint=True))
        is_failure = np.arange((1 + _NEGATIVES_EACH) * n_positives) < n_positives
        is_flagged = draw.random(len(is_failure)) < np.where(is_failure, recall, false_alarm)
        value = mcc(confusion(is_failure, is_flagged))
        if value is None or value < quality.block_mcc:
            continue
        groups = np.arange(len(is_failure)).astype(str).tolist()
        found = mcc_interval(
            is_failure,
            is_flagged,
            groups,
            confidence=quality.confidence,
            seed=len(known),
            evidence=_LATER_EVIDENCE,
        )
        if found is not None and status_of(value, found.lower, n_positives, quality) == "active":
            known.append(Evaluator(recall, false_alarm, value, found.lower, n_positives))
    return tuple(known)


def _chances(rates: Floats, world: World, draw: np.random.Generator) -> Floats:
    n_units = -(-world.n_cases // _TURNS) if world.way == "traffic" else world.n_cases
    drawn = draw.beta(_LIKENESS * rates[:, None], _LIKENESS * (1 - rates[:, None]), (len(rates), n_units))
    return np.repeat(drawn, _TURNS, axis=1)[:, : world.n_cases] if world.way == "traffic" else drawn


def _alarms(suite: Sequence[Evaluator], world: World, draw: np.random.Generator) -> Floats:
    """False alarms too come back on the same input."""
    return _chances(np.array([each.false_alarm for each in suite]), world, draw)


def _moved(chances: Floats, share: float, world: World, draw: np.random.Generator) -> Floats:
    """Chances of which `share` of the cases fail: those hit fail nine times in ten, in traffic by whole sessions."""
    if share == 0:
        return np.zeros_like(chances)
    usual, hit = chances.mean(), 0.9
    is_hit = draw.random(len(chances)) < (share - usual) / (hit - usual)
    if world.way == "traffic":
        is_hit = is_hit[np.arange(len(chances)) // _TURNS]
    return np.where(is_hit, hit, chances)


def _flags(suite: Sequence[Evaluator], chances: Floats, alarms: Floats, draw: np.random.Generator) -> Bools:
    recall = np.array([each.recall for each in suite])[:, None]
    return draw.random(chances.shape) < chances * recall + (1 - chances) * alarms


def _counted(suite: Sequence[Evaluator], flags: Bools) -> list[EvaluatorRun]:
    n_cases = flags.shape[1]
    return [
        EvaluatorRun(
            evaluator_id=f"ev_{number:02}",
            failure_mode=f"mode {number}",
            issue_id=f"iss_{number:02}",
            mcc=each.mcc,
            mcc_lower=each.mcc_lower,
            n_positives=each.n_positives,
            n_pass=n_cases - n_fail,
            n_fail=n_fail,
        )
        for number, (each, n_fail) in enumerate(zip(suite, flags.sum(axis=1).tolist(), strict=True))
    ]


def _turned(before: Bools, now: Bools) -> dict[str, Turned]:
    """As gate/baseline.turns counts it, where every case is a unit."""
    n_then, n_now = before.sum(axis=1).tolist(), now.sum(axis=1).tolist()
    n_worse, n_better = (now & ~before).sum(axis=1).tolist(), (before & ~now).sum(axis=1).tolist()
    return {
        f"ev_{number:02}": Turned(before.shape[1], *counts)
        for number, counts in enumerate(zip(n_then, n_now, n_worse, n_better, strict=True))
    }


def _worth(flags: Bools, world: World) -> Mapping[str, float]:
    n_evaluators, n_cases = flags.shape
    if world.way != "traffic":
        return {f"ev_{number:02}": float(n_cases) for number in range(n_evaluators)}
    starts = np.arange(0, n_cases, _TURNS)
    judged = np.diff(np.append(starts, n_cases)).tolist()
    fails = np.add.reduceat(flags.astype(np.int64), starts, axis=1).tolist()
    names = [str(number) for number in range(len(starts))]
    return {
        f"ev_{number:02}": effective_n(dict(zip(names, zip(row, judged, strict=True), strict=True)))
        for number, row in enumerate(fails)
    }


def _named(before: Bools, now: Bools, world: World) -> Iterator[tuple[Bools, int]]:
    """Both releases, with the number of their first input."""
    yield before, 0
    yield now, 0 if world.way == "paired" else world.n_cases


def _cases(flags: Bools, world: World, first: int) -> pl.DataFrame:
    """GATE_CASES of a release, and issue_ids."""
    names = [f"ev_{number:02}" for number in range(len(flags))]
    rows = [
        {
            "gate_id": "gate",
            "case_id": f"c{first + number:06}",
            "input_hash": f"input {first + number}",
            "session_id": f"s{(first + number) // _TURNS}" if world.way == "traffic" else None,
            "passed": [name for name, flag in zip(names, case, strict=True) if not flag],
            "failed": [name for name, flag in zip(names, case, strict=True) if flag],
            "faulted": [],
            "issue_ids": [],
        }
        for number, case in enumerate(flags.T.tolist())
    ]
    return pl.DataFrame(rows, schema_overrides={**GATE_CASES.schema, "issue_ids": pl.List(pl.String)})
