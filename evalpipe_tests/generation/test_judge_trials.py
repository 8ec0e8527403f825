"""Verdicts of one instruction after another, and what they are worth."""

import pytest

from evalpipe.errors import EvaluatorFaultError, ModelBusyError
from evalpipe.evaluators.judge_program import JudgeProgram
from evalpipe.evaluators.llm import LanguageModel
from evalpipe.generation.judge_trials import Trials
from evalpipe.settings import JudgeSettings, LlmSettings
from evalpipe_tests.generation.claims import claims
from evalpipe_tests.scripted_model import MODEL, Saying, Server, answer, scripted_model

MADE = claims(12, 48, seed=1)
PERFECT = "Claims of a refund; absent when issue_refund was called; the policy alone is not it."


def trials(server: Server, **changes) -> Trials:
    settings = LlmSettings(**{"judge_model": MODEL, "api_base": server.url, "max_retries": 0, **changes})
    return Trials(MADE.examples, MADE.notes, LanguageModel(MODEL, settings), settings, JudgeSettings())


def program(instruction: str = PERFECT) -> JudgeProgram:
    return JudgeProgram(instruction=instruction, model=MODEL, max_chars=24_000)


def rows_of(is_failure: bool, n: int) -> list[int]:
    return [row for row in range(60) if MADE.examples.is_failure[row] == is_failure][:n]


def test_each_example_is_asked_about_once_for_each_instruction():
    with scripted_model() as server:
        tried = trials(server)
        first = tried.verdicts(program(), [0, 1, 2])
        assert tried.verdicts(program(), [2, 1, 0, 2]) == [*reversed(first), first[2]]
        assert server.n_requests == 3
        assert tried.evaluated(program(), [2, 3]) == tried.verdicts(program(), [2, 3])
        assert (server.n_requests, tried.n_reused) == (4, 1)
        tried.verdicts(program("Something else."), [0])
        assert server.n_requests == 5


def test_agreement_and_worth_are_those_of_the_whole_batch():
    rows = [*rows_of(True, 2), *rows_of(False, 2)]
    with scripted_model() as server:
        tried = trials(server)
        assert tried.mcc(program(), rows) == 1.0
        assert tried.is_perfect(program(), rows)
        # Half an example in each cell: (2.5 * 2.5 - 0.5 * 0.5) / (3 * 3) = 2/3, less 0.005 for a thousand characters.
        assert tried.worth(program(), rows) == pytest.approx(2 / 3 - 0.005 * len(PERFECT) / 1_000)
        longer = program(PERFECT + " " * 1_000 + ".")
        assert tried.worth(program(), rows) > tried.worth(longer, rows)
        assert tried.mcc(program(), rows_of(True, 3)) == -1.0  # undefined is never chosen


def test_an_instruction_is_known_right_only_where_all_was_asked():
    with scripted_model() as server:
        tried = trials(server)
        assert not tried.is_known_right(program(), [0, 1])
        tried.verdicts(program(), [0, 1])
        assert tried.is_known_right(program(), [0, 1])
        assert not tried.is_known_right(program(), [0, 1, 2])


def test_what_was_not_answered_is_asked_once_more_and_then_an_error():
    with scripted_model(statuses=[(500, None)] * 2) as server:
        tried = trials(server, max_concurrency=1)
        assert all(verdict.outcome != "fault" for verdict in tried.verdicts(program(), [0, 1, 2, 3]))
        assert (server.n_requests, tried.n_faults) == (6, 0)
    with scripted_model() as server:
        tried = trials(server, max_concurrency=1)
        tried.verdicts(program(), [0, 1, 2])
        server.troubles.statuses = [(500, None)] * 3  # twice for the question, once for any other
        with pytest.raises(ModelBusyError):
            tried.verdicts(program(), [2, 3])
        # Nothing of it is a verdict: the next one who asks gets what the model says.
        assert tried.verdicts(program(), [2, 3])[1].outcome != "fault"


def test_a_trace_on_which_the_server_always_breaks_has_no_verdict_and_stops_nothing():
    with scripted_model(breaks_on=MADE.examples.view["request"][1]) as server:
        tried = trials(server)
        assert [verdict.outcome == "fault" for verdict in tried.verdicts(program(), [0, 1, 2, 3])] == [
            False,
            True,
            False,
            False,
        ]
        assert tried.n_faults == 1


@pytest.mark.parametrize(
    ("n_unreadable", "n_asked", "is_tolerated"), [(2, 6, True), (3, 6, False), (4, 20, True), (5, 20, False)]
)
def test_a_batch_with_too_few_verdicts_is_an_error(n_unreadable: int, n_asked: int, is_tolerated: bool):
    """A fifth of a large batch may lack one, and two of a small one."""
    rows = list(range(n_asked))
    hidden = [MADE.examples.view["request"][row] for row in rows[:n_unreadable]]

    def say(system: str, user: str) -> str:
        return "Lorem ipsum." if any(request in user for request in hidden) else answer(False)

    with scripted_model(Saying(say)) as server:
        tried = trials(server)
        if is_tolerated:
            verdicts = tried.verdicts(program(), rows)
            assert [verdict.has_failed for verdict in verdicts[: n_unreadable + 1]] == [None] * n_unreadable + [False]
            assert tried.n_faults == n_unreadable
        else:
            with pytest.raises(EvaluatorFaultError, match=f"{n_unreadable} of {n_asked} traces got no verdict"):
                tried.verdicts(program(), rows)
