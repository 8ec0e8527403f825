"""Verdicts of a day that is judged again and again: nothing twice, what has changed anew, at the right chance."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.on_lake import DayOfVerdicts, verdicts_on
from evalpipe.evaluators.sampling import bits_of, draws
from evalpipe.lake.store import Lake
from evalpipe.settings import LlmSettings, MonitorSettings, Settings
from evalpipe.tables import ISSUES, PREVALENCE, TRACES, VERDICTS
from evalpipe_tests.evaluators.made import artifact, rule_artifact, trace_id, traces, transcript
from evalpipe_tests.scripted_model import MODEL, Saying, Server, answer, scripted_model

DAY = date(2026, 3, 2)
SORRY = {"op": "contains", "field": "final", "any": ["sorry"]}
N = 30
RULE = rule_artifact(SORRY)
EVERY = MonitorSettings(judge_rate=1.0)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A day of 30 traces, of which every fifth apologises."""
    lake = Lake(tmp_path / "lake")
    lake.replace(TRACES, day_of(N), partition=DAY)
    return lake


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with scripted_model(Saying(lambda _, trace: answer("sorry" in trace))) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.reset()
    return running


def day_of(n: int) -> pl.DataFrame:
    return traces(*[transcript(("assistant", f"{'sorry, no' if i % 5 == 0 else 'done'} {i}")) for i in range(n)])


def judge(version: int = 1, **program: Any) -> Artifact:
    return artifact(
        {"instruction": "It apologises.", "model": None, "max_chars": 24_000, **program},
        "judge",
        evaluator_id="ev_judge",
        issue_id="iss_judge",
        version=version,
    )


def judged(lake: Lake, *artifacts: Artifact, server: Server | None = None, monitor: MonitorSettings = EVERY) -> Any:
    """The verdicts of the day, kept in the lake as the asset does it."""
    url = None if server is None else server.url
    llm = LlmSettings(judge_model=MODEL, api_base=url, max_retries=0, timeout_s=10)
    found = verdicts_on(lake, DAY, artifacts, Settings(llm=llm, monitor=monitor))
    lake.replace(VERDICTS, found.rows, partition=DAY)
    return found


def chances_of(found: DayOfVerdicts) -> dict[str, float]:
    return dict(found.rows.select("trace_id", "inclusion_probability").iter_rows())


def test_what_was_judged_is_not_judged_again(lake: Lake, server: Server):
    first = judged(lake, judge(), RULE, server=server)
    assert (first.n_judged, first.n_reused, first.share_judged, server.n_requests) == (2 * N, 0, 1.0, N)
    assert (first.rows["outcome"] == "fail").sum() == 2 * N / 5
    again = judged(lake, judge(), RULE, server=server)
    assert (again.n_judged, again.n_reused, again.share_judged, server.n_requests) == (0, 2 * N, 1.0, N)
    assert again.rows.sort(VERDICTS.key).equals(first.rows.sort(VERDICTS.key))


def test_new_traffic_of_a_day_costs_what_is_new(lake: Lake, server: Server):
    judged(lake, judge(), server=server)
    lake.replace(TRACES, day_of(N + 3), partition=DAY)
    more = judged(lake, judge(), server=server)
    assert (more.n_judged, more.n_reused, server.n_requests) == (3, N, N + 3)


def test_a_trace_that_has_grown_is_judged_again_and_has_one_verdict(lake: Lake, server: Server):
    judged(lake, judge(), RULE, server=server)
    grown = day_of(N).with_columns(
        transcript=pl.when(pl.col("trace_id") == trace_id(1))
        .then(pl.lit(transcript(("assistant", "sorry after all")), dtype=TRACES.schema["transcript"]))
        .otherwise("transcript")
    )
    lake.replace(TRACES, grown, partition=DAY)
    again = judged(lake, judge(), RULE, server=server)
    assert (again.n_judged, server.n_requests) == (2, N + 1)
    assert again.rows.filter(pl.col("trace_id") == trace_id(1))["outcome"].to_list() == ["fail", "fail"]


def test_a_fault_is_tried_again(lake: Lake, server: Server):
    server.troubles.statuses = [(500, None)] * 2
    n_faults = (judged(lake, judge(), server=server).rows["outcome"] == "fault").sum()
    assert n_faults >= 2
    server.reset()
    again = judged(lake, judge(), server=server)
    assert (again.n_judged, again.n_reused, server.n_requests) == (n_faults, N - n_faults, n_faults)
    assert (again.rows["outcome"] == "fault").sum() == 0


def test_a_judge_reads_its_share_and_a_new_version_reads_the_same_traces(lake: Lake, server: Server):
    third = MonitorSettings(judge_rate=0.3)
    drawn = set(day_of(N)["trace_id"].filter(pl.Series(draws(bits_of(day_of(N)["trace_id"]), "ev_judge") < 0.3)))
    first = judged(lake, judge(), server=server, monitor=third)
    assert set(first.rows["trace_id"]) == drawn
    assert set(first.rows["inclusion_probability"]) == {0.3}
    both = judged(lake, judge(version=2), server=server, monitor=third)
    assert both.share_judged == len(drawn) / N
    assert [set(both.rows.filter(pl.col("version") == version)["trace_id"]) for version in (1, 2)] == [drawn, drawn]


def test_a_rate_that_is_raised_judges_the_difference_and_all_have_the_new_chance(lake: Lake, server: Server):
    few = judged(lake, judge(), server=server, monitor=MonitorSettings(judge_rate=0.3)).n_judged
    more = judged(lake, judge(), server=server, monitor=MonitorSettings(judge_rate=0.7))
    assert more.n_reused == few
    assert more.n_judged + few == server.n_requests
    assert set(chances_of(more).values()) == {0.7}


def test_a_rate_that_is_lowered_holds_for_new_traces_and_the_others_keep_their_chance(lake: Lake, server: Server):
    before = chances_of(judged(lake, judge(), server=server, monitor=MonitorSettings(judge_rate=0.7)))
    lake.replace(TRACES, day_of(2 * N), partition=DAY)
    after = chances_of(judged(lake, judge(), server=server, monitor=MonitorSettings(judge_rate=0.3)))
    assert {name: after[name] for name in before} == before
    assert {chance for name, chance in after.items() if name not in before} == {0.3}
    # None of the older traces is drawn at the lower rate that was not at the higher one.
    assert {name for name in after if name not in before}.isdisjoint(day_of(N)["trace_id"])


def test_a_critical_issue_is_judged_whole(lake: Lake):
    at = datetime(2026, 3, 2, tzinfo=UTC)
    issue = {"issue_id": "iss_1", "name": "x", "state": "active", "flags": [], "severity": "critical", "services": [],
             "n_failures": 10, "first_seen_at": at, "last_seen_at": at, "updated_at": at}  # fmt: skip
    sparse = MonitorSettings(cheap_rate=0.1)
    assert judged(lake, RULE, monitor=sparse).n_judged < N
    lake.replace(
        ISSUES, pl.DataFrame([issue], schema_overrides={"flags": pl.List(pl.String), "services": pl.List(pl.String)})
    )
    whole = judged(lake, RULE, monitor=sparse)
    assert whole.rows.height == N
    assert set(whole.rows["inclusion_probability"]) == {1.0}


def test_of_a_rare_issue_the_judge_reads_what_its_rule_flags_and_little_else(lake: Lake, server: Server):
    behind = judge(prefilter={"rule": SORRY, "recall": 0.9})
    fifth = MonitorSettings(judge_rate=0.2)
    rare = {"issue_id": "iss_judge", "first_day": DAY, "last_day": DAY, "n_traces": 100, "n_reviewed": 10,
            "n_failures": 0, "prevalence": 0.01, "confidence": 0.9}  # fmt: skip
    plain = chances_of(judged(lake, behind, server=server, monitor=fifth))
    lake.replace(PREVALENCE, pl.DataFrame([rare]))
    found = judged(lake, behind, server=server, monitor=fifth)
    flagged = {trace_id(i) for i in range(0, N, 5)}
    draw = dict(zip(day_of(N)["trace_id"], draws(bits_of(day_of(N)["trace_id"]), "ev_judge"), strict=True))
    rest = {name for name in draw if name not in flagged and (draw[name] < 0.02 or name in plain)}
    # What the rule flags is certain now, also where it had been drawn before; the others keep what they were read at.
    assert chances_of(found) == pytest.approx(
        dict.fromkeys(flagged, 1.0) | {name: 0.2 if name in plain else 0.02 for name in rest}
    )
    assert found.n_judged + found.n_reused == len(flagged) + len(rest)
    again = judged(lake, behind, server=server, monitor=fifth)
    assert (again.n_judged, chances_of(again)) == (0, chances_of(found))


def test_what_ci_replays_for_a_gate_is_no_traffic(lake: Lake):
    replays = pl.col("trace_id").is_in([trace_id(0), trace_id(1)])
    rows = day_of(N).with_columns(gate_ref=pl.when(replays).then(pl.lit("ci-7")))
    lake.replace(TRACES, rows, partition=DAY)
    found = judged(lake, RULE)
    assert found.n_judged == N - 2
    assert not set(found.rows["trace_id"]) & {trace_id(0), trace_id(1)}
