"""A gate as GitHub workflow commands."""

import re

from evalpipe.gate.cases import read_cases
from evalpipe.gate.render.annotations import annotations
from evalpipe_tests.gate.made import answers, case_file, flags, judge, suite
from evalpipe_tests.gate.render.made import REFUND, blocked_gate, passed_gate

COMMAND = re.compile(r"^::(error|warning) ((?:(?:file|line|title)=[^,:]*,?)+)::(.*)$")


def read(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Level, properties and message of each line, as GitHub's runner takes them apart and unescapes them."""
    told = []
    for line in text.splitlines():
        found = COMMAND.match(line)
        assert found, line
        properties = dict(one.split("=", 1) for one in found[2].split(","))
        told.append((found[1], {k: unescaped(v) for k, v in properties.items()}, unescaped(found[3])))
    return told


def unescaped(text: str) -> str:
    for code, sign in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def test_what_blocks_is_an_error_and_its_cases_stand_at_their_lines(tmp_path):
    odd = flags(1, "sorry", failure_mode="50 %: too late, again")
    bad = {"id": "x", "input": "q", "output": "sorry"}
    outcome = judge(read_cases(case_file(tmp_path, bad)), suite(odd))
    first, second = read(annotations(outcome, cases_file="a,b/c:d.jsonl"))
    assert first[0] == second[0] == "error"
    assert first[1] == {"title": "50 %: too late, again"}
    assert first[2] == outcome.decision.blocking_reasons[0]
    assert second[1] == {"file": "a,b/c:d.jsonl", "line": "1", "title": "50 %: too late, again"}
    assert second[2].startswith("x: ")


def test_of_very_many_the_last_of_ten_sums_up(tmp_path):
    outcome = judge(answers(tmp_path, *["a refund, sorry"] * 30), suite(REFUND, flags(1, "sorry")))
    told = read(annotations(outcome))
    assert [level for level, *_ in told] == ["error"] * 10
    # Two reasons and 60 cases: nine are told, and 53 are left.
    assert told[-1][2] == "53 more are in the summary of this gate"
    assert {properties["title"] for _, properties, _ in told[2:9]} == {"says refund", "says sorry"}


def test_a_release_that_may_ship_has_no_error(tmp_path):
    assert annotations(passed_gate(tmp_path)) == ""


def test_a_gate_that_could_not_decide_is_an_error(tmp_path):
    told = read(annotations(judge(answers(tmp_path, "a"), suite(REFUND, mcc=0.1))))
    assert [(level, properties["title"]) for level, properties, _ in told] == [
        ("error", "evalpipe gate could not decide")
    ]


def test_texts_of_strangers_make_no_command_of_their_own(tmp_path):
    hostile = flags(1, "sorry", failure_mode="x\n::add-mask::y\r\n::error::z,line=3::")
    text = annotations(judge(answers(tmp_path, "sorry"), suite(hostile)))
    assert all(line.startswith("::error ") for line in text.splitlines())
    assert len(read(text)) == 2
    assert len(read(annotations(blocked_gate(tmp_path)))) >= 2
