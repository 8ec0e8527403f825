import json
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.issues import decisions
from evalpipe.issues.events import PIPELINE, event
from evalpipe.issues.lifecycle import Evidence, GateSaid, transition, verification_of
from evalpipe.issues.replay import STATES, IssueState, replay
from evalpipe.quality.surges import Turn
from evalpipe.settings import VerificationSettings
from evalpipe_tests.issues.histories import START, day, exposure, hours, readings
from evalpipe_tests.issues.made import SLOW, issues_named

SETTINGS = VerificationSettings()
BEFORE = [(float(n), "1.0", 100, 4) for n in range(5)]
NOTHING = Evidence(exposure(hours(*BEFORE)))


def issue(state: str = "active") -> pl.DataFrame:
    """The events of an issue that was promoted on day 1 and is in this state."""
    events = issues_named("slow").with_columns(at=pl.lit(START).cast(pl.Datetime("us", "UTC")))
    steps = {
        "active": ["promoted"],
        "fix_claimed": ["promoted", "fix_claimed"],
        "verifying": ["promoted", "fix_claimed", "deployed"],
        "resolved": ["promoted", "fix_claimed", "deployed", "verified"],
        "candidate": [],
    }[state]
    said = {"fix_claimed": {"release": "1.1"}, "deployed": {"since": day(7).isoformat(), "release": "1.1"}}
    for n, kind in enumerate(steps):
        at = {"fix_claimed": day(5), "deployed": day(7), "verified": day(14)}.get(kind, day(1) + timedelta(seconds=n))
        events = pl.concat(
            [events, event(state_of(events), kind, author=PIPELINE, now=at, evidence=said.get(kind, {}))]
        )
    return events


def state_of(events: pl.DataFrame) -> IssueState:
    return replay(events)[SLOW]


def after(events: pl.DataFrame, evidence: Evidence) -> tuple[list[str], IssueState]:
    """The kinds of the events that the evidence adds, one after the other, and where the issue ends."""
    kinds = []
    while (found := transition(state_of(events), evidence, SETTINGS)) is not None:
        kinds.append(found["kind"].item())
        events = pl.concat([events, found])
        assert len(kinds) < 20
    return kinds, state_of(events)


def gate(n: float, release: str | None, has_passed: bool) -> GateSaid:
    return GateSaid(f"gate_{n}", day(n), release, has_passed)


def test_without_news_an_issue_stays_what_it_is():
    for state in ("candidate", "active", "fix_claimed", "verifying", "resolved"):
        assert after(issue(state), NOTHING)[0] == []


def test_a_gate_that_passes_after_it_failed_claims_a_fix_in_that_release():
    kinds, end = after(issue(), replace(NOTHING, gates=[gate(4, "1.1-rc1", False), gate(5, "1.1", True)]))
    assert (kinds, end.state, end.fixed_in, end.fix_claimed_at) == (["fix_claimed"], "fix_claimed", "1.1", day(5))


def test_gates_that_never_failed_or_are_older_than_the_failure_claim_nothing():
    assert after(issue(), replace(NOTHING, gates=[gate(4, "1.1", True)]))[0] == []
    assert after(issue(), replace(NOTHING, gates=[gate(0.2, "a", False), gate(0.5, "b", True)]))[0] == []


def test_a_gate_that_fails_before_the_fix_is_deployed_takes_the_claim_back_until_the_next_passes():
    failing = [gate(6, "1.1", False)]
    kinds, end = after(issue("fix_claimed"), replace(NOTHING, gates=failing))
    assert (kinds, end.state, end.fixed_in) == (["fix_withdrawn"], "active", None)
    kinds, end = after(issue("fix_claimed"), replace(NOTHING, gates=[*failing, gate(7, "1.2", True)]))
    assert (kinds, end.state, end.fixed_in) == (["fix_withdrawn", "fix_claimed"], "fix_claimed", "1.2")


def test_a_gate_that_fails_once_the_fix_is_deployed_is_about_another_release():
    assert after(issue("verifying"), replace(NOTHING, gates=[gate(8, "1.2", False)]))[0] == []


def test_a_claimed_fix_is_deployed_when_the_first_trace_of_its_release_is_seen():
    seen = replace(NOTHING, exposure=exposure(hours(*BEFORE, (7, "1.1", 10, 0))))
    kinds, end = after(issue("fix_claimed"), seen)
    assert (kinds, end.state, end.deployed_at) == (["deployed"], "verifying", day(7))


def test_where_nobody_named_the_release_it_is_the_first_new_one_after_the_claim():
    events = issue()
    claimed = decisions.claim_fix(state_of(events), None, author="ada", now=day(5))
    seen = replace(NOTHING, exposure=exposure(hours(*BEFORE, (6, "1.0", 10, 0), (8, "1.1", 10, 0), (9, "1.2", 10, 0))))
    _, end = after(pl.concat([events, claimed]), seen)
    assert (end.fixed_in, end.deployed_at) == ("1.1", day(8))


def test_an_application_that_names_no_release_is_verified_from_the_claim_on():
    seen = exposure(hours((0, "", 500, 20), (6, "", 400, 0)), readings((6, "", 80, False, False)))
    claimed = decisions.claim_fix(state_of(issue()), None, author="ada", now=day(5))
    kinds, end = after(pl.concat([issue(), claimed]), Evidence(seen))
    assert (kinds, end.state, end.deployed_at) == (["deployed", "verified"], "resolved", day(6))


def test_a_fix_that_traffic_and_people_prove_is_verified_and_the_event_says_by_what():
    read = readings((8, "1.1", 80, False, False))
    seen = replace(NOTHING, exposure=exposure(hours(*BEFORE, (7, "1.1", 400, 0)), read))
    events = issue("verifying")
    found = transition(state_of(events), seen, SETTINGS)
    assert found is not None
    assert (found["kind"].item(), found["at"].item(), found["author"].item()) == ("verified", day(9), PIPELINE)
    evidence = json.loads(found["evidence"].item())
    assert (evidence["n_exposed"], evidence["n_passes_read"], evidence["n_passes_failing"]) == (400, 80, 0)
    assert evidence["rate_upper"] < evidence["target_rate"]
    end = state_of(pl.concat([events, found]))
    assert (end.state, end.fixed_in, end.resolved_at) == ("resolved", "1.1", day(9))


def test_a_fix_that_people_see_failing_is_refuted_and_the_issue_is_active_again():
    read = readings((8, "1.1", 6, True, True))
    seen = replace(NOTHING, exposure=exposure(hours(*BEFORE, (7, "1.1", 100, 6)), read))
    kinds, end = after(issue("verifying"), seen)
    assert (kinds, end.state, end.fixed_in, end.has_returned) == (["refuted"], "active", None, False)


def test_a_release_that_brings_it_back_before_the_fix_is_proven_refutes_it_whatever_the_quiet_before():
    quiet = [(7.0 + n, "1.1", 100, 0) for n in range(20)]
    back = [(27.0 + n, "1.2", 100, 4) for n in range(7)]
    seen = replace(NOTHING, exposure=exposure(hours(*BEFORE, *quiet, *back)))
    found = transition(state_of(issue("verifying")), seen, SETTINGS)
    assert found is not None
    evidence = json.loads(found["evidence"].item())
    assert (found["kind"].item(), evidence["finding"], evidence["release"]) == ("refuted", "returned", "1.2")
    assert day(27) <= found["at"].item() <= day(31)


def test_a_solved_failure_that_comes_back_is_active_regressed_and_linked_to_its_release():
    back = [(20.0 + n, "1.2", 100, 5) for n in range(7)]
    seen = replace(NOTHING, exposure=exposure(hours(*BEFORE, (7, "1.1", 400, 1), *back)))
    kinds, end = after(issue("resolved"), seen)
    assert (kinds, end.state, end.returned_in) == (["recurred"], "active", "1.2")
    assert end.flags(day(21), timedelta(days=7)) == ["regressed"]


def test_escalating_and_calm_are_told_once_each_and_leave_the_state_alone():
    turns = [turn(8, True), turn(9, False), turn(10, True)]
    kinds, end = after(issue(), replace(NOTHING, turns=turns))
    assert (kinds, end.state, end.is_escalating) == (["escalated", "calmed", "escalated"], "active", True)
    assert end.escalation_turned_at == day(10)


def turn(n: float, is_escalating: bool) -> Turn:
    return Turn(day(n), is_escalating, 12, 3.0, 1e-6, "surge" if is_escalating else "calm")


def test_the_whole_life_of_an_issue_follows_from_evidence_alone():
    """Failed, passed, deployed, proven, and back in a later release: in one go, whoever looks first."""
    back = [(30.0 + n, "1.2", 100, 5) for n in range(7)]
    read = readings((8, "1.1", 80, False, False))
    seen = exposure(hours(*BEFORE, (7, "1.1", 400, 0), *back), read)
    evidence = Evidence(seen, gates=[gate(4, "1.1-rc1", False), gate(5, "1.1", True)])
    kinds, end = after(issue(), evidence)
    assert kinds == ["fix_claimed", "deployed", "verified", "recurred"]
    assert (end.state, end.returned_in) == ("active", "1.2")


@st.composite
def histories(draw):
    """Any traffic of three releases, any reading of it, any gates."""
    rows = [
        (float(at), draw(st.sampled_from(["1.0", "1.1", "1.2", ""])), n, min(n, draw(st.integers(0, n))))
        for at in sorted(draw(st.sets(st.integers(0, 60), max_size=12)))
        for n in [draw(st.integers(0, 300))]
    ]
    read = [
        (float(draw(st.integers(0, 60))), draw(st.sampled_from(["1.0", "1.1", "1.2"])), draw(st.integers(1, 80)), *pair)
        for pair in draw(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=5))
    ]
    gates = [
        gate(at, draw(st.sampled_from(["1.1", "1.2", None])), draw(st.booleans()))
        for at in sorted(draw(st.sets(st.integers(0, 60), max_size=6)))
    ]
    turns = [turn(2.0 * n, n % 2 == 0) for n in range(draw(st.integers(0, 4)))]
    return Evidence(exposure(hours(*rows), readings(*read)), gates, turns)


@settings(max_examples=150, deadline=None)
@given(histories(), st.sampled_from(["candidate", "active", "fix_claimed", "verifying", "resolved"]))
def test_any_evidence_leads_to_a_legal_state_and_comes_to_an_end(evidence: Evidence, state: str):
    kinds, end = after(issue(state), evidence)
    assert end.state in STATES
    assert "resolved" not in kinds  # the pipeline verifies, only people resolve without proof
    said = verification_of(end, evidence.exposure, SETTINGS)
    assert (said is not None) == (end.state in ("fix_claimed", "verifying", "resolved"))
    assert said is None or said.finding not in ("solved", "not_solved", "fooled", "returned")  # it would have followed


@settings(max_examples=60, deadline=None)
@given(histories())
def test_what_follows_does_not_depend_on_when_it_is_looked_at(evidence: Evidence):
    """The events that the first days gave are among those that all days give, or were completed by them."""
    first_look = issue("fix_claimed")
    known = replace(
        evidence, exposure=_until(evidence, day(30)), gates=[g for g in evidence.gates if g.decided_at < day(30)]
    )
    early, _ = after(first_look, replace(known, turns=()))
    late, _ = after(first_look, replace(evidence, turns=()))
    assert late[: len(early)] == early


def _until(evidence: Evidence, until: datetime):
    seen = evidence.exposure
    return replace(
        seen, hours=seen.hours.filter(pl.col("at") < until), readings=seen.readings.filter(pl.col("read_at") < until)
    )
