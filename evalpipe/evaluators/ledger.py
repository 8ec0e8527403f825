"""What one run asks of models and what that costs, held to its budget. Prices come with the answers (llm.py).

A question counts once in a run, whether a model answers it or the cache does: a run that was killed and starts again
stops at the same place and gives the same result. Requests that really went out are counted apart.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from evalpipe.errors import BudgetError
from evalpipe.evaluators.answers import StoredAnswer
from evalpipe.settings import LlmSettings

_SPENT = "not asked: this run has spent its budget of"


class Ledger:
    """The account of one run: one generation, one day of verdicts, one gate. Safe for threads."""

    def __init__(self, llm: LlmSettings) -> None:
        self._llm = llm
        self._lock = Lock()
        self._asked: set[str] = set()
        self._settled: set[str] = set()
        self.calls: Counter[str] = Counter()  # questions by their kind: judge, reflection, rules
        self.n_requests = 0  # HTTP requests that really went out, retries included
        self.n_input_tokens = 0
        self.n_output_tokens = 0
        self._cost_picodollars = 0  # whole, so that the sum does not depend on the order of answers
        self.n_unpriced = 0  # answers of models without a known price

    @property
    def n_calls(self) -> int:
        """Questions asked so far."""
        return sum(self.calls.values())

    @property
    def cost_usd(self) -> float:
        """What the answers with a known price cost so far."""
        return self._cost_picodollars / 1e12

    def admit(self, kind: str, key: str) -> None:
        """Count a question before it is asked. Raises BudgetError where the run may ask no more."""
        with self._lock:
            if key in self._asked:
                return  # a question that this run has asked before is free
            if reason := self._spent(n_more=1):
                raise BudgetError(reason)
            self._asked.add(key)
            self.calls[kind] += 1

    def settle(self, key: str, answer: StoredAnswer) -> None:
        """Count what an answer cost, once for each question."""
        with self._lock:
            if key in self._settled:
                return
            self._settled.add(key)
            self.n_input_tokens += answer.n_input_tokens
            self.n_output_tokens += answer.n_output_tokens
            self.n_unpriced += answer.cost_usd is None
            self._cost_picodollars += round((answer.cost_usd or 0.0) * 1e12)

    def sent(self) -> None:
        """Count a request that goes out."""
        with self._lock:
            self.n_requests += 1

    def affords(self, n_calls: int) -> bool:
        """Whether so many more questions fit into the budget, if they cost what those so far did on average."""
        with self._lock:
            return self._spent(n_more=n_calls, at_average=True) is None

    def as_dict(self) -> Mapping[str, Any]:
        """What was asked and spent, the same whether answers came from a model or from the cache."""
        return {
            "judge_calls": self.calls["judge"],
            "reflection_calls": self.calls["reflection"],
            "tokens_in": self.n_input_tokens,
            "tokens_out": self.n_output_tokens,
            "cost_usd": None if self.n_unpriced else round(self.cost_usd, 6),
        }

    def _spent(self, *, n_more: int, at_average: bool = False) -> str | None:
        llm = self._llm
        n_tokens = self.n_input_tokens + self.n_output_tokens
        growth = n_more / max(1, len(self._settled)) if at_average else 0.0
        if llm.max_calls is not None and self.n_calls + n_more > llm.max_calls:
            return f"{_SPENT} {llm.max_calls} calls (EVALPIPE_LLM__MAX_CALLS)"
        if llm.max_tokens is not None and n_tokens * (1 + growth) >= llm.max_tokens:
            return f"{_SPENT} {llm.max_tokens} tokens (EVALPIPE_LLM__MAX_TOKENS)"
        if llm.max_cost_usd is not None and self.cost_usd > 0 and self.cost_usd * (1 + growth) >= llm.max_cost_usd:
            return f"{_SPENT} {llm.max_cost_usd} dollars (EVALPIPE_LLM__MAX_COST_USD)"
        return None


def total_cost(costs: Sequence[float | None]) -> float | None:
    """The sum of what answers cost, in US dollars; None of nothing, or where the price of one is not known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None
