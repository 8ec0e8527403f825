"""The language model of judges: how it is reached and asked, and what an answer costs. What is asked is in judge.py.

Nothing but the model itself is spoken to: no price list is fetched, no answer is kept on disk.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from evalpipe.errors import EvaluatorFaultError
from evalpipe.settings import LlmSettings

_MAX_ANSWER_TOKENS = 2_000  # a critique and a verdict; a model that rambles on is cut and counted as a fault
_MAX_HISTORY = 8  # calls that dspy remembers: one question and its repair, not every prompt of the process
_MAX_REASON_CHARS = 200


class Answer(NamedTuple):
    """The output fields of the question, typed, and the cost of all its calls; None when the model has no price."""

    fields: Mapping[str, Any]
    cost_usd: float | None


class LanguageModel:
    """One configured model. `ask` may be called from several threads at once."""

    def __init__(self, model: str, settings: LlmSettings) -> None:
        """`model` is a LiteLLM name such as 'ollama_chat/qwen3' or 'openai/gpt-4o'; keys are in its usual variables."""
        self.model = model
        # Both libraries otherwise fetch a price list from the internet at their first call.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        import dspy

        self._dspy = dspy
        # Its own engine waits as long as a Retry-After header says, without a limit.
        options: dict[str, Any] = {
            "engine": "litellm",
            "cache": False,
            "num_retries": settings.max_retries,
            "timeout": settings.timeout_s,
            "drop_params": True,
        }
        if settings.api_base is not None:
            options["api_base"] = settings.api_base
        try:
            self._lm = dspy.LM(model, temperature=0.0, max_tokens=_MAX_ANSWER_TOKENS, **options)
        except dspy.LMConfigurationError:
            # Reasoning models choose their own temperature and need room to think.
            self._lm = dspy.LM(model, **options)

    def ask(self, instruction: str, question: str, **inputs: str) -> Answer:
        """The model's answer to a dspy signature such as 'trace -> critique, failed: bool'.

        An answer that cannot be read is asked for once more, as JSON. Raises EvaluatorFaultError, in one line, when
        the model cannot be reached, refuses, or cannot be read.
        """
        dspy = self._dspy
        lm = self._lm.copy()  # with a history of its own: that is where the cost of this question is read
        try:
            with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), max_history_size=_MAX_HISTORY):
                prediction = dspy.Predict(dspy.make_signature(question, instruction))(**inputs)
        except Exception as error:
            raise EvaluatorFaultError(f"model {self.model}: {_reason(error)}") from error
        costs = [call.get("cost") for call in lm.history]
        return Answer(prediction.toDict(), None if None in costs or not costs else float(sum(costs)))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if type(error).__name__ == "AdapterParseError":
        return "its answer could not be read as a verdict"
    return f"{type(error).__name__}: {text[:_MAX_REASON_CHARS]}"
