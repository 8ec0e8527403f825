"""The client over real HTTP: what is retried, what is given up at once and what is said then."""

import subprocess
import sys
import time
from typing import Any

import pytest

from evalpipe.errors import EvaluatorFaultError, ModelDownError, PromptTooLongError
from evalpipe.evaluators.ledger import Ledger
from evalpipe.evaluators.llm import LanguageModel, signature
from evalpipe.settings import LlmSettings
from evalpipe_tests.scripted_model import MODEL, Saying, Server, answer, scripted_model

QUESTION = "trace: str -> critique: str, failed: bool"


def model(server: Server, name: str = MODEL, *, ledger: Ledger | None = None, **changes: Any) -> LanguageModel:
    fields = {"judge_model": name, "api_base": server.url, "timeout_s": 10, "max_concurrency": 1}
    return LanguageModel(name, LlmSettings(**{**fields, **changes}), ledger=ledger)


def ask(asked: LanguageModel, trace: str = "x", **options: Any) -> Any:
    return asked.ask(signature(QUESTION, "Say it."), kind="judge", trace=trace, **options).fields


@pytest.fixture
def server():
    with scripted_model(Saying(lambda system, user: answer(True))) as started:
        yield started


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_that_passes_is_retried(server: Server, status: int):
    server.troubles.statuses = [(status, 0)] * 3
    assert ask(model(server, max_retries=3))["failed"] is True
    assert server.n_requests == 4
    server.troubles.statuses = [(status, 0)] * 4
    with pytest.raises(EvaluatorFaultError, match=f"HTTP {status}"):
        ask(model(server, max_retries=3))


def test_a_server_is_waited_for_as_long_as_it_says_and_not_longer_than_is_allowed(server: Server):
    server.troubles.statuses = [(429, 0.7)]
    started = time.monotonic()
    ask(model(server, max_retries=1, max_retry_after_s=1))
    assert 0.7 <= time.monotonic() - started < 5
    server.reset()
    server.troubles.statuses = [(429, 3600)]
    with pytest.raises(EvaluatorFaultError, match="asks to wait 3600 s; EVALPIPE_LLM__MAX_RETRY_AFTER_S"):
        ask(model(server, max_retries=3, max_retry_after_s=60))
    assert server.n_requests == 1


def test_a_model_that_is_too_slow_is_asked_again_and_then_given_up(server: Server):
    server.troubles.hang = 1
    assert ask(model(server, timeout_s=0.3, max_retries=1))["failed"] is True
    server.troubles.hang = 1
    with pytest.raises(EvaluatorFaultError, match="Timeout"):
        ask(model(server, timeout_s=0.3, max_retries=0))


@pytest.mark.parametrize(
    ("status", "message"), [(401, "Set HOSTED_VLLM_API_KEY"), (404, "no such model. Set EVALPIPE_JUDGE_MODEL")]
)
def test_what_no_retry_can_mend_is_said_at_once_with_what_to_do(server: Server, status: int, message: str):
    server.troubles.statuses = [(status, None)]
    asked = model(server)
    with pytest.raises(ModelDownError, match=message):
        ask(asked)
    with pytest.raises(ModelDownError, match="not asked"):
        ask(asked, "another")
    assert server.n_requests == 1


def test_a_server_that_is_not_there_is_not_waited_for():
    with scripted_model() as server:
        asked = model(server)
    started = time.monotonic()
    with pytest.raises(ModelDownError, match="no server answers at http"):
        ask(asked)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["gpt", "nonsense/foo"])
def test_a_name_that_no_provider_has_is_refused_with_an_example(server: Server, name: str):
    with pytest.raises(ModelDownError, match="Write PROVIDER/MODEL"):
        model(server, name)


def test_a_prompt_that_does_not_fit_is_told_apart_and_not_retried(server: Server):
    server.troubles.max_prompt_chars = 100
    with pytest.raises(PromptTooLongError):
        ask(model(server))
    assert server.n_requests == 1


@pytest.mark.parametrize("name", ["openai/scripted", "hosted_vllm/scripted", "anthropic/scripted", "ollama_chat/qwen3"])
def test_hosted_and_local_models_are_reached_by_their_name(server: Server, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    ledger = Ledger(LlmSettings())
    # The server speaks OpenAI's dialect only: of the others it is enough that they come to it, and go no further.
    if name.startswith(("openai", "hosted_vllm")):
        assert ask(model(server, name, max_retries=0))["failed"] is True
    else:
        with pytest.raises(EvaluatorFaultError):
            ask(model(server, name, ledger=ledger, max_retries=0, timeout_s=2))
        assert ledger.n_requests >= 1


def test_a_question_is_asked_once_whoever_asks_and_samples_are_questions_of_their_own(server: Server, tmp_path):
    cache = tmp_path / "answers.sqlite"
    for _ in range(2):
        for sample in range(2):
            ask(model(server, cache=cache), sample=sample, temperature=0.7)
    assert server.n_requests == 2
    ask(model(server, cache=cache))  # at another temperature it is another question
    ask(model(server, cache=cache), "another trace")
    assert server.n_requests == 4


def test_an_answer_from_the_cache_counts_in_the_budget_and_not_as_a_request(server: Server, tmp_path):
    counted = []
    for _ in range(2):
        ledger = Ledger(LlmSettings())
        ask(model(server, cache=tmp_path / "answers.sqlite", ledger=ledger))
        counted.append((ledger.as_dict(), ledger.n_requests))
    assert counted[0][0] == counted[1][0]
    assert [n for _, n in counted] == [1, 0]


def test_a_reasoning_model_chooses_its_own_temperature_and_length(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert ask(model(server, "openai/gpt-5-mini"))["failed"] is True
    assert not {"temperature", "max_tokens", "max_completion_tokens"} & {
        key for key, value in server.bodies[0].items() if value is not None
    }


def test_the_temperature_is_nought_unless_it_is_said_otherwise(server: Server):
    ask(model(server))
    ask(model(server), temperature=0.7)
    assert [body["temperature"] for body in server.bodies] == [0.0, 0.7]


def test_nothing_but_the_models_server_is_spoken_to(server: Server, tmp_path):
    """In an interpreter of its own, because the libraries would fetch their lists when they are first imported."""
    program = f"""
import socket
connect, found = socket.socket.connect, socket.getaddrinfo
asked = set()
def noted(self, address):
    asked.add(address[1] if isinstance(address, tuple) else address)
    return connect(self, address)
def looked_up(host, *rest, **options):
    asked.add(host)
    return found(host, *rest, **options)
socket.socket.connect, socket.getaddrinfo = noted, looked_up
from evalpipe.evaluators.llm import LanguageModel, signature
from evalpipe.settings import LlmSettings
settings = LlmSettings(judge_model={MODEL!r}, api_base={server.url!r})
model = LanguageModel({MODEL!r}, settings)
model.ask(signature({QUESTION!r}, "Say it."), kind="judge", trace="x")
print(sorted(map(str, asked)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    port = server.url.rpartition(":")[2].partition("/")[0]
    assert done.stdout.strip() in (f"['127.0.0.1', '{port}']", f"['{port}']")
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
