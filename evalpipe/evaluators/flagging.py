"""Whether rules are true of traces, many rules at once: dear predicates are asked only where the others leave it open.

What a rule means is in rules.py, whose one expression for a rule has the same values. For 100,000 traces a question
about numbers or tool calls costs about a millisecond, a search in a text ten, and what is said where, an argument or a
share of words a hundred and more.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.rule_syntax import Rule, children
from evalpipe.evaluators.rules import compile_rule
from evalpipe.ids import canonical_json

Bools = NDArray[np.bool_]

_ROUNDS: tuple[frozenset[str], ...] = (
    frozenset({"constant", "number", "tool", "tool_before", "tool_then", "last_tool"}),
    frozenset({"contains", "regex"}),
    frozenset({"said", "similar", "overlap", "valid_json", "argument"}),
)
"""The operations that are asked one after the other, the cheap ones first."""
_ROUND_OF: Mapping[str, int] = {op: number for number, ops in enumerate(_ROUNDS) for op in ops}
_COMPARED = frozenset({"any", "pattern", "to", "compare", "share", "schema", "test", "value"})
"""Parts of a dear predicate that cost little: predicates which differ in these alone share the dear work."""

_NEVER: Rule = {"op": "constant", "value": False}
_ALWAYS: Rule = {"op": "constant", "value": True}


class _Bounds(NamedTuple):
    """What is known of a rule after some rounds; the two are equal where no later one can change it."""

    is_true: Bools
    may_be_true: Bools


class _Question(NamedTuple):
    """What is asked in one pass about rules with the same work, where any of them is open."""

    is_open: Bools
    surely: Mapping[str, Rule]  # by name of the rule: what it is at least
    maybe: Mapping[str, Rule]  # what it is at most

    def frame(self, view: pl.DataFrame) -> pl.LazyFrame:
        due = view.lazy() if self.is_open.all() else view.lazy().filter(pl.Series(self.is_open))
        asked = {f"surely {name}": compile_rule(rule) for name, rule in self.surely.items()}
        differing = {name: rule for name, rule in self.maybe.items() if rule != self.surely[name]}
        return due.select(**asked, **{f"maybe {name}": compile_rule(rule) for name, rule in differing.items()})

    def narrowed(self, bounds: Mapping[str, _Bounds], found: pl.DataFrame) -> dict[str, _Bounds]:
        made = {}
        for name in self.surely:
            is_true, may_be_true = bounds[name].is_true.copy(), bounds[name].may_be_true.copy()
            is_true[self.is_open] = found[f"surely {name}"].to_numpy()
            at_most = f"maybe {name}"
            may_be_true[self.is_open] = found[at_most if at_most in found.columns else f"surely {name}"].to_numpy()
            made[name] = _Bounds(is_true, may_be_true)
        return made


def flags_of(rules: Mapping[str, Rule], view: pl.DataFrame) -> dict[str, pl.Series]:
    """By name, whether each rule is true of each row of `view`."""
    bounds = dict.fromkeys(rules, _Bounds(np.zeros(view.height, dtype=bool), np.ones(view.height, dtype=bool)))
    for number in range(len(_ROUNDS)):
        questions = [_question(together, bounds, number) for together in _alike(rules, number)]
        for question, found in zip(questions, pl.collect_all([q.frame(view) for q in questions]), strict=True):
            bounds |= question.narrowed(bounds, found)
    return {name: pl.Series(bounds[name].is_true) for name in rules}


def _alike(rules: Mapping[str, Rule], number: int) -> list[dict[str, Rule]]:
    """The rules that have predicates of this round, those with the same work together; in the first round all."""
    if number == 0:
        return [dict(rules)] if rules else []
    alike: dict[frozenset[str], dict[str, Rule]] = {}
    for name, rule in rules.items():
        if work := frozenset(_work(p) for p in _predicates(rule) if _ROUND_OF[p["op"]] == number):
            alike.setdefault(work, {})[name] = rule
    return list(alike.values())


def _question(rules: Mapping[str, Rule], bounds: Mapping[str, _Bounds], number: int) -> _Question:
    is_open = np.any([bounds[name].may_be_true & ~bounds[name].is_true for name in rules], axis=0)
    surely, maybe = (
        {name: _assuming(rule, number, later=later) for name, rule in rules.items()} for later in (False, True)
    )
    return _Question(is_open, surely, maybe)


def _assuming(rule: Rule, number: int, *, later: bool) -> Rule:
    """The rule, if predicates of rounds after `number` said what makes it least likely true, or most for `later`."""
    if rule["op"] == "not":
        return {"op": "not", "of": _assuming(rule["of"], number, later=not later)}
    if of := children(rule):
        assumed = [_assuming(child, number, later=later) for child in of]
        # Only for what is assumed: in its last round a rule is asked whole, so that what is broken in it faults.
        if rule["op"] == "all" and any(child is _NEVER for child in assumed):
            return _NEVER
        return {**rule, "of": assumed}
    if _ROUND_OF[rule["op"]] <= number:
        return rule
    return _ALWAYS if later else _NEVER


def _predicates(rule: Rule) -> Iterator[Rule]:
    if of := children(rule):
        for child in of:
            yield from _predicates(child)
    else:
        yield rule


def _work(predicate: Rule) -> str:
    """What predicates must have in common to be asked together."""
    compared = frozenset() if _ROUND_OF[predicate["op"]] < 2 else _COMPARED
    return canonical_json({key: value for key, value in predicate.items() if key not in compared})
