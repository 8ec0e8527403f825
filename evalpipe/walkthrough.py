"""The demo: weeks of simulated traffic through the real pipeline, reviewed week by week, then two gate runs.

Only the scripted reviewer knows what was planted, and it looks only at the traces that the queue shows it.
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import polars as pl

from evalpipe.demo.plan import DemoPlan
from evalpipe.demo.reviewer import REVIEWERS, review, write_annotations
from evalpipe.demo.traffic import release_cases, week_of_traffic, write_cases
from evalpipe.errors import StateError
from evalpipe.files import write_whole
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.on_lake import gate
from evalpipe.home import Home
from evalpipe.materialise import materialise_stale
from evalpipe.plan import UP_TO_QUEUE
from evalpipe.review.on_lake import deliver
from evalpipe.review.queue.cycles import cycle_of
from evalpipe.tables import CANDIDATES, GATE_RUNS

_N_GATE_CASES = 150

Announce = Callable[[str], None]


class Walked(NamedTuple):
    """What the demo leaves to look at."""

    n_traces: int
    n_annotations: int
    good: GateOutcome
    bad: GateOutcome
    good_cases: Path
    bad_cases: Path


def default_plan(today: date, n_weeks: int) -> DemoPlan:
    """Whole ISO weeks that end with the last Sunday before `today`."""
    return DemoPlan(start_day=today - timedelta(days=today.weekday(), weeks=n_weeks), n_weeks=n_weeks)


def walk(home: Home, instance: dg.DagsterInstance, plan: DemoPlan, announce: Announce) -> Walked:
    """Run the whole demo in an empty home. Raises StateError when something has landed there before."""
    if home.landing.days():
        raise StateError(
            f"{home.root} is not empty: traffic has landed there. The demo needs a home of its own: "
            "evalpipe --home DIR demo"
        )
    reviewers = "".join(f"- {{name: {name}, capacity: {capacity}}}\n" for name, capacity in REVIEWERS.items())
    write_whole(home.reviewers, reviewers)
    truth: dict[str, str | None] = {}
    n_annotations = sum(_week(home, instance, plan, week, truth, announce) for week in range(plan.n_weeks))
    announce("two releases ask the gate")
    (home.root / "demo" / "planted.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
    outcomes = [_gate(home, plan, version, is_bad) for version, is_bad in (("2.0.0-good", False), ("2.0.0-bad", True))]
    for outcome, _ in outcomes:
        metadata = {"decision": outcome.decision.decision, "suite_pass_rate": outcome.decision.suite_pass_rate}
        instance.report_runless_asset_event(dg.AssetMaterialization(GATE_RUNS.name, metadata=metadata))
    end = datetime.combine(plan.start_day + timedelta(weeks=plan.n_weeks), time(12), UTC)
    materialise_stale(home, instance, (), lambda asset, _: announce(asset), at=end.isoformat())
    (good, good_cases), (bad, bad_cases) = outcomes
    return Walked(len(truth), n_annotations, good, bad, good_cases, bad_cases)


def _week(
    home: Home,
    instance: dg.DagsterInstance,
    plan: DemoPlan,
    week: int,
    truth: dict[str, str | None],
    announce: Announce,
) -> int:
    """One week of traffic, its queue, its review; adds to `truth` and returns the number of annotations."""

    def say(what: str) -> None:
        announce(f"week {week + 1} of {plan.n_weeks}: {what}")

    # Monday morning: the week has ended, and its queue is built before the reviewers start.
    monday = datetime.combine(plan.start_day + timedelta(weeks=week + 1), time(6), UTC)
    say("traffic")
    traffic = week_of_traffic(plan, week, home.root / "demo" / "traffic")
    truth |= traffic.truth
    home.landing.ingest(traffic.paths, now=monday)
    materialise_stale(home, instance, UP_TO_QUEUE, lambda asset, _: say(asset), at=monday.isoformat())
    say("the reviewer reads the queue")
    n_annotations = _review(home, plan, week, truth, monday)
    materialise_stale(home, instance, (), lambda asset, _: say(asset), at=_after(monday))
    return n_annotations


def _after(monday: datetime) -> str:
    return (monday + timedelta(hours=4)).isoformat()  # two hours of reading, and a coffee


def _review(home: Home, plan: DemoPlan, week: int, truth: dict[str, str | None], monday: datetime) -> int:
    cycle = cycle_of(plan.start_day + timedelta(weeks=week))
    queue = home.lake.read(CANDIDATES, pl.col("cycle") == cycle).sort("rank")
    rows = [
        row
        for name, capacity in REVIEWERS.items()
        for row in review(
            queue.filter(pl.col("reviewer") == name),
            truth,
            week_end=monday,
            plan=plan,
            seed=plan.seed + week,
            annotator=name,
            capacity=capacity,
        )
    ]
    file = home.root / "demo" / f"annotations-{cycle}.jsonl"
    write_annotations(rows, file)
    deliver(file, home.inbox)
    return len(rows)


def _gate(home: Home, plan: DemoPlan, version: str, is_bad: bool) -> tuple[GateOutcome, Path]:
    cases = home.root / "demo" / f"cases-{version}.jsonl"
    write_cases(cases, release_cases(plan, version, _N_GATE_CASES, is_bad=is_bad, seed=plan.seed))
    decided_at = datetime.combine(plan.start_day + timedelta(weeks=plan.n_weeks), time(11, 30 if is_bad else 0), UTC)
    outcome = gate(home.lake, home.artifacts, cases=cases, release=None, settings=home.settings, now=decided_at)
    return outcome, cases
