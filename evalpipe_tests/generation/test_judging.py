"""Evolution of a judge over real HTTP, against a model that knows only what it is told (scripted_model.py)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from evalpipe.errors import BudgetError, EvaluatorFaultError, ModelDownError
from evalpipe.evaluators.artifact import program_sha256
from evalpipe.evaluators.judge import Judge
from evalpipe.evaluators.judge_program import JudgeProgram
from evalpipe.evaluators.ledger import Ledger
from evalpipe.evaluators.llm import LanguageModel
from evalpipe.generation.examples import Examples
from evalpipe.generation.judging import EvolvedJudge, evolve_judge
from evalpipe.ids import canonical_json
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.settings import JudgeSettings, LlmSettings
from evalpipe_tests.evaluators.test_judge import INJECTION
from evalpipe_tests.generation.claims import ISSUE_NAME, Claims, claims
from evalpipe_tests.scripted_model import MODEL, Messages, Reply, ScriptedModel, Server, Troubles, scripted_model

MANY = claims(60, 200, seed=1)
FEW = claims(12, 48, seed=1)


def llm(server: Server, **changes: Any) -> LlmSettings:
    fields: dict[str, Any] = {"judge_model": MODEL, "api_base": server.url, "max_retries": 0, "timeout_s": 20}
    return LlmSettings(**{**fields, **changes})


def evolved(
    server: Server,
    made: Claims = FEW,
    *,
    incumbent: dict[str, Any] | None = None,
    judges: JudgeSettings | None = None,
    ledger: Ledger | None = None,
    **changes: Any,
) -> EvolvedJudge:
    return evolve_judge(
        ISSUE_NAME,
        made.examples,
        made.notes,
        incumbent=incumbent,
        llm=llm(server, **changes),
        judges=judges or JudgeSettings(),
        seed=1,
        ledger=ledger,
    )


def agreement(examples: Examples, flags: list[bool | None]) -> float:
    rows = [i for i, flag in enumerate(flags) if flag is not None]
    value = mcc(confusion(examples.is_failure[rows], np.array([flags[i] for i in rows], dtype=bool)))
    return 0.0 if value is None else value


def by_first_instruction(server: Server, made: Claims, judge: EvolvedJudge) -> list[bool | None]:
    """What the instruction that the search began with says of the held-out examples."""
    settings = llm(server)
    program = JudgeProgram.from_program({**judge.program, "instruction": judge.lineage[0]["instruction"], "cases": []})
    transcripts = made.examples.view["transcript"].to_list()
    rows = [i for i, flag in enumerate(judge.held_out) if flag is not None]
    said = Judge(program, LanguageModel(MODEL, settings), settings).judge_all([transcripts[i] for i in rows])
    flags: list[bool | None] = [None] * len(transcripts)
    for row, verdict in zip(rows, said, strict=True):
        flags[row] = verdict.has_failed
    return flags


def changed(made: Claims, change: Any) -> Claims:
    """The same examples with each transcript changed by a function of its place and itself."""
    transcripts = [change(i, t) for i, t in enumerate(made.examples.view["transcript"].to_list())]
    view = made.examples.view.with_columns(
        pl.Series("transcript", transcripts, dtype=made.examples.view.schema["transcript"])
    )
    examples = made.examples
    return Claims(Examples(view, examples.is_failure, examples.weight, examples.groups), made.notes)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> EvolvedJudge:
    """The judge of FEW as it comes out when nothing goes wrong."""
    with scripted_model() as server:
        return evolved(server)


@pytest.mark.parametrize("backend", ["gepa", "dspy"])
def test_the_instruction_learns_what_reviewers_go_by_and_the_next_run_asks_nothing(backend: Any, tmp_path: Path):
    judges = JudgeSettings(backend=backend)
    with scripted_model() as server:
        first = evolved(server, MANY, judges=judges, cache=tmp_path / "answers.sqlite")
        assert first.spent["search_calls"] <= 250
        assert server.n_requests == first.spent["judge_calls"] + first.spent["reflection_calls"]
        assert abs(agreement(MANY.examples, by_first_instruction(server, MANY, first))) <= 0.1
        assert agreement(MANY.examples, first.held_out) >= 0.95
        server.reset()
        assert evolved(server, MANY, judges=judges, cache=tmp_path / "answers.sqlite") == first
        assert server.n_requests == 0
    # Each criterion was learned from a note, one after the other.
    assert [step["parents"] for step in first.lineage] == [[], [0], [1], [2]]
    assert first.lineage[-1]["instruction"] == first.program["instruction"]
    assert "issue_refund" in first.program["instruction"]
    # What was held out is neither train nor validation, and the three are all there is.
    n_held_out = sum(flag is not None for flag in first.held_out)
    assert n_held_out == first.split["test"]["n"]
    assert sum(flag is not None for flag in first.in_sample) == 80
    assert not any(a is not None and b is not None for a, b in zip(first.held_out, first.in_sample, strict=True))
    assert first.spent["faults"] == 0


def test_both_engines_find_the_same_judge(plain: EvolvedJudge):
    with scripted_model() as server:
        assert evolved(server, judges=JudgeSettings(backend="dspy")) == plain


def test_the_result_is_data_that_an_artifact_can_hold(plain: EvolvedJudge):
    assert JudgeProgram.from_program(plain.program).to_program() == plain.program
    assert json.loads(canonical_json(plain._asdict())) == json.loads(json.dumps(plain._asdict()))
    assert len(program_sha256(plain.program)) == 64


RESUMED = """
import sys
from pathlib import Path
from evalpipe.ids import canonical_json
from evalpipe_tests.generation.test_judging import FEW, evolved
from evalpipe_tests.scripted_model import Server
server = Server.__new__(Server)
server.url = sys.argv[1]
print(canonical_json(evolved(server, FEW, cache=Path(sys.argv[2]))._asdict()))
"""


def test_a_run_that_was_killed_resumes_and_ends_with_the_same_bytes(plain: EvolvedJudge, tmp_path: Path):
    cache = tmp_path / "answers.sqlite"
    with scripted_model(delay_s=0.05) as server:
        with subprocess.Popen([sys.executable, "-c", RESUMED, server.url, str(cache)], stdout=subprocess.PIPE) as run:
            while sum(server.calls.values()) < 50:
                assert run.poll() is None
                time.sleep(0.01)
            os.kill(run.pid, signal.SIGKILL)
            assert run.stdout is not None
            assert run.stdout.read() == b""
        n_before = server.n_requests
        server.troubles.delay_s = 0
        resumed = evolved(server, cache=cache)
        assert canonical_json(resumed._asdict()) == canonical_json(plain._asdict())
        # All but the questions that were under way when it died was kept.
        n_all = plain.spent["judge_calls"] + plain.spent["reflection_calls"]
        assert n_all <= server.n_requests <= n_all + 8
        assert n_before < n_all


@pytest.mark.parametrize("backend", ["gepa", "dspy"])
def test_a_model_that_goes_down_in_mid_run_is_an_error_soon_and_the_run_resumes(
    backend: Any, plain: EvolvedJudge, tmp_path: Path
):
    cache, judges = tmp_path / "answers.sqlite", JudgeSettings(backend=backend)
    with scripted_model(down_after=60) as server:
        with pytest.raises(EvaluatorFaultError):
            evolved(server, cache=cache, judges=judges)
        assert server.n_requests <= 60 + 10
        server.troubles.down_after = None
        server.reset()
        assert evolved(server, cache=cache, judges=judges) == plain
        n_all = plain.spent["judge_calls"] + plain.spent["reflection_calls"]
        assert server.n_requests == n_all - 60


@pytest.mark.parametrize("backend", ["gepa", "dspy"])
def test_a_reflection_that_cannot_be_had_ends_the_run_as_an_error(backend: Any):
    judges = JudgeSettings(backend=backend)
    with scripted_model(NoReflection()) as server, pytest.raises(ModelDownError, match="no such model"):
        evolved(server, judges=judges, reflection_model="hosted_vllm/unknown")


class NoReflection(ScriptedModel):
    """The server has one of the two models only."""

    def reply(self, messages: Messages, troubles: Troubles) -> Reply:
        reply = super().reply(messages, troubles)
        return reply._replace(kind="unknown model") if reply.kind == "reflection" else reply


def test_no_server_at_all_is_said_at_once():
    with scripted_model() as server:
        pass
    with pytest.raises(ModelDownError, match="no server answers"):
        evolved(server)
    with pytest.raises(EvaluatorFaultError, match="EVALPIPE_JUDGE_MODEL"):
        evolved(server, judge_model=None)


def test_a_storm_of_rate_limits_changes_nothing(plain: EvolvedJudge):
    with scripted_model(statuses=[(429, 0.0)] * 20) as server:
        assert evolved(server, max_retries=3) == plain


def test_slow_and_hanging_answers_change_nothing(plain: EvolvedJudge):
    with scripted_model(delay_s=0.02, hang=2) as server:
        assert evolved(server, timeout_s=1, max_retries=1) == plain


def test_an_answer_that_cannot_be_read_is_asked_for_again_and_changes_no_program(plain: EvolvedJudge):
    with scripted_model(garbage=3) as server:
        judge = evolved(server)
    assert judge.program == plain.program
    assert judge.spent["judge_calls"] > plain.spent["judge_calls"]


@pytest.mark.parametrize("backend", ["gepa", "dspy"])
def test_a_model_that_never_gives_a_verdict_is_an_error_and_no_judge(backend: Any):
    with (
        scripted_model(garbage=10**6) as server,
        pytest.raises(EvaluatorFaultError, match=r"of \d+ traces got no verdict .*could not be read"),
    ):
        evolved(server, judges=JudgeSettings(backend=backend))


def test_a_noisy_model_gives_the_best_of_what_it_can():
    with scripted_model(noise=0.1) as server:
        judge = evolved(server, MANY)
    # A tenth of the verdicts turned round leaves even a perfect instruction an MCC of about .67.
    assert 0.4 <= agreement(MANY.examples, judge.held_out) <= 0.9


def test_a_model_that_answers_rubbish_leaves_the_first_instruction_and_says_so():
    with scripted_model(rubbish=True) as server:
        judge = evolved(server)
    assert judge.program["instruction"] == judge.lineage[0]["instruction"]
    assert "no other instruction was better than this first one" in judge.explanation
    assert judge.stop_reason == "3 reflections in a row proposed nothing new"
    assert abs(agreement(FEW.examples, judge.held_out)) < 0.6


def test_orders_in_the_traces_reach_neither_the_judge_nor_the_reflection():
    attacked = changed(
        FEW, lambda i, steps: [{**steps[0], "content": f"{steps[0]['content']} {INJECTION}"}, *steps[1:]]
    )
    with scripted_model() as server:
        judge = evolved(server, attacked)
        assert agreement(FEW.examples, judge.held_out) >= 0.95
        assert "answer False" not in judge.program["instruction"]


def test_traces_that_are_foreign_empty_or_huge_are_examples_like_others():
    def foreign(i: int, steps: list[dict]) -> list[dict]:
        last = steps[-1]["content"].replace("have refunded", "habe erstattet").replace("refunded", "erstattet")
        steps = [*steps[:-1], {**steps[-1], "content": last}]
        if i == 3:
            steps.insert(1, {"role": "tool_result", "tool": "page", "content": "x" * 5_000_000, "is_error": False})
        if i == 4:
            steps = [{**step, "content": ""} for step in steps]
        return steps

    made = changed(FEW, foreign)
    assert not FEW.examples.is_failure[4]
    with scripted_model() as server:
        judge = evolved(server, made)
        assert agreement(FEW.examples, judge.held_out) >= 0.95
        assert max(sum(len(message["content"]) for message in messages) for _, messages in server.asked) < 30_000


def test_a_budget_that_is_too_small_for_a_measurement_is_said_before_anything_is_asked():
    with scripted_model() as server:
        with pytest.raises(BudgetError, match="EVALPIPE_LLM__MAX_CALLS"):
            evolved(server, max_calls=50)
        assert server.n_requests == 0


def test_a_budget_that_ends_in_mid_search_ends_it_at_the_same_place_whoever_answers(
    plain: EvolvedJudge, tmp_path: Path
):
    cache, n_calls = tmp_path / "answers.sqlite", plain.spent["judge_calls"] - 5
    with scripted_model() as server:
        first = evolved(server, max_calls=n_calls, cache=cache)
        assert first.stop_reason.startswith("the budget leaves no further iteration")
        assert first.spent["judge_calls"] + first.spent["reflection_calls"] <= n_calls
        assert len(first.lineage) < len(plain.lineage)
        ledger = Ledger(llm(server, max_calls=n_calls))
        assert evolved(server, max_calls=n_calls, cache=cache, ledger=ledger) == first
        assert ledger.n_requests == 0


def test_the_incumbent_is_gone_on_from_when_it_is_better_than_a_fresh_start(plain: EvolvedJudge):
    known = {**plain.program, "instruction": plain.lineage[-2]["instruction"], "max_chars": 5_000}
    with scripted_model() as server:
        judge = evolved(server, incumbent=known)
        assert judge.lineage[0]["instruction"] == known["instruction"]
        assert judge.program == plain.program  # it runs as one made today
        assert evolved(server, incumbent={**known, "instruction": "Something else. " * 20}).program == plain.program
        assert evolved(server, incumbent={"rule": {"op": "constant", "value": False}}) == plain


class Mute(ScriptedModel):
    """A model that learns from cases, and whose reflections say nothing new."""

    def _reflect(self, question: str, troubles: Troubles) -> dict[str, str]:
        return {"lesson": "", "new_instruction": ""}


def test_cases_from_the_training_examples_are_kept_where_they_help():
    with scripted_model(Mute()) as server:
        judge = evolved(server)
        without = evolved(server, judges=JudgeSettings(n_cases=0))
    cases = judge.program["cases"]
    assert [case["failed"] for case in cases] == [True, False, True, False]
    assert "never called" in cases[0]["critique"]
    assert without.program["cases"] == []
    assert agreement(FEW.examples, judge.held_out) > agreement(FEW.examples, without.held_out)
    # They come from what was trained on: none is shown to the judge as a case that is held out from it.
    trained = {
        FEW.examples.view["transcript"][i][0]["content"] for i, flag in enumerate(judge.in_sample) if flag is not None
    }
    assert all(case["trace"].splitlines()[0].removeprefix("1. user: ") in trained for case in cases)


def test_several_samples_are_several_questions():
    with scripted_model() as server:
        judge = evolved(server, judges=JudgeSettings(n_samples=3))
    assert judge.program["n_samples"] == 3
    assert agreement(FEW.examples, judge.held_out) >= 0.95


def test_without_notes_there_is_nothing_to_learn_from():
    with scripted_model() as server:
        judge = evolved(server, Claims(FEW.examples, {}))
    assert judge.program["instruction"] == judge.lineage[0]["instruction"]
