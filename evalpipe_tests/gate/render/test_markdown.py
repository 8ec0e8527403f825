"""A gate as Markdown: what a developer reads on a red pull request."""

import re

import pytest
from markdown_it import MarkdownIt

from evalpipe.gate.cases import read_cases
from evalpipe.gate.render.links import Links
from evalpipe.gate.render.markdown import COMMENT_CHARS, markdown
from evalpipe_tests.gate.made import answers, case_file, flags, judge, suite
from evalpipe_tests.gate.render.made import (
    HOSTILE,
    REFUND,
    SORRY,
    blocked_gate,
    faulted_gate,
    passed_gate,
    worse_gate,
)


def html(text: str) -> str:
    """As GitHub reads it: CommonMark with tables and bare links."""
    return MarkdownIt("gfm-like", {"linkify": False}).render(text)


def test_it_says_the_decision_the_reasons_what_to_do_and_the_cases(tmp_path):
    text = markdown(blocked_gate(tmp_path))
    assert text.startswith("## ❌ Must not ship")
    assert "2 of 4 cases show it" in text
    assert "says refund" in text
    assert "- c0, line 1: " in text or "- c0: " in text
    assert text.index("**Why**") < text.index("**What to do**") < text.index("| Issue |") < text.index("<details>")
    assert "<code>evalpipe issues ignore iss&#95;1</code>" in text


def test_a_failing_case_is_named_with_its_line(tmp_path):
    path = case_file(
        tmp_path, {"id": "fine", "input": "q", "output": "ok"}, {"id": "x", "input": "q", "output": "sorry"}
    )
    assert "- x, line 2: " in markdown(judge(read_cases(path), suite(SORRY)))


def test_a_release_that_may_ship_says_so_in_few_lines(tmp_path):
    text = markdown(passed_gate(tmp_path))
    assert text.startswith("## ✅ May ship")
    assert "**Why**" not in text
    assert "<details>" not in text  # the failing case of what passed is on the page
    assert len(text.splitlines()) < 20


def test_the_table_says_how_it_changed_since_the_last_release(tmp_path):
    assert "−20.0 points, worse beyond chance, same inputs" in markdown(worse_gate(tmp_path))


@pytest.mark.parametrize("made", [faulted_gate, worse_gate])
def test_every_outcome_is_a_whole_table(tmp_path, made):
    assert "<table>" in html(markdown(made(tmp_path)))


def test_a_gate_that_could_not_decide_says_what_is_lacking(tmp_path):
    text = markdown(judge(answers(tmp_path, "a"), suite(SORRY, mcc=None, mcc_lower=None)))
    assert text.startswith("## ⚠️ Could not decide")
    assert "<code>evalpipe coverage</code>" in text


def test_it_leads_to_the_issue_and_to_the_gate_where_that_is_known(tmp_path):
    text = markdown(blocked_gate(tmp_path), links=Links("https://evals.example/"))
    found = re.findall(r'href="([^"]+)"', html(text))
    assert found[0] == "https://evals.example/review/issues/iss_1"
    assert found[-1].startswith("https://evals.example/review/gates/gate_")
    assert re.findall(r'href="([^"]+)"', html(markdown(blocked_gate(tmp_path)))) == []


def test_from_strangers_it_stays_text(tmp_path):
    text = markdown(blocked_gate(tmp_path))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {row.count("|") for row in rows} == {7}  # no cell was added
    for live in ("<script>", "](http", "`code`", "@team", "\n# head", "*bold*", "\x1b", "http://"):
        assert live not in text
    assert set(re.findall(r"</?(\w+)", text)) == {"details", "summary", "code", "sub"}
    assert "alert(1)" in html(text)


def test_hostile_ids_of_cases_stay_text(tmp_path):
    path = case_file(tmp_path, {"id": HOSTILE, "input": "q", "output": "sorry"})
    text = markdown(judge(read_cases(path), suite(SORRY)))
    assert "<script>" not in text
    assert "\n# head" not in text


@pytest.mark.parametrize("max_bytes", [700, 2_000, 8_000, COMMENT_CHARS])
def test_what_does_not_fit_is_left_out_from_the_end_and_said(tmp_path, max_bytes):
    many = [flags(number, "bad", failure_mode=f"mode {number} " + "ü" * 400) for number in range(1, 61)]
    text = markdown(judge(answers(tmp_path, *["bad"] * 30), suite(*many)), max_bytes=max_bytes)
    assert len(text.encode()) <= max_bytes
    assert text.startswith("## ❌ Must not ship")
    assert "What did not fit is left out" in text
    assert text.count("<details>") == text.count("</details>")
    assert text.rstrip().endswith("</sub>")


def test_what_fits_is_whole(tmp_path):
    assert "left out" not in markdown(judge(answers(tmp_path, *["a refund"] * 30), suite(REFUND)))
