"""A gate in a terminal."""

import io
import re

from rich.console import Console

from evalpipe.gate.render.terminal import terminal
from evalpipe_tests.gate.made import answers, judge, suite
from evalpipe_tests.gate.render.made import SORRY, blocked_gate


def shown(outcome) -> str:
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=True).print(terminal(outcome))
    return out.getvalue()


def test_it_shows_the_table_the_reasons_and_the_headline(tmp_path):
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown(blocked_gate(tmp_path)))
    assert "says refund" in text
    assert "x a|b" in text
    assert text.rstrip().splitlines()[-1].startswith("Must not ship")


def test_no_control_character_of_a_stranger_reaches_it(tmp_path):
    text = shown(blocked_gate(tmp_path))
    assert "\x1b[31m \ud7ff" not in text
    assert "\x00" not in text


def test_a_gate_that_could_not_decide_says_so(tmp_path):
    assert "Could not decide" in shown(judge(answers(tmp_path, "a"), suite(SORRY, mcc=None, mcc_lower=None)))
