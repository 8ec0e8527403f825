"""Where the evidence of an explanation stands: real rules explain, and what they quote is found."""

import polars as pl
import pytest

from evalpipe.evaluators.evidence import Passage, passages
from evalpipe.evaluators.rules import reason, validate_rule
from evalpipe.evaluators.view import evaluator_view
from evalpipe_tests.evaluators.made import traces, transcript

TALK = transcript(
    ("user", "Where is my refund?"),
    ("call", "get_order", '{"id": 7}'),
    ("result", "get_order", "delivered"),
    ("call", "get_order", '{"id": 7}'),
    ("error", "get_order", "time out"),
    ("call", "send_email", '{"to": "x"}'),
    ("result", "send_email", "sent"),
    ("user", "So?"),
    ("assistant", "I have refunded\n36.00 to you; done"),
)


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"op": "contains", "field": "final", "any": ["36.00"]}, [Passage(8, "36.00")]),
        ({"op": "regex", "field": "final", "pattern": r"refunded\s+36.00.*done"}, [Passage(8, TALK[8]["content"][7:])]),
        ({"op": "contains", "field": "tool_output", "any": ["sent"]}, [Passage(6, "sent")]),
        ({"op": "said", "by": "user", "where": "at_end", "nearest": 1, "any": ["so?"]}, [Passage(7, "So?")]),
        ({"op": "tool", "name": "send_email", "min": 1}, [Passage(5, "")]),
        (
            {"op": "tool_before", "first": "get_order", "then": "send_email"},
            [Passage(1, ""), Passage(3, ""), Passage(5, "")],
        ),
        ({"op": "argument", "tool": "send_email", "path": ["to"], "test": "equals", "value": "x"}, [Passage(5, "x")]),
        (
            {"op": "number", "field": "max_identical_calls", "compare": ">=", "value": 2},
            [Passage(1, ""), Passage(3, "")],
        ),
        ({"op": "number", "field": "n_tool_errors", "compare": ">=", "value": 1}, [Passage(4, "")]),
        ({"op": "not", "of": {"op": "tool", "name": "issue_refund", "min": 1}}, []),
        ({"op": "tool", "name": "issue_refund", "max": 0}, []),
    ],
)
def test_what_a_rule_says_is_found_in_the_conversation(rule, found):
    checked = validate_rule(rule)
    said = evaluator_view(traces(TALK)).select(why=reason(checked).cast(pl.String))["why"][0]
    assert passages(said, "rule", TALK) == found


def test_a_rule_of_several_parts_points_at_each_that_is_there():
    parts = [
        {"op": "contains", "field": "request", "any": ["refund"]},
        {"op": "not", "of": {"op": "contains", "field": "final", "any": ["sorry"]}},
        {"op": "contains", "field": "assistant", "any": ["; done"]},
    ]
    checked = validate_rule({"op": "all", "of": parts})
    said = evaluator_view(traces(TALK)).select(why=reason(checked).cast(pl.String))["why"][0]
    assert passages(said, "rule", TALK) == [Passage(0, "refund"), Passage(8, "; done")]


def test_the_words_of_a_learned_evaluator_are_found_across_line_breaks_and_numbers():
    said = (
        '"refunded <n>" in what the assistant says (+0.35); no "sorry" in the final answer (+0.2); tool step a (+0.1)'
    )
    assert passages(said, "learned", TALK) == [Passage(8, "refunded\n36")]


def test_what_a_judge_quotes_is_found_in_the_answer_first():
    said = 'It claims “refunded 36.00” though the customer asked "Where is my refund?", and "so".'
    assert passages(said, "judge", TALK) == [Passage(8, "refunded\n36.00"), Passage(0, "Where is my refund?")]


def test_no_explanation_and_what_is_not_there_mark_nothing():
    assert passages(None, "rule", TALK) == []
    assert passages('the final answer contains "nowhere"', "rule", TALK) == []
    assert passages('"nowhere to be seen"', "judge", TALK) == []
