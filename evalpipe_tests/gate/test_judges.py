"""Language models in the gate: an outage decides nothing, a question is paid for once, a budget holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evalpipe.gate.judge import GateOutcome
from evalpipe.settings import GateSettings, LlmSettings, Settings
from evalpipe_tests.evaluators.made import artifact
from evalpipe_tests.gate.made import answers, flags, judge, suite
from evalpipe_tests.scripted_model import MODEL, Saying, Server, answer, scripted_model

JUDGE = artifact(
    {"instruction": "It apologises.", "model": None, "max_chars": 24_000},
    "judge",
    evaluator_id="ev_judge",
    issue_id="iss_judge",
    failure_mode="apologises",
)
RULE = flags(1, "refund")
OUTPUTS = ["sorry, no", "done", "done and well", "all fine", "good", "here it is"]


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with scripted_model(Saying(lambda _, trace: answer("sorry" in trace))) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.reset()
    return running


def gated(server: Server, folder: Path, *, gate: GateSettings | None = None, **llm: Any) -> GateOutcome:
    """Six cases, one of which apologises, by a judge and a rule."""
    asked = {"judge_model": MODEL, "api_base": server.url, "max_retries": 0, "timeout_s": 10, **llm}
    settings = Settings(gate=gate or GateSettings(), llm=LlmSettings(**asked))
    return judge(answers(folder, *OUTPUTS), suite(JUDGE, RULE), settings=settings)


def of_judge(outcome: GateOutcome) -> dict[str, Any]:
    return outcome.results.filter(pl.col("evaluator_id") == "ev_judge").row(0, named=True)


def test_a_judge_gates_as_a_rule_does(server: Server, tmp_path: Path):
    outcome = gated(server, tmp_path)
    said = of_judge(outcome)
    assert (said["n_pass"], said["n_fail"], said["n_fault"], said["failing_case_ids"]) == (5, 1, 0, ["c0"])
    assert (outcome.decision.decision, server.n_requests) == ("pass", 6)


def test_the_same_case_is_paid_for_once_by_one_version_of_a_judge(server: Server, tmp_path: Path):
    cache = tmp_path / "answers.sqlite"
    first = gated(server, tmp_path, cache=cache)
    again = gated(server, tmp_path, cache=cache)
    assert server.n_requests == 6
    assert again.results.equals(first.results)


def test_an_outage_is_an_abstention_that_blocks_and_says_why(server: Server, tmp_path: Path):
    server.troubles.statuses = [(503, None)] * 100
    outcome = gated(server, tmp_path)
    said = of_judge(outcome)
    assert (said["outcome"], said["n_fail"], said["n_fault"], said["pass_rate"]) == ("abstained", 0, 6, None)
    assert outcome.decision.decision == "block"
    assert "6 cases could not be judged" in outcome.decision.blocking_reasons[0]
    assert outcome.decision.suite_pass_rate == 1.0  # the rule ran


def test_by_policy_an_outage_only_warns(server: Server, tmp_path: Path):
    server.troubles.statuses = [(503, None)] * 100
    outcome = gated(server, tmp_path, gate=GateSettings(on_abstain="warn"))
    assert outcome.decision.decision == "pass"
    assert any("could not be judged" in warning for warning in outcome.decision.warnings)


def test_a_passing_trouble_is_waited_out(server: Server, tmp_path: Path):
    server.troubles.statuses = [(429, 0.0), (503, 0.0)]
    outcome = gated(server, tmp_path, max_retries=3)
    assert (of_judge(outcome)["n_fault"], server.n_requests) == (0, 8)


def test_a_case_that_is_never_answered_is_a_fault_in_time(server: Server, tmp_path: Path):
    server.troubles.hang = 1
    outcome = gated(server, tmp_path, timeout_s=0.5)
    said = of_judge(outcome)
    assert (said["n_fault"], said["outcome"]) == (1, "passed")  # one of six is allowed
    assert any("1 case could not be judged" in warning for warning in outcome.decision.warnings)


def test_a_budget_of_calls_holds_and_what_is_not_asked_is_a_fault(server: Server, tmp_path: Path):
    outcome = gated(server, tmp_path, max_calls=2)
    said = of_judge(outcome)
    assert (server.n_requests, said["n_fault"], said["outcome"]) == (2, 4, "abstained")
    assert "EVALPIPE_LLM__MAX_CALLS" in said["reason"]


def test_without_a_model_a_judge_abstains_and_says_what_to_set(server: Server, tmp_path: Path):
    outcome = gated(server, tmp_path, judge_model=None)
    assert (of_judge(outcome)["outcome"], server.n_requests) == ("abstained", 0)
    assert "EVALPIPE_JUDGE_MODEL" in of_judge(outcome)["reason"]
