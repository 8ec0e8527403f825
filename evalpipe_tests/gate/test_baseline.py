"""The last release, and how far an evaluator fell since."""

from datetime import timedelta

import pytest

from evalpipe.gate.cases import read_cases
from evalpipe.settings import GateSettings, Settings
from evalpipe_tests.gate.made import NOW, after, case_file, flags, judge, suite

SORRY = flags(1, "sorry")


def asked(folder, outputs, *, prefix="q", sessions=None, issues=()):
    """Cases of the inputs q0, q1... with these outputs."""
    rows = [
        {
            "id": f"{prefix}{i}",
            "input": f"{prefix}{i}",
            "output": output,
            "issues": list(issues),
            "metadata": {} if sessions is None else {"session_id": sessions[i]},
        }
        for i, output in enumerate(outputs)
    ]
    return read_cases(case_file(folder, *rows))


def compared(folder, before, now, *, rows=None, rows_before=None, **options):
    """The result of `now` as release 1.1, after `before` was gated as 1.0."""
    first = judge(before, rows_before if rows_before is not None else suite(SORRY), release="1.0")
    outcome = judge(
        now,
        suite(SORRY) if rows is None else rows,
        release="1.1",
        history=after(first),
        now=NOW + timedelta(days=1),
        **options,
    )
    return outcome.results.row(0, named=True)


def test_the_same_inputs_are_compared_case_by_case(tmp_path):
    before = asked(tmp_path, ["sorry", *["fine"] * 19])
    now = asked(tmp_path, ["fine", *["sorry"] * 6, *["fine"] * 13])
    result = compared(tmp_path, before, now)
    # Six turned for the worse, one for the better: of seven coins at least six heads, (7 + 1) / 2^7.
    assert (result["compared"], result["n_compared"], result["baseline_pass_rate"]) == ("paired", 20, 0.95)
    assert result["p_worse"] == pytest.approx(8 / 128)
    assert result["pass_rate_change"] == pytest.approx(-5 / 20)
    assert not result["is_regression"]  # beyond the margin, but it may be chance


def test_one_input_asked_twice_is_two_pairs(tmp_path):
    rows = [{"id": f"c{i}", "input": "the same", "output": "fine"} for i in range(12)]
    turned = [row | {"output": "sorry"} for row in rows]
    result = compared(
        tmp_path, read_cases(case_file(tmp_path, *rows)), read_cases(case_file(tmp_path, *turned, name="now.jsonl"))
    )
    assert (result["compared"], result["n_compared"]) == ("paired", 12)
    assert result["p_worse"] == pytest.approx(0.5**12)


def test_the_cases_of_one_session_turn_as_one(tmp_path):
    sessions = ["a"] * 10 + ["b"] * 10
    before = asked(tmp_path, ["fine"] * 20, sessions=sessions)
    now = asked(tmp_path, ["sorry"] * 10 + ["fine"] * 10, sessions=sessions)
    result = compared(tmp_path, before, now)
    assert result["p_worse"] == 0.5  # one session of one, not ten cases of ten


def test_other_inputs_are_compared_by_their_shares(tmp_path):
    before = asked(tmp_path, ["fine"] * 40, prefix="old")
    now = asked(tmp_path, ["sorry"] * 10 + ["fine"] * 30, prefix="new")
    result = compared(tmp_path, before, now)
    assert (result["compared"], result["n_compared"], result["baseline_pass_rate"]) == ("unpaired", 40, 1.0)
    # scipy.stats.fisher_exact([[10, 30], [0, 40]], alternative="greater").pvalue
    assert result["p_worse"] == pytest.approx(0.000515, rel=1e-2)
    assert result["is_regression"]


def test_where_fewer_than_half_of_the_inputs_are_the_same_their_shares_are_compared(tmp_path):
    before = asked(tmp_path, ["fine"] * 4)
    result = compared(tmp_path, before, asked(tmp_path, ["fine"] * 10))
    assert result["compared"] == "unpaired"


def test_an_evaluator_that_changed_since_is_not_compared_and_says_so(tmp_path):
    newer = suite(flags(1, "sorry", version=2))
    result = compared(tmp_path, asked(tmp_path, ["fine"] * 9), asked(tmp_path, ["sorry"] * 9), rows=newer)
    assert result["compared"] is None
    assert "its evaluator changed since, from version 1 to 2" in result["reason"]


def test_a_fall_within_the_margin_is_no_regression_however_sure(tmp_path):
    before, now = ["fine"] * 200, ["sorry"] * 18 + ["fine"] * 182
    result = compared(tmp_path, asked(tmp_path, before), asked(tmp_path, now))
    assert result["p_worse"] < 1e-4
    assert not result["is_regression"]  # 9 points of 100
    strict = Settings(gate=GateSettings(regression_margin=0.05))
    assert compared(tmp_path, asked(tmp_path, before), asked(tmp_path, now), settings=strict)["is_regression"]


def test_all_evaluators_share_the_chance_of_a_false_alarm(tmp_path):
    before, now = ["fine"] * 20, ["sorry"] * 8 + ["fine"] * 12
    others = [flags(i, f"phrase {i}") for i in range(2, 12)]
    alone = compared(tmp_path, asked(tmp_path, before), asked(tmp_path, now))
    together = compared(
        tmp_path,
        asked(tmp_path, before),
        asked(tmp_path, now),
        rows=suite(SORRY, *others),
        rows_before=suite(SORRY, *others),
    )
    assert alone["p_worse"] == together["p_worse"] == pytest.approx(0.5**8)  # 0.0039: below 0.01, above 0.01 / 11
    assert (alone["is_regression"], together["is_regression"]) == (True, False)


def gated(folder, outputs, release, *earlier):
    """These outputs gated as `release`, a day after the last of the gates before it."""
    now = NOW + timedelta(days=len(earlier))
    history = after(*earlier) if earlier else None
    return judge(asked(folder, outputs), suite(SORRY), release=release, history=history, now=now)


def test_the_baseline_is_the_newest_release_that_may_ship(tmp_path):
    good = gated(tmp_path, ["fine"] * 9, "1.0")
    bad = gated(tmp_path, ["sorry"] * 9, "1.1", good)
    next_one = gated(tmp_path, ["fine"] * 9, "1.2", good, bad)
    assert next_one.run.select("baseline_gate_id", "baseline_release").row(0) == (good.gate_id, "1.0")


def test_a_question_asked_again_after_others_has_the_answer_that_it_had(tmp_path):
    first = gated(tmp_path, ["fine"] * 9, "1.0")
    second = gated(tmp_path, ["sorry"] + ["fine"] * 8, "1.1", first)
    again = gated(tmp_path, ["fine"] * 9, "1.0", first, second)
    assert again.gate_id == first.gate_id
