"""The language model as the rest of evalpipe asks it: a dspy signature in, typed fields out. What is asked is said in
judge.py and generation/; how a completion is had, kept and paid for, in completions.py.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalpipe.errors import EvaluatorFaultError, UnreadableAnswerError
from evalpipe.evaluators.answers import AnswerCache, StoredAnswer
from evalpipe.evaluators.completions import Completions
from evalpipe.evaluators.ledger import Ledger, total_cost
from evalpipe.settings import LlmSettings

MAX_ANSWER_TOKENS = 2_000  # a critique and a verdict; a model that rambles on is cut and counted as a fault
# dspy parses a signature as Python, and CPython 3.11 may raise SystemError when two threads parse at once (gh-106905).
_PARSING = threading.Lock()


class Answer(NamedTuple):
    """The output fields of the question, typed, and the cost of all its calls; None when the model has no price."""

    fields: Mapping[str, Any]
    cost_usd: float | None


class LanguageModel:
    """One configured model in one run. `ask` may be called from several threads at once."""

    def __init__(
        self, model: str, settings: LlmSettings, *, ledger: Ledger | None = None, cache: AnswerCache | None = None
    ) -> None:
        """`model` is a LiteLLM name. Models of one run share a ledger and a cache.

        Raises EvaluatorFaultError for a name that LiteLLM cannot place.
        """
        self.model = model
        self.ledger = ledger or Ledger(settings)
        self.max_concurrency = settings.max_concurrency
        self.cache = cache or AnswerCache(settings.cache)
        self._completions = Completions(model, settings, self.cache, self.ledger)

    def beside(self, model: str, settings: LlmSettings) -> "LanguageModel":
        """Another model in the same run; the same one when it has the same name."""
        return self if model == self.model else LanguageModel(model, settings, ledger=self.ledger, cache=self.cache)

    def ask(
        self,
        question: Any,
        *,
        kind: str,
        demos: Sequence[Mapping[str, Any]] = (),
        sample: int = 0,
        temperature: float = 0.0,
        max_tokens: int = MAX_ANSWER_TOKENS,
        **inputs: str,
    ) -> Answer:
        """The model's answer to a dspy signature, after these demonstrations.

        `kind` is the ledger's. An answer that cannot be read is asked for once more, as JSON. Raises
        EvaluatorFaultError, in one line, when the model cannot be reached or refuses, and UnreadableAnswerError when
        neither answer could be read.
        """
        import dspy

        engine = _Engine(self._completions, kind, sample)
        lm = _lm(self.model, engine, temperature, max_tokens)
        try:
            with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), disable_history=True, trace=None):
                prediction = dspy.Predict(question)(demos=[dict(demo) for demo in demos], **inputs)
        except Exception as error:
            raise _fault(self.model, error) from error
        return Answer(prediction.toDict(), total_cost([answer.cost_usd for answer in engine.answers]))

    def require_answer(self) -> None:
        """Raises EvaluatorFaultError unless the model answers anything now; the answer counts nowhere."""
        self._completions.require_answer()


def signature(question: str, instruction: str) -> Any:
    """A dspy signature such as 'trace: str -> critique: str, failed: bool' under an instruction."""
    import dspy

    with _PARSING:
        return dspy.make_signature(question, instruction)


class _Engine:
    """dspy's engine for one question: its first call and its repair."""

    def __init__(self, completions: Completions, kind: str, sample: int) -> None:
        self._completions = completions
        self._kind = kind
        self._sample = sample
        self.answers: list[StoredAnswer] = []

    def complete(self, request: Any) -> Any:
        from dspy import lm15

        answer = self._completions.complete(request, kind=self._kind, sample=self._sample)
        self.answers.append(answer)
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(answer.text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=answer.n_input_tokens, output_tokens=answer.n_output_tokens),
        )


def _lm(model: str, engine: _Engine, temperature: float, max_tokens: int) -> Any:
    import dspy

    options: dict[str, Any] = {"engine": engine, "cache": False, "num_retries": 0}
    try:
        return dspy.LM(model, temperature=temperature, max_tokens=max_tokens, **options)
    except dspy.LMConfigurationError:
        # Reasoning models choose their own temperature and need room to think.
        return dspy.LM(model, **options)


def _fault(model: str, error: Exception) -> EvaluatorFaultError:
    """Our own error where there is one behind dspy's; else that the answer could not be read."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EvaluatorFaultError):
            return cause
        cause = cause.__cause__
    if type(error).__name__ == "AdapterParseError":
        return UnreadableAnswerError(f"model {model}: its answer could not be read")
    return EvaluatorFaultError(f"model {model}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
