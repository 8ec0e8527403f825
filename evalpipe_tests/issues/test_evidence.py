"""From tables on disk to what they say of an issue: verdicts, labels, gates and rates of a real lake."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from evalpipe.defs.assets.lifecycle import issue_transitions, verifications
from evalpipe.defs.resources import HomeResource
from evalpipe.evaluators.rates import count_frame
from evalpipe.home import Home
from evalpipe.issues.events import PIPELINE, event
from evalpipe.issues.evidence import evidence_on, gather
from evalpipe.issues.on_lake import transitions
from evalpipe.issues.on_lake import verifications as verifications_now
from evalpipe.issues.replay import replay
from evalpipe.plan import TRANSITIONS, stale
from evalpipe.settings import VerificationSettings
from evalpipe.tables import (
    CANDIDATES,
    EVALUATOR_QUALITY,
    GATE_RESULTS,
    GATE_RUNS,
    ISSUE_EVENTS,
    ISSUE_RATES,
    LABELS,
    TRACES,
    VERDICT_COUNTS,
    VERDICTS,
    VERIFICATIONS,
    Table,
)
from evalpipe_tests.issues.histories import day
from evalpipe_tests.issues.made import SLOW, issues_named

SETTINGS = VerificationSettings()
EVALUATOR = "ev_slow"


def rows(table: Table, made: list[dict]) -> pl.DataFrame:
    """Rows of a table; what a row does not say is 0, empty or null."""
    blank = {
        c.name: []
        if isinstance(c.dtype, pl.List)
        else 0
        if c.dtype.is_numeric()
        else ""
        if c.dtype == pl.String
        else None
        for c in table.columns
        if not c.is_nullable
    }
    return table.conform(pl.DataFrame([{**blank, **row} for row in made], infer_schema_length=None))


def trace_id(n: int, i: int) -> str:
    return f"{n:08x}{i:024x}"


class Shop:
    """A lake with days of traffic of one issue's service, judged, and as far as is said also read."""

    def __init__(self, home: Home) -> None:
        self.home, self.lake = home, home.lake
        events = issues_named("slow").with_columns(at=pl.lit(day(0)).dt.cast_time_unit("us"))
        promoted = event(replay(events)[SLOW], "promoted", author=PIPELINE, now=day(1), evidence={"n_failures": 3})
        self.lake.append_new(ISSUE_EVENTS, pl.concat([events, promoted]))
        quality = {"evaluator_id": EVALUATOR, "version": 1, "issue_id": SLOW, "kind": "rule", "split": "held_out"}
        figures = {"tp": 19, "fn": 1, "tn": 99, "fp": 1, "measured_at": day(1)}
        self.lake.append_new(EVALUATOR_QUALITY, rows(EVALUATOR_QUALITY, [quality | figures]))
        self.lake.replace(
            ISSUE_RATES,
            rows(
                ISSUE_RATES,
                [{"issue_id": SLOW, "first_day": day(0).date(), "version": 1, "n_judged": 700, "prevalence": 0.04}],
            ),
        )

    def traffic(self, n: int, release: str, n_traces: int, n_flagged: int) -> None:
        """A day of traces, a minute apart, the first ones flagged, and the counts of it."""
        at = [day(n) + timedelta(minutes=i) for i in range(n_traces)]
        starts = [int(when.timestamp()) * 10**9 for when in at]
        common = {"day": day(n).date()}
        traces = [
            common
            | {"trace_id": trace_id(n, i), "service_name": "shop", "service_version": release, "name": "ask"}
            | {"start_unix_ns": start, "end_unix_ns": start + 1, "is_complete": True, "status": "ok", "transcript": []}
            for i, start in enumerate(starts)
        ]
        verdicts = [
            common
            | {"trace_id": trace_id(n, i), "evaluator_id": EVALUATOR, "version": 1, "issue_id": SLOW}
            | {"outcome": "fail" if i < n_flagged else "pass", "inclusion_probability": 1.0}
            for i in range(n_traces)
        ]
        made, judged = rows(TRACES, traces), rows(VERDICTS, verdicts)
        self.lake.append_new(TRACES, made)
        self.lake.append_new(VERDICTS, judged)
        self.lake.append_new(VERDICT_COUNTS, count_frame(judged, made))

    def read(self, n: int, places: range, *, is_failure: bool, arm: str = "verification") -> None:
        """These traces of a day were queued, and read the day after."""
        labels = [
            {"trace_id": trace_id(n, i), "issue_id": SLOW, "day": day(n).date(), "service_name": "shop"}
            | {"is_failure": is_failure, "is_disputed": False, "labelled_at": day(n + 1), "weight": 1.0}
            for i in places
        ]
        queued = [
            {"cycle": "2026-W10", "trace_id": trace_id(n, i), "reviewer": "ada", "day": day(n).date(), "arm": arm}
            for i in places
        ]
        self.lake.append_new(LABELS, rows(LABELS, labels))
        self.lake.append_new(CANDIDATES, rows(CANDIDATES, queued))

    def gate(self, n: int, release: str, outcome: str) -> None:
        run = {"gate_id": f"gate_{n}", "decided_at": day(n), "release": release, "decision": "pass"}
        result = {"gate_id": f"gate_{n}", "evaluator_id": EVALUATOR, "issue_id": SLOW, "outcome": outcome}
        self.lake.append_new(GATE_RUNS, rows(GATE_RUNS, [run]))
        self.lake.append_new(GATE_RESULTS, rows(GATE_RESULTS, [result]))

    def kinds(self) -> list[str]:
        return transitions(self.lake, SETTINGS)["kind"].to_list()


@pytest.fixture
def shop(empty_home: Home) -> Shop:
    return Shop(empty_home)


def fixed(shop: Shop) -> None:
    """1.0 failed the gate and in production; 1.1 passed, was deployed, and people read of it."""
    shop.gate(2, "1.1-rc1", "failed")
    shop.gate(3, "1.1", "passed")
    shop.traffic(4, "1.0", 200, 8)
    shop.traffic(7, "1.1", 400, 1)
    shop.read(7, range(1), is_failure=False)
    shop.read(7, range(100, 180), is_failure=False)


def test_what_is_known_of_an_issue_is_gathered_from_its_tables(shop: Shop):
    fixed(shop)
    issue = replay(shop.lake.read(ISSUE_EVENTS))[SLOW]
    found = evidence_on(issue, gather(shop.lake, [SLOW]), SETTINGS)
    seen = found.exposure
    assert (seen.n_judged, seen.n_flagged) == (600, 9)
    assert seen.agreement is not None
    assert (seen.agreement.tp, seen.agreement.fn, seen.rate_before) == (19, 1, 0.04)
    assert seen.readings.group_by("is_flagged", "is_random").len().sort("is_flagged").rows() == [
        (False, True, 80),
        (True, True, 1),
    ]
    assert [(gate.release, gate.has_passed) for gate in found.gates] == [("1.1-rc1", False), ("1.1", True)]


def test_reading_of_the_anomaly_arm_proves_no_pass(shop: Shop):
    fixed(shop)
    shop.read(7, range(200, 300), is_failure=False, arm="anomaly")
    (row,) = _after(shop).to_dicts()
    assert row["n_passes_read"] == 80


def _after(shop: Shop) -> pl.DataFrame:
    shop.lake.append_new(ISSUE_EVENTS, transitions(shop.lake, SETTINGS))
    return verifications_now(shop.lake, SETTINGS)


def test_a_fix_is_claimed_deployed_and_verified_in_one_look_and_a_second_look_adds_nothing(shop: Shop):
    fixed(shop)
    news = transitions(shop.lake, SETTINGS)
    assert news["kind"].to_list() == ["fix_claimed", "deployed", "verified"]
    assert news["at"].to_list()[1:] == [day(7), day(8)]
    shop.lake.append_new(ISSUE_EVENTS, news)
    assert transitions(shop.lake, SETTINGS).is_empty()
    (row,) = verifications_now(shop.lake, SETTINGS).to_dicts()
    assert (row["state"], row["finding"], row["release"]) == ("resolved", "quiet", "1.1")


def test_looked_at_day_by_day_the_same_events_are_found(shop: Shop, tmp_path: Path):
    """The pipeline that ran every day, and one that ran once at the end, tell the same story."""
    steps = [
        lambda s: (s.gate(2, "1.1-rc1", "failed"), s.gate(3, "1.1", "passed")),
        lambda s: s.traffic(4, "1.0", 200, 8),
        lambda s: (s.traffic(7, "1.1", 400, 1), s.read(7, range(1), is_failure=False)),
        lambda s: s.read(7, range(100, 180), is_failure=False),
        lambda s: [s.traffic(20 + n, "1.2", 100, 5) for n in range(6)],
    ]
    for step in steps:
        step(shop)
        shop.lake.append_new(ISSUE_EVENTS, transitions(shop.lake, SETTINGS))
    once = Shop(Home.open(tmp_path / "once"))
    for step in steps:
        step(once)
    once.lake.append_new(ISSUE_EVENTS, transitions(once.lake, SETTINGS))
    daily, at_once = (each.lake.read(ISSUE_EVENTS).sort("at", "event_id") for each in (shop, once))
    assert daily["kind"].to_list()[2:] == ["fix_claimed", "deployed", "verified", "recurred"]
    assert daily.equals(at_once)
    assert replay(daily)[SLOW].returned_in == "1.2"


def test_the_assets_write_the_events_once_and_then_nothing_is_stale(shop: Shop):
    fixed(shop)
    now = datetime(2026, 4, 1, tzinfo=UTC)
    resources = {"home": HomeResource(root=str(shop.home.root), at=now.isoformat())}
    upstream = [
        dg.AssetSpec(key)
        for key in sorted(
            {dep.asset_key for a in (issue_transitions, verifications) for spec in a.specs for dep in spec.deps}
            - {issue_transitions.key}
        )
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            done = dg.materialize([issue_transitions, verifications, *upstream], instance=instance, resources=resources)
            assert done.success
    assert shop.lake.read(ISSUE_EVENTS)["kind"].to_list().count("verified") == 1
    assert shop.lake.read(VERIFICATIONS)["finding"].to_list() == ["quiet"]
    assert stale(shop.home, TRANSITIONS, now).partitions == ()
    assert stale(shop.home, "verifications", now).partitions == ()
