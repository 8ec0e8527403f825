"""The demo: weeks of simulated traffic through the real pipeline, reviewed week by week, releases that ask the gate.

Only the scripted reviewer knows what was planted, and it looks only at the traces that the queue shows it. Nothing is
decided by hand: that an issue is said to be fixed, verified, solved and back follows from traffic, gates and reading.
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import polars as pl

from evalpipe.demo.plan import BAD_CANDIDATE, CANDIDATES, GOOD_CANDIDATE, QUIET_WEEKS, STORY_WEEKS, Candidate, DemoPlan
from evalpipe.demo.reviewer import REVIEWERS, review, write_annotations
from evalpipe.demo.traffic import release_cases, week_of_traffic, write_cases
from evalpipe.errors import StateError
from evalpipe.files import write_whole
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.on_lake import gate
from evalpipe.gate.request import GateRequest
from evalpipe.home import Home
from evalpipe.materialise import materialise, materialise_stale
from evalpipe.plan import UP_TO_QUEUE, WHOLE
from evalpipe.review.on_lake import deliver
from evalpipe.review.queue.cycles import cycle_of
from evalpipe.tables import CANDIDATES as QUEUES
from evalpipe.tables import GATE_RUNS

_N_GATE_CASES = 150
_PRUNING = "evaluator_pruning"

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
    n_all = n_weeks + (QUIET_WEEKS + 1 if n_weeks >= STORY_WEEKS else 0)
    return DemoPlan(start_day=today - timedelta(days=today.weekday(), weeks=n_all), n_weeks=n_weeks)


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
    n_annotations, last = 0, plan.n_weeks - 1
    for week in plan.weeks:
        n_annotations += _week(home, instance, plan, week, truth, announce)
        asking = [candidate for candidate in CANDIDATES if candidate.after_week == week < last]
        for hour, candidate in enumerate(asking, start=12):
            announce(f"week {week + 1}: release {candidate.version} asks the gate")
            _gate(home, instance, plan, candidate, _monday_after(plan, week, hour))
        if asking:
            materialise_stale(home, instance, (), lambda asset, _: announce(asset), at=_at(plan, week, 15))
    announce("two releases ask the gate")
    (home.root / "demo" / "planted.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
    end = plan.weeks[-1]
    good, good_cases = _gate(home, instance, plan, GOOD_CANDIDATE, _monday_after(plan, end, 16))
    bad, bad_cases = _gate(home, instance, plan, BAD_CANDIDATE, _monday_after(plan, end, 17))
    materialise(home, instance, _PRUNING, [WHOLE], at=_at(plan, end, 18))
    materialise_stale(home, instance, (), lambda asset, _: announce(asset), at=_at(plan, end, 18))
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
        announce(f"week {week + 1} of {plan.n_weeks}: {what}" if week < plan.n_weeks else f"much later: {what}")

    # The queue is built before the reviewers start.
    monday = _monday_after(plan, week, 6)
    say("traffic")
    traffic = week_of_traffic(plan, week, home.root / "demo" / "traffic")
    truth |= traffic.truth
    home.landing.ingest(traffic.paths, now=monday)
    materialise_stale(home, instance, UP_TO_QUEUE, lambda asset, _: say(asset), at=monday.isoformat())
    say("the reviewer reads the queue")
    n_annotations = _review(home, plan, week, truth, monday)
    # Two hours of reading, and a coffee.
    materialise_stale(home, instance, (), lambda asset, _: say(asset), at=_at(plan, week, 10))
    return n_annotations


def _monday_after(plan: DemoPlan, week: int, hour: int) -> datetime:
    """The morning after a week, UTC."""
    return datetime.combine(plan.start_day + timedelta(weeks=week + 1), time(hour), UTC)


def _at(plan: DemoPlan, week: int, hour: int) -> str:
    return _monday_after(plan, week, hour).isoformat()


def _review(home: Home, plan: DemoPlan, week: int, truth: dict[str, str | None], monday: datetime) -> int:
    cycle = cycle_of(plan.start_day + timedelta(weeks=week))
    queue = home.lake.read(QUEUES, pl.col("cycle") == cycle).sort("rank")
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


def _gate(
    home: Home, instance: dg.DagsterInstance, plan: DemoPlan, candidate: Candidate, now: datetime
) -> tuple[GateOutcome, Path]:
    cases = home.root / "demo" / f"cases-{candidate.version}.jsonl"
    write_cases(cases, release_cases(plan, candidate, _N_GATE_CASES, seed=plan.seed))
    request = GateRequest(cases=cases, by="demo")
    outcome = gate(home.lake, home.artifacts, request, settings=home.settings, now=now)
    metadata = {"decision": outcome.decision.decision, "suite_pass_rate": outcome.decision.suite_pass_rate}
    instance.report_runless_asset_event(dg.AssetMaterialization(GATE_RUNS.name, metadata=metadata))
    return outcome, cases
