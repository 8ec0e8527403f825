import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from evalpipe.errors import BudgetError, SettingsError
from evalpipe.evaluators.answers import AnswerCache, StoredAnswer
from evalpipe.evaluators.ledger import Ledger
from evalpipe.settings import LlmSettings

ANSWER = StoredAnswer("yes", 10, 5, 0.25)


def test_an_answer_is_there_for_the_next_one_who_asks(tmp_path: Path):
    path = tmp_path / "deep" / "answers.sqlite"
    assert AnswerCache(path).get("key") is None
    assert AnswerCache(path).keep("key", ANSWER) == ANSWER
    assert AnswerCache(path).get("key") == ANSWER
    unpriced = StoredAnswer("返金 \x00 ok", 0, 0, None)
    AnswerCache(path).keep("other", unpriced)
    assert AnswerCache(path).get("other") == unpriced


def test_of_two_answers_to_one_question_the_first_is_everybodys(tmp_path: Path):
    path = tmp_path / "answers.sqlite"
    first, second = AnswerCache(path), AnswerCache(path)
    first.keep("key", ANSWER)
    assert second.keep("key", ANSWER._replace(text="no")) == ANSWER


def test_without_a_file_answers_last_as_long_as_the_cache():
    cache = AnswerCache(None)
    cache.keep("key", ANSWER)
    assert cache.get("key") == ANSWER
    assert AnswerCache(None).get("key") is None


def test_threads_and_processes_write_to_one_file(tmp_path: Path):
    path = tmp_path / "answers.sqlite"
    program = (
        "import sys; from pathlib import Path\n"
        "from evalpipe.evaluators.answers import AnswerCache, StoredAnswer\n"
        "cache = AnswerCache(Path(sys.argv[1]))\n"
        "for i in range(200): cache.keep(f'{sys.argv[2]}-{i}', StoredAnswer('x', 1, 1, None))\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in ("a", "b")]
    cache = AnswerCache(path)

    def keep(name: str) -> None:
        for i in range(100):
            cache.keep(f"{name}-{i}", ANSWER)

    threads = [threading.Thread(target=keep, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait(60) for other in others] == [0, 0]
    rows = sqlite3.connect(path).execute("SELECT count(*) FROM answers").fetchone()
    assert rows == (2 * 200 + 4 * 100,)


def test_what_was_kept_survives_a_kill(tmp_path: Path):
    path = tmp_path / "answers.sqlite"
    program = (
        "import sys, time; from pathlib import Path\n"
        "from evalpipe.evaluators.answers import AnswerCache, StoredAnswer\n"
        "cache = AnswerCache(Path(sys.argv[1]))\n"
        "for i in range(10**9):\n"
        "    cache.keep(str(i), StoredAnswer('x', 1, 1, None)); print(i, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        last = [writer.stdout.readline() for _ in range(50)][-1]
        os.kill(writer.pid, signal.SIGKILL)
    cache = AnswerCache(path)
    assert all(cache.get(str(i)) is not None for i in range(int(last) + 1))


@pytest.mark.parametrize("damage", [b"no database at all, and long enough to be looked at" * 50, None])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: bytes | None):
    path = tmp_path / "answers.sqlite"
    cache = AnswerCache(path)
    for i in range(2_000):
        cache.keep(str(i), ANSWER._replace(text="x" * 100))
    cache.close()
    whole = path.read_bytes()
    # Either all of it is something else, or its header is sound and its pages are not.
    path.write_bytes(damage or whole[:4096] + b"\xff" * (len(whole) - 4096))
    cache = AnswerCache(path)
    for i in range(2_000):
        cache.get(str(i))
    assert cache.keep("key", ANSWER) == ANSWER
    assert AnswerCache(path).get("key") == ANSWER
    assert (tmp_path / "answers.sqlite.damaged-1").exists()


def test_a_place_where_no_file_can_be_is_named_with_its_setting(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="EVALPIPE_LLM__CACHE"):
        AnswerCache(tmp_path / "file" / "answers.sqlite")
    with pytest.raises(SettingsError, match="EVALPIPE_LLM__CACHE"):
        AnswerCache(tmp_path)


def test_a_question_counts_once_in_a_run():
    ledger = Ledger(LlmSettings(max_calls=2))
    for _ in range(3):
        ledger.admit("judge", "a")
        ledger.settle("a", ANSWER)
    ledger.admit("reflection", "b")
    ledger.settle("b", ANSWER._replace(cost_usd=0.5))
    assert ledger.as_dict() == {
        "judge_calls": 1,
        "reflection_calls": 1,
        "tokens_in": 20,
        "tokens_out": 10,
        "cost_usd": 0.75,
    }
    with pytest.raises(BudgetError, match="2 calls"):
        ledger.admit("judge", "c")
    ledger.admit("judge", "a")


@pytest.mark.parametrize(
    ("limit", "message"), [({"max_tokens": 30}, "30 tokens"), ({"max_cost_usd": 0.5}, "0.5 dollars")]
)
def test_tokens_and_dollars_end_a_run_too(limit: dict, message: str):
    ledger = Ledger(LlmSettings(**limit))
    for key in "ab":
        ledger.admit("judge", key)
        ledger.settle(key, ANSWER)  # 15 tokens and a quarter of a dollar
    with pytest.raises(BudgetError, match=message):
        ledger.admit("judge", "c")


def test_what_is_affordable_is_reckoned_at_what_questions_cost_so_far():
    ledger = Ledger(LlmSettings(max_calls=None, max_tokens=100))
    assert ledger.affords(1_000)  # nothing is known yet
    ledger.admit("judge", "a")
    ledger.settle("a", ANSWER)  # 15 tokens: five more make 90, six 105
    assert ledger.affords(5)
    assert not ledger.affords(6)
    assert Ledger(LlmSettings(max_calls=3)).affords(3)
    assert not Ledger(LlmSettings(max_calls=3)).affords(4)


def test_a_model_without_a_price_has_no_cost_and_none_that_could_be_exceeded():
    ledger = Ledger(LlmSettings(max_cost_usd=0.0))
    for key in "ab":
        ledger.admit("judge", key)
        ledger.settle(key, ANSWER._replace(cost_usd=None))
    assert ledger.as_dict()["cost_usd"] is None
