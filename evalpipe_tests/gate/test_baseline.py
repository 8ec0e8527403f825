"""Beside the last release: what is compared with what, and when it counts as worse."""

from typing import Any

import polars as pl
import pytest

from evalpipe.gate.baseline import Baseline, Compared, compare, turns
from evalpipe.gate.decide import EvaluatorRun
from evalpipe.settings import GateSettings
from evalpipe.tables import GATE_CASES, GATE_RESULTS

ME = "ev_1"


def cases(*rows: str, **columns: Any) -> pl.DataFrame:
    """GATE_CASES with issue_ids; of each case its input and p (passed), f (failed), x (fault) or - (not asked)."""
    said = {"passed": "p", "failed": "f", "faulted": "x"}
    split = [row.split() for row in rows]
    frame = pl.DataFrame(
        {
            "gate_id": "g",
            "case_id": [f"c{number:03}" for number in range(len(rows))],
            "input_hash": [name for name, _ in split],
            "session_id": columns.get("sessions", [None] * len(rows)),
            "issue_ids": columns.get("issue_ids", [[]] * len(rows)),
            **{name: [[ME] if outcome == sign else [] for _, outcome in split] for name, sign in said.items()},
        },
        schema_overrides={name: GATE_CASES.schema[name] for name in ("session_id", *said)}
        | {"issue_ids": pl.List(pl.String)},
    )
    return frame


def run_of(frame: pl.DataFrame, **fields: Any) -> EvaluatorRun:
    counts = {"n_pass": frame["passed"].list.len().sum(), "n_fail": frame["failed"].list.len().sum()}
    return EvaluatorRun(
        **{"evaluator_id": ME, "issue_id": "iss_1", "failure_mode": "wrong refund", "mcc": 0.9} | counts | fields
    )


def baseline_of(frame: pl.DataFrame, *, has_cases: bool = True, **fields: Any) -> Baseline:
    run = run_of(frame)
    row = {
        "gate_id": "g0",
        "evaluator_id": ME,
        "version": 1,
        "issue_id": "iss_1",
        "n_pass": run.n_pass,
        "n_fail": run.n_fail,
        **fields,
    }
    results = pl.DataFrame([row], schema=GATE_RESULTS.schema)
    return Baseline("g0", "1.0", results, frame if has_cases else GATE_CASES.empty())


def compared(now: pl.DataFrame, before: pl.DataFrame, settings: GateSettings | None = None, **fields: Any) -> Compared:
    worth = {ME: fields.pop("worth")} if "worth" in fields else {}
    run, baseline = run_of(now, **fields), baseline_of(before)
    return compare([run], now, worth, baseline, settings or GateSettings())[ME]


def numbered(outcomes: str) -> list[str]:
    return [f"input{number} {outcome}" for number, outcome in enumerate(outcomes)]


def test_the_same_inputs_are_compared_in_pairs_in_any_order():
    now = cases("a f", "b p", "c f", "d p")
    found = compared(now, cases("d p", "c p", "b f", "a p")).comparison
    # a and c turned worse, b better: of 3 that changed 2 or more worse is 3 + 1 of 2^3 ways.
    assert found is not None
    assert (found.way, found.release, found.n, found.pass_rate, found.change) == ("paired", "1.0", 4, 0.75, -0.25)
    assert found.p_worse == pytest.approx(4 / 8)


def test_an_input_that_comes_twice_is_paired_in_turn_and_what_is_left_has_no_partner():
    now, before = cases("a p", "a f", "a f"), cases("a p", "a p")
    assert turns([run_of(now)], now, before)[ME] == (2, 0, 1, 1, 0)


def test_sessions_turn_as_one():
    before = cases(*numbered("pppp"), sessions=["s", "s", "s", "t"])
    now = cases(*numbered("ffpf"), sessions=["s", "s", "s", "t"])
    # Three cases failed now and none then, in two sessions that got worse.
    assert turns([run_of(now)], now, before)[ME] == (4, 0, 3, 2, 0)


def test_a_session_in_which_as_many_turned_either_way_has_not_turned():
    before, now = (cases(*numbered(each), sessions=["s", "s"]) for each in ("pf", "fp"))
    assert turns([run_of(now)], now, before)[ME] == (2, 1, 1, 0, 0)


def test_faults_and_what_was_not_asked_are_in_no_pair():
    now, before = cases("a f", "b x", "c -", "d p"), cases("a p", "b p", "c p", "d x")
    assert turns([run_of(now)], now, before)[ME] == (1, 0, 1, 1, 0)


def test_of_an_evaluator_with_cases_of_its_own_these_alone_are_paired():
    now = cases("a f", "b f", issue_ids=[["iss_1"], ["iss_2"]])
    before = cases("a p", "b p")
    assert turns([run_of(now, n_own=1)], now, before)[ME] == (1, 0, 1, 1, 0)


def test_with_fewer_than_half_of_the_partners_shares_are_compared():
    now = cases(*numbered("fppp"), "other1 f", "other2 f", "other3 f", "other4 f", "other5 f")
    found = compared(now, cases(*numbered("pppp"))).comparison
    # 6 of 9 failed, before 0 of 4. All 6 failures in the 9: C(9, 6) / C(13, 6) = 84 / 1716.
    assert found is not None
    assert (found.way, found.n, found.pass_rate) == ("unpaired", 4, 1.0)
    assert found.change == pytest.approx(-6 / 9)
    assert found.p_worse == pytest.approx(84 / 1716)


def test_shares_of_alike_cases_count_as_what_they_are_worth():
    now, before = cases("a f", "b f", "c f", "d f"), cases("w p", "x p")
    found = compared(now, before, worth=2.0).comparison
    # As 2 of 2 failed now and 0 of 2 then: one of 6 pairs.
    assert found is not None
    assert found.p_worse == pytest.approx(1 / 6)


def test_another_version_of_the_evaluator_is_not_compared():
    now = cases("a f", "b p")
    found = compared(now, cases("a p", "b p"), version=2)
    assert found.comparison is None
    assert "from version 1 to 2" in str(found.not_compared)


def test_its_own_cases_are_not_compared_with_all():
    now = cases("a f", "b p", issue_ids=[["iss_1"], []])
    found = compared(now, cases("w p", "x p"), n_own=1, n_pass=0)
    assert (found.comparison, found.not_compared) == (None, "other cases were counted there")


def test_an_evaluator_that_the_last_release_was_not_judged_by_is_not_compared():
    now = cases("a f")
    baseline = baseline_of(cases("a p"), evaluator_id="ev_other")
    assert compare([run_of(now)], now, {}, baseline, GateSettings()) == {}
    assert compare([run_of(now)], now, {}, baseline_of(cases("a x")), GateSettings()) == {}


# 7 of 10 turned worse, none better: 1/2^7 = 0.0078, below 0.01.
SEVEN, ALL = "fffffffppp", "pppppppppp"


def test_a_fall_beyond_chance_and_margin_is_a_regression():
    found = compared(cases(*numbered(SEVEN)), cases(*numbered(ALL))).comparison
    assert found is not None
    assert (found.is_regression, found.p_worse) == (True, pytest.approx(1 / 128))


def test_a_fall_within_the_margin_is_none_however_sure():
    now, before = cases(*numbered("f" * 7 + "p" * 73)), cases(*numbered("p" * 80))
    found = compared(now, before).comparison  # 7/80 = 0.0875
    assert found is not None
    assert not found.is_regression
    narrow = compared(now, before, GateSettings(regression_margin=0.08)).comparison
    assert narrow is not None
    assert narrow.is_regression


def test_the_chance_is_shared_by_all_evaluators_that_judged():
    now, before = cases(*numbered(SEVEN)), baseline_of(cases(*numbered(ALL)))
    others = [run_of(now, evaluator_id=f"ev_other_{number}") for number in range(2)]
    # 1/128 is below 0.01, but not below a third of it. One that judged nothing takes no share.
    alone = compare([run_of(now), run_of(now, evaluator_id="silent", n_pass=0, n_fail=0)], now, {}, before, GateSettings())
    among = compare([run_of(now), *others], now, {}, before, GateSettings())
    assert [each[ME].comparison.is_regression for each in (alone, among)] == [True, False]


def test_without_its_cases_the_last_release_is_compared_by_shares():
    now = cases(*numbered(SEVEN))
    found = compare([run_of(now)], now, {}, baseline_of(cases(*numbered(ALL)), has_cases=False), GateSettings())
    comparison = found[ME].comparison
    assert comparison is not None
    # All 7 failures in the first 10 of 20: C(10, 7) / C(20, 7) = 120 / 77520.
    assert (comparison.way, comparison.p_worse) == ("unpaired", pytest.approx(120 / 77520))
