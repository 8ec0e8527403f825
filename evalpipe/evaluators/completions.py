"""One completion of one model: from the cache or over LiteLLM, with retries, in the ledger, and not at all once the
model is down. How a question becomes messages, and an answer fields, is in llm.py.

Nothing but the model's own server is spoken to: no price list is fetched, no telemetry sent.
"""

import logging
import os
import socket
from collections.abc import Iterator
from threading import Lock
from typing import Any

from evalpipe.errors import EvaluatorFaultError, ModelBusyError, ModelDownError, PromptTooLongError
from evalpipe.evaluators.answers import AnswerCache, StoredAnswer
from evalpipe.evaluators.ledger import Ledger
from evalpipe.extras import missing_part
from evalpipe.ids import content_hash
from evalpipe.settings import LlmSettings

_MAX_FAILED = 10  # questions that fail before the model counts as down, those under way included
_BACK_OFF_S = 0.5  # before the first retry; doubled for each further one
_MAX_BACK_OFF_S = 8.0
_MAX_REASON_CHARS = 200


class Completions:
    """One model, for as long as a run lasts; for several threads at once."""

    def __init__(self, model: str, settings: LlmSettings, cache: AnswerCache, ledger: Ledger) -> None:
        """`model` is a LiteLLM name such as 'ollama_chat/qwen3' or 'openai/gpt-4o'; keys are in its usual variables.

        Raises EvaluatorFaultError for a name without a provider that LiteLLM knows.
        """
        self.model = model
        self._settings = settings
        self._cache = cache
        self._ledger = ledger
        self._engine = _engine(model, settings)
        self._lock = Lock()
        self._n_asked = 0
        self._n_failed_in_a_row = 0
        self._asked_at_failure = 0  # how many had been asked when one failed last
        self._limit = max(2, _MAX_FAILED + 1 - settings.max_concurrency)
        self._down: str | None = None

    def complete(self, request: Any, *, kind: str, sample: int) -> StoredAnswer:
        """The answer to a dspy.lm15.Request; `sample` tells questions apart that are asked several times.

        Raises EvaluatorFaultError, in one line that says what to do: BudgetError, ModelDownError, ModelBusyError and
        PromptTooLongError where it is one of them.
        """
        key = self._key(request, sample)
        self._ledger.admit(kind, key)
        answer = self._cache.get(key) or self._cache.keep(key, self._asked(request))
        self._ledger.settle(key, answer)
        return answer

    def require_answer(self) -> None:
        """Raises EvaluatorFaultError unless the model answers a question of no interest, which counts nowhere."""
        from dspy import lm15

        question = (lm15.Message.user("Answer with the word yes."),)
        self._asked(lm15.Request(model=self.model, messages=question, config=lm15.Config()))

    def _key(self, request: Any, sample: int) -> str:
        messages = [[message.role, [part.text for part in message.parts]] for message in request.messages]
        config = request.config
        params = {"temperature": config.temperature, "max_tokens": config.max_tokens, "form": config.response_format}
        return content_hash([self.model, params, request.system, messages, sample], 64)

    def _asked(self, request: Any) -> StoredAnswer:
        if self._down is not None:
            raise ModelDownError(f"not asked: {self._down}")
        with self._lock:
            self._n_asked += 1
            place = self._n_asked
        try:
            answer = self._with_retries(request)
        except Exception as error:
            raise self._fault(error) from error
        with self._lock:
            # An answer to what was asked before the model failed is no sign that it is well again.
            if place > self._asked_at_failure:
                self._n_failed_in_a_row = 0
        return answer

    def _with_retries(self, request: Any) -> StoredAnswer:
        from tenacity import Retrying, retry_if_exception, stop_after_attempt

        retrying = Retrying(
            stop=stop_after_attempt(self._settings.max_retries + 1),
            wait=lambda state: self._wait_s(state.outcome.exception(), state.attempt_number),  # type: ignore[union-attr]
            retry=retry_if_exception(self._passes),
            reraise=True,
        )
        return retrying(self._once, request)

    def _once(self, request: Any) -> StoredAnswer:
        self._ledger.sent()
        response = self._engine.complete(request)
        usage = response.usage
        n_input, n_output = usage.input_tokens or 0, usage.output_tokens or 0
        text = "".join(part.text for part in response.message.parts if part.type == "text")
        return StoredAnswer(text, n_input, n_output, _cost_usd(self.model, n_input, n_output))

    def _passes(self, error: BaseException) -> bool:
        """Whether the same request may well succeed a little later."""
        from dspy import lm15

        if self._down is not None or _is_refused(error):
            return False
        asked_s = _retry_after_s(error)
        if asked_s is not None and asked_s > self._settings.max_retry_after_s:
            return False
        return isinstance(error, lm15.RateLimitError | lm15.ServerError | lm15.TimeoutError | lm15.TransportError)

    def _wait_s(self, error: BaseException | None, n_attempts: int) -> float:
        asked_s = None if error is None else _retry_after_s(error)
        return min(_BACK_OFF_S * 2 ** (n_attempts - 1), _MAX_BACK_OFF_S) if asked_s is None else asked_s

    def _fault(self, error: Exception) -> EvaluatorFaultError:
        """The error in our words. The model is down when nobody can reach it, or when one after another cannot."""
        from dspy import lm15

        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:_MAX_REASON_CHARS]}"
        asked_s = _retry_after_s(error)
        if isinstance(error, lm15.ContextLengthError):
            return PromptTooLongError(f"model {self.model}: the prompt is longer than its context window")
        if advice := self._advice(error):
            self._down = f"model {self.model}: {advice}"
            return ModelDownError(self._down)
        if asked_s is not None and asked_s > self._settings.max_retry_after_s:
            reason += f" (it asks to wait {asked_s:g} s; EVALPIPE_LLM__MAX_RETRY_AFTER_S is the longest wait)"
        if isinstance(error, lm15.RateLimitError | lm15.ServerError | lm15.TimeoutError | lm15.TransportError):
            with self._lock:
                self._n_failed_in_a_row += 1
                self._asked_at_failure = self._n_asked
                if self._n_failed_in_a_row >= self._limit and self._down is None:
                    self._down = f"model {self.model} failed {self._limit} times in a row ({reason}). Is it up?"
            return ModelBusyError(f"model {self.model}: {reason}")
        return EvaluatorFaultError(f"model {self.model}: {reason}")

    def _advice(self, error: Exception) -> str | None:
        """What to do about an error that no later question escapes; None for any other."""
        from dspy import lm15

        provider = self.model.partition("/")[0]
        if _is_refused(error):
            where = self._settings.api_base or f"the address of {provider}"
            return f"no server answers at {where}. Start it, or set EVALPIPE_LLM__API_BASE"
        match error:
            case lm15.AuthError():
                return f"its key is missing or refused. Set {provider.upper()}_API_KEY"
            case lm15.BillingError():
                return f"the account at {provider} has no credit left"
            case lm15.UnsupportedModelError():
                return "the server has no such model. Set EVALPIPE_JUDGE_MODEL to one that it has"
        return None


def _engine(model: str, settings: LlmSettings) -> Any:
    """dspy's engine for LiteLLM: one attempt a call. Its other engine waits as long as a Retry-After header says."""
    # Both libraries otherwise fetch a price list from the internet at their first call.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        import litellm
        from dspy.clients.engines import LiteLLMEngine  # which turns telemetry off
        from litellm.exceptions import BadRequestError
    except ModuleNotFoundError as error:
        if (words := missing_part(error, "a judge", is_portable=True)) is None:
            raise
        raise ModelDownError(f"model {model}: {words}") from error

    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.WARNING)  # it tells of every call
    litellm.drop_params = True  # a model that takes no temperature is asked without
    try:
        litellm.get_llm_provider(model)
    except BadRequestError as error:
        raise ModelDownError(
            f"model {model}: LiteLLM knows no such provider. Write PROVIDER/MODEL, such as openai/gpt-4o-mini or "
            "ollama_chat/qwen3, in EVALPIPE_JUDGE_MODEL"
        ) from error
    options: dict[str, Any] = {} if settings.api_base is None else {"api_base": settings.api_base}
    return LiteLLMEngine(model_type="chat", timeout=settings.timeout_s, **options)


def _cost_usd(model: str, n_input: int, n_output: int) -> float | None:
    import litellm

    try:
        cost = sum(litellm.cost_per_token(model=model, prompt_tokens=n_input, completion_tokens=n_output))
    except Exception:
        # LiteLLM has no one error for "no price is known".
        return None
    return cost


def _is_refused(error: BaseException) -> bool:
    """Whether nobody listens there, or there is no such host."""
    return any(isinstance(cause, ConnectionRefusedError | socket.gaierror) for cause in _causes(error))


def _retry_after_s(error: BaseException) -> float | None:
    """The seconds that the server asks to wait; None where it does not say so in seconds."""
    for cause in _causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", None)
        if headers is not None and (text := headers.get("retry-after")):
            try:
                return max(0.0, float(text))
            except ValueError:
                return None
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(20):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__
