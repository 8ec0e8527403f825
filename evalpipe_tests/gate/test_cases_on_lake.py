"""Cases and the lake: what the gate refuses is kept, and what it replays is found there."""

from pathlib import Path

import pytest

from evalpipe.errors import InputError, StateError
from evalpipe.gate.on_lake import gate, regression_cases
from evalpipe.gate.request import GateRequest
from evalpipe.lake.store import Lake
from evalpipe.settings import RedactionSettings, Settings
from evalpipe.tables import GATE_RUNS, LABELS, REJECTIONS, TRACES
from evalpipe_tests.evaluators.made import trace_id, traces, transcript
from evalpipe_tests.gate.made import NOW, case_file, flags
from evalpipe_tests.gate.small_home import small_home
from evalpipe_tests.gate.test_replay import labels

GOOD = {"input": "Where is it?", "output": "In Bern."}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """One evaluator that blocks."""
    return small_home(tmp_path / "home", flags(1, "sorry")).lake


def ask(lake: Lake, folder: Path, request: GateRequest, **stages: object):
    return gate(lake, folder / "artifacts", request, settings=Settings(home=folder, **stages), now=NOW)


def test_refused_cases_are_kept_once_however_often_is_asked(lake: Lake, tmp_path: Path):
    request = GateRequest(cases=case_file(tmp_path, GOOD, *[GOOD] * 5, '{"input": "q"}'))
    assert ask(lake, tmp_path, request).run["n_refused"][0] == 1
    ask(lake, tmp_path, request)
    assert lake.read(REJECTIONS).select("kind", "source", "location", "reason").rows() == [
        ("case", "cases.jsonl", "line 7", "has no output")
    ]


def test_what_is_refused_is_redacted_like_everything_in_the_tables(lake: Lake, tmp_path: Path):
    request = GateRequest(cases=case_file(tmp_path, *[GOOD] * 5, '{"input": "I am ann@example.org"}'))
    ask(lake, tmp_path, request, redaction=RedactionSettings(content=frozenset({"email"})))
    kept = lake.read(REJECTIONS)["content"][0]
    assert kept is not None
    assert "ann@example.org" not in kept


def test_cases_are_redacted_as_traffic_is_before_they_are_judged_or_shown(lake: Lake, tmp_path: Path):
    request = GateRequest(cases=case_file(tmp_path, {"input": "I am ann@example.org", "output": "sorry"}))
    outcome = ask(lake, tmp_path, request, redaction=RedactionSettings(content=frozenset({"email"})))
    assert "I am [email:" in outcome.traces["request"][0]
    pages = [path.read_text() for path in (tmp_path / "artifacts" / "gates" / outcome.gate_id).iterdir()]
    assert any("I am [email:" in page for page in pages)
    assert not any("ann@example.org" in page for page in pages)


def test_a_strict_gate_writes_nothing(lake: Lake, tmp_path: Path):
    request = GateRequest(cases=case_file(tmp_path, GOOD, '{"input": "q"}'), is_strict=True)
    with pytest.raises(InputError, match="line 2"):
        ask(lake, tmp_path, request)
    assert lake.read(REJECTIONS).is_empty()
    assert lake.read(GATE_RUNS).is_empty()


def test_regression_cases_are_those_of_the_issues_asked_for(lake: Lake):
    lake.append_new(TRACES, traces(*(transcript(("user", f"q{n}"), ("assistant", "sorry")) for n in range(2))))
    lake.append_new(LABELS, labels((0, "iss_1", True), (1, "iss_1", False)))
    assert [case["id"] for case in regression_cases(lake, ["iss_1"], limit=1)] == [trace_id(0), trace_id(1)]
    with pytest.raises(StateError, match="there is no issue iss_9"):
        regression_cases(lake, ["iss_9"])


def test_without_an_annotated_failure_there_is_nothing_to_replay(lake: Lake):
    with pytest.raises(StateError, match="no failure of iss_1 is annotated"):
        regression_cases(lake, ["iss_1"])
