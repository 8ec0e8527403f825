"""Many rules asked together in rounds say of every trace what each says by itself."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.evaluators.flagging import flags_of
from evalpipe.evaluators.rules import compile_rule, validate_rule
from evalpipe_tests.evaluators.made import transcript, view

TRACES = view(
    transcript(("user", "Refund É 12"), ("call", "pay", '{"n": 3}'), ("result", "pay", "12 sent"), ("assistant", "12")),
    transcript(("user", "refund"), ("assistant", "Sorry, no."), ("user", "why?"), ("assistant", "the rule says so")),
    transcript(("call", "pay", '{"n": 1}'), ("assistant", "I paid 7 in total")),
    transcript(("user", "你好"), ("assistant", "")),
)
PREDICATES: tuple[dict[str, Any], ...] = (
    {"op": "constant", "value": True},
    {"op": "constant", "value": False},
    {"op": "number", "field": "n_user_messages", "compare": ">=", "value": 2.0},
    {"op": "tool", "name": "pay", "status": "any", "min": 1, "max": None},
    {"op": "contains", "field": "user", "any": ["refund"]},
    {"op": "regex", "field": "final", "pattern": r"\d"},
    {"op": "said", "by": "assistant", "where": "after_first", "tool": "pay", "nearest": 1, "pattern": "paid"},
    {"op": "said", "by": "assistant", "where": "after_first", "tool": "pay", "nearest": 1, "pattern": "12"},
    {"op": "argument", "tool": "pay", "path": ["n"], "test": ">=", "value": 2.0},
    {"op": "overlap", "field": "final", "sources": ["tool_output"], "unit": "numbers", "compare": ">=", "share": 0.5},
    {"op": "overlap", "field": "assistant", "sources": ["user"], "unit": "words", "compare": "<=", "share": 0.1},
    {"op": "similar", "field": "final", "to": ["the rule says so"], "share": 0.5},
    {"op": "valid_json", "field": "final", "schema": None},
)


def _combined(rules: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(rules, min_size=2, max_size=3)
    return st.one_of(
        st.tuples(st.sampled_from(["all", "any"]), several).map(lambda x: {"op": x[0], "of": x[1]}),
        several.map(lambda of: {"op": "at_least", "k": 2, "of": of}),
        rules.map(lambda of: {"op": "not", "of": of}),
    )


RULES = st.recursive(st.sampled_from(PREDICATES), _combined, max_leaves=5)


@settings(max_examples=40, deadline=None)
@given(st.lists(RULES, min_size=1, max_size=4))
def test_rules_asked_together_say_what_each_says_alone(drawn: list[dict[str, Any]]):
    rules = {str(number): validate_rule(rule) for number, rule in enumerate(drawn)}
    together = flags_of(rules, TRACES)
    for name, rule in rules.items():
        assert together[name].to_list() == TRACES.select(compile_rule(rule)).to_series().to_list(), rule


def test_a_rule_that_no_cheap_predicate_leaves_open_still_faults_without_its_column():
    never = {"op": "all", "of": [PREDICATES[1], PREDICATES[5]]}
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        flags_of({"a": validate_rule(never)}, TRACES.drop("final"))


def test_no_rules_and_no_traces_are_no_flags():
    assert flags_of({}, TRACES) == {}
    assert flags_of({"a": validate_rule(PREDICATES[9])}, TRACES.clear())["a"].to_list() == []
