"""What gepa is handed: examples under ids of their own, minibatches, and when to end."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from evalpipe.evaluators.judge_program import JudgeProgram
from evalpipe.evaluators.llm import LanguageModel
from evalpipe.generation.engine import Loader
from evalpipe.generation.judge_search import Minibatches, Stopper, calls_of_end
from evalpipe.generation.judge_split import split_for_judge
from evalpipe.generation.judge_trials import Trials
from evalpipe.generation.reflection import Reflector
from evalpipe.settings import JudgeSettings, LlmSettings
from evalpipe_tests.generation.claims import ISSUE_NAME, claims
from evalpipe_tests.scripted_model import MODEL, Server, scripted_model

MADE = claims(12, 48, seed=1)
SPLIT = split_for_judge(MADE.examples.is_failure, MADE.examples.groups, JudgeSettings(), seed=1)
VAGUE = JudgeProgram(instruction="It is wrong.", model=MODEL, max_chars=24_000)


def trials(server: Server, judges: JudgeSettings | None = None, **changes) -> Trials:
    settings = LlmSettings(**{"judge_model": MODEL, "api_base": server.url, "max_retries": 0, **changes})
    return Trials(MADE.examples, MADE.notes, LanguageModel(MODEL, settings), settings, judges or JudgeSettings())


def test_a_minibatch_is_half_failures_and_all_examples_have_their_turn():
    with scripted_model() as server:
        tried = trials(server)
        batches = Minibatches(SPLIT.train, tried, JudgeSettings(), seed=1)
        drawn = [[Loader.number_of(i) for i in batches.next_minibatch_ids(None, None)] for _ in range(7)]
    assert all(len(set(rows)) == 6 for rows in drawn)
    assert all(sum(tried.is_failure(row) for row in rows) == 3 for rows in drawn)
    # 5 failures and 19 others, three of each a time: seven times are enough for all.
    assert {row for rows in drawn for row in rows} == set(SPLIT.train)


@pytest.mark.parametrize(
    ("judges", "spent", "iteration", "reason"),
    [
        ({"iterations": 5}, {}, 4, "all 5 iterations were used"),
        ({"patience": 0}, {}, 0, "0 reflections without a better instruction"),
        ({}, {"max_calls": 70}, 0, "the budget leaves no further iteration"),
        ({}, {}, 0, ""),
    ],
)
def test_the_search_ends_for_a_reason(judges: dict, spent: dict, iteration: int, reason: str):
    with scripted_model() as server:
        tried = trials(server, JudgeSettings(**judges), **spent)
        stopper = Stopper(VAGUE, tried, Reflector(tried.model, ISSUE_NAME, tried.llm), SPLIT)
        state = SimpleNamespace(program_candidates=[{"instruction": VAGUE.instruction}], i=iteration)
        assert stopper(state) == bool(reason)
    assert stopper.reason.startswith(reason)


def test_the_end_of_a_run_is_reckoned_with():
    n = {name: len(part) for name, part in zip(("train", "validation", "test"), SPLIT, strict=True)}
    assert n == {"train": 24, "validation": 18, "test": 18}
    assert calls_of_end(JudgeSettings(), SPLIT) == 18 + 24 + 18
    assert calls_of_end(JudgeSettings(n_cases=0, n_samples=3), SPLIT) == 3 * (24 + 18)


def test_no_model_library_is_loaded_before_a_judge_is_evolved():
    program = (
        "import sys\n"
        "import evalpipe.generation.judging, evalpipe.generation.authoring, evalpipe.evaluators.judge\n"
        "print([name for name in ('dspy', 'litellm', 'gepa', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
