"""The predicates that look inside arguments, at places of the dialogue, at sources and at likeness, with what they say
of why. That they agree with a plain reference on any conversation is tested in test_rules.py."""

from typing import Any

import pytest

from evalpipe.evaluators.rules import compile_rule, explain_rule, fired, validate_rule
from evalpipe_tests.evaluators.made import transcript, view

REFUND = view(
    transcript(
        ("user", "I want a refund of 1,000 for order 12"),
        ("assistant", "Shall I refund it?"),
        ("user", "Yes please"),
        ("call", "refund", '{"order": {"id": 12, "tags": ["a", "b"]}, "fast": true, "amount": 1000.5, "code": "12"}'),
        ("error", "refund", "card declined"),
        ("assistant", "It failed"),
        ("user", "hm no"),
        ("call", "find", "not json"),
        ("result", "find", '{"order": 12}'),
        ("call", "refund", '{"order": {"id": 13}, "code": "nan"}'),
        ("result", "refund", "done 1000"),
        ("assistant", '{"refunded": 1000, "order": "12"}'),
    )
)


def verdict(rule: dict[str, Any]) -> bool:
    return REFUND.select(compile_rule(validate_rule(rule))).item()


@pytest.mark.parametrize(
    ("by", "where", "nearest", "said"),
    [
        ("user", "before_first", None, "I want a refund of 1,000 for order 12\x1eYes please"),
        ("user", "before_first", 1, "Yes please"),
        ("assistant", "before_first", None, "Shall I refund it?"),
        ("user", "before_last", None, "I want a refund of 1,000 for order 12\x1eYes please\x1ehm no"),
        ("user", "after_first", None, "hm no"),
        ("assistant", "after_first", 1, "It failed"),
        ("user", "after_last", None, ""),
        ("assistant", "after_last", None, '{"refunded": 1000, "order": "12"}'),
        ("user", "after_failed", None, "hm no"),
    ],
)
def test_what_is_said_at_a_place_is_all_that_is_looked_at(by: str, where: str, nearest: int | None, said: str):
    pattern = "(?s)^" + "".join(c if c.isalnum() or c in " \x1e" else "\\" + c for c in said) + "$"
    rule = {"op": "said", "by": by, "where": where, "tool": "refund", "nearest": nearest, "pattern": pattern}
    assert verdict(rule)
    assert not verdict(rule | {"tool": "never_called"})


def test_a_write_without_a_yes_before_it_can_be_asked_for():
    confirmed = {"op": "said", "by": "user", "where": "before_first", "tool": "refund", "nearest": 1, "any": ["yes"]}
    rule = validate_rule(
        {"op": "all", "of": [{"op": "tool", "name": "refund", "min": 1}, {"op": "not", "of": confirmed}]}
    )
    unasked = transcript(("user", "order 12?"), ("call", "refund", "{}"), ("user", "Yes, thanks"))
    untouched = transcript(("user", "order 12?"), ("assistant", "It is on its way"))
    assert view(unasked, untouched).select(compile_rule(rule)).to_series().to_list() == [True, False]
    assert not verdict(rule)
    assert explain_rule(rule) == (
        'tool "refund" is called and not (before tool "refund" is first called (nearest message) the user says "yes")'
    )


@pytest.mark.parametrize(
    ("path", "test", "value", "expected"),
    [
        (["order", "id"], "present", None, True),
        (["order", "name"], "present", None, False),
        (["order", "tags", 1], "equals", "b", True),
        (["order", "tags", 2], "present", None, False),
        (["order", "id"], "equals", 13, True),  # of the second call
        (["order", "id"], "equals", "12", True),  # as text they are the same
        (["code"], "equals", 12, True),
        (["fast"], "equals", True, True),
        (["fast"], "equals", False, False),
        (["amount"], ">=", 1000.5, True),
        (["amount"], "<=", 1000, False),
        (["code"], ">=", 1e9, False),  # neither "12" nor the text "nan", which is no number
        (["order"], "matches", '"tags"', True),
    ],
)
def test_an_argument_is_asked_of_any_call_of_the_tool(path: list[Any], test: str, value: Any, expected: bool):
    rule = {"op": "argument", "tool": "refund", "path": path, "test": test, "value": value}
    assert verdict(rule) is expected
    assert not verdict(rule | {"tool": "find"})  # its arguments are no JSON


@pytest.mark.parametrize(
    ("unit", "sources", "share"),
    [
        # refunded, 1000, order, 12: the tools say all but "refunded", the request lacks also 1000 ("1,000" is
        # another word, though the same number).
        ("words", ["tool_output"], 3 / 4),
        ("words", ["request"], 2 / 4),
        ("numbers", ["request"], 2 / 2),
        # refunded-1000, 1000-order, order-12: the last is in the result of find, and in the request.
        ("pairs", ["tool_output"], 1 / 3),
        ("pairs", ["user", "tool_output"], 1 / 3),
    ],
)
def test_overlap_is_the_share_that_the_sources_have(unit: str, sources: list[str], share: float):
    rule = {"op": "overlap", "field": "final", "sources": sources, "unit": unit}
    assert verdict(rule | {"compare": ">=", "share": share})
    assert not verdict(rule | {"compare": "<=", "share": share - 0.01})


@pytest.mark.parametrize("compare", [">=", "<="])
def test_without_words_or_without_a_source_there_is_no_overlap(compare: str):
    silent = view(transcript(("user", "hello")), transcript(("user", "hello"), ("assistant", "lamp")))
    rule = {"op": "overlap", "field": "final", "sources": ["tool_output"], "compare": compare, "share": 0}
    assert silent.select(compile_rule(validate_rule(rule))).to_series().to_list() == [False, False]


def test_a_text_is_similar_when_it_has_enough_of_the_words_of_one_of_the_others():
    # {give, money, back} has none; {refund, orders} has one of two: "order" is another word.
    rule = {"op": "similar", "field": "request", "to": ["give me my money back", "refund of my orders"]}
    assert verdict(rule | {"share": 0.5})
    assert not verdict(rule | {"share": 0.51})


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (
            {"op": "said", "by": "user", "where": "at_end", "nearest": 1, "any": ["NO"]},
            'at the end (nearest message) the user says "no"',
        ),
        (
            {"op": "said", "by": "user", "where": "after_failed", "pattern": r"\bno\b"},
            'after a tool fails the user says "no"',
        ),
        (
            {"op": "argument", "tool": "refund", "path": ["order", "id"], "test": ">=", "value": 13},
            'the argument order.id of tool "refund" is "13"',
        ),
        (
            {"op": "overlap", "field": "final", "sources": ["tool_output"], "compare": "<=", "share": 0.8},
            "share of the content words in the final answer that are in a tool's result: 75.0 %",
        ),
        (
            {"op": "similar", "field": "request", "to": ["refund of my orders"], "share": 0.5},
            'the request is similar to "refund of my orders"',
        ),
        ({"op": "valid_json", "field": "final"}, "the final answer is valid JSON"),
        (
            {"op": "tool_then", "first": "find", "then": "refund"},
            'tool "find" is called directly before tool "refund"',
        ),
    ],
)
def test_what_fired_says_what_matched_and_where(rule: dict[str, Any], why: str):
    assert REFUND.select(fired(validate_rule(rule))).item() == why
