import json
import re
import time
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from evalpipe.evaluators.rules import columns_asked, compile_rule, explain_rule, fired, validate_rule
from evalpipe.evaluators.view import evaluator_view
from evalpipe_tests.evaluators.made import traces, transcript, view
from evalpipe_tests.evaluators.made_rules import LEAF, RULES, TRANSCRIPTS

CONVERSATION = transcript(
    ("user", "I want a REFUND for Łódź"),
    ("call", "find", "{}"),
    ("result", "find", "order 12"),
    ("call", "pay.back", "{}"),
    ("error", "pay.back", "declined"),
    ("call", "find", "{}"),
    ("result", "find", "order 12"),
    ("assistant", "I am sorry, I cannot.\nGoodbye"),
)


def holds(rule: dict[str, Any], *transcripts: list[dict[str, Any]]) -> list[bool]:
    frame = view(*(transcripts or (CONVERSATION,)))
    return frame.select(compile_rule(validate_rule(rule))).to_series().to_list()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"op": "contains", "field": "user", "any": ["refund"]}, True),
        ({"op": "contains", "field": "user", "any": ["nothing", "łÓDŹ"]}, True),
        ({"op": "contains", "field": "user", "any": ["refunds"]}, False),
        ({"op": "contains", "field": "user", "any": ["a refund|x", "(", "refund for  "]}, False),
        ({"op": "contains", "field": "final", "any": ["."]}, True),  # a literal, not a pattern
        ({"op": "contains", "field": "user", "any": ["."]}, False),
        ({"op": "regex", "field": "final", "pattern": r"(?m)^Goodbye$"}, True),
        ({"op": "regex", "field": "final", "pattern": "goodbye"}, False),  # case counts in a pattern
        ({"op": "tool", "name": "find", "min": 2}, True),
        ({"op": "tool", "name": "find", "min": 3}, False),
        ({"op": "tool", "name": "find", "max": 1}, False),
        ({"op": "tool", "name": "find", "status": "error", "min": 1}, False),
        ({"op": "tool", "name": "pay.back", "status": "error", "min": 1}, True),
        ({"op": "tool", "name": "pay.back", "status": "ok", "max": 0}, True),
        ({"op": "tool", "name": "payXback", "min": 1}, False),
        ({"op": "tool", "name": "fin", "min": 1}, False),
        ({"op": "tool_before", "first": "find", "then": "pay.back"}, True),
        ({"op": "tool_before", "first": "pay.back", "then": "find"}, True),
        ({"op": "tool_before", "first": "find", "then": "find"}, True),
        ({"op": "tool_before", "first": "pay.back", "then": "pay.back"}, False),
        ({"op": "tool_then", "first": "find", "then": "pay.back"}, True),
        ({"op": "tool_then", "first": "pay.back", "then": "find"}, True),
        ({"op": "tool_then", "first": "find", "then": "find"}, False),
        ({"op": "tool_then", "first": "payXback", "then": "find"}, False),
        ({"op": "last_tool", "name": "find"}, True),
        ({"op": "last_tool", "name": "pay.back"}, False),
        ({"op": "number", "field": "n_tool_errors", "compare": ">=", "value": 1}, True),
        ({"op": "number", "field": "n_tool_errors", "compare": "<=", "value": 0.5}, False),
        ({"op": "constant", "value": True}, True),
    ],
)
def test_each_predicate_says_what_it_means(rule: dict[str, Any], expected: bool):
    assert holds(rule) == [expected]
    assert holds({"op": "not", "of": rule}) == [not expected]


@pytest.mark.parametrize("compare", [">=", "<="])
def test_a_number_that_is_not_known_makes_its_comparison_false(compare: str):
    # No cost was reported, and no answer was given whose novelty could be asked.
    for field in ("cost_usd", "answer_novelty"):
        rule = {"op": "number", "field": field, "compare": compare, "value": 0}
        assert holds(rule, transcript(("user", "hi"))) == [False]


def test_a_nan_is_not_larger_than_every_number():
    frame = view(CONVERSATION).with_columns(cost_usd=pl.lit(float("nan")))
    rule = validate_rule({"op": "number", "field": "cost_usd", "compare": ">=", "value": 0})
    assert frame.select(compile_rule(rule)).item() is False


def test_a_constant_has_a_value_for_every_trace():
    assert holds({"op": "constant", "value": False}, CONVERSATION, CONVERSATION) == [False, False]
    assert view().select(compile_rule({"op": "constant", "value": True})).height == 0


@pytest.mark.parametrize("name", ["a.*", "a:ok", "a:ok\x1fb", "(", "\\", "a\nb", "[[", "ü", "a|b", "$"])
def test_a_hostile_tool_name_is_only_a_name(name: str):
    called = transcript(("call", name, "{}"), ("call", "z", "{}"))
    other = transcript(("call", "b", "{}"), ("call", "a", "{}"), ("call", "z", "{}"))
    for rule in (
        {"op": "tool", "name": name, "min": 1},
        {"op": "tool", "name": name, "min": 1, "max": 1},
        {"op": "tool_before", "first": name, "then": "z"},
        {"op": "tool_then", "first": name, "then": "z"},
        {"op": "said", "by": "user", "where": "before_first", "tool": name, "pattern": ""},
        {"op": "not", "of": {"op": "tool", "name": name, "max": 0}},
    ):
        assert holds(rule, called, other) == [True, False], rule
    assert isinstance(explain_rule(validate_rule({"op": "last_tool", "name": name})), str)


def test_a_pattern_that_backtracks_for_ever_elsewhere_is_quick_here():
    rule = {"op": "regex", "field": "user", "pattern": "^(a+)+$"}
    frame = view(transcript(("user", "a" * 100_000 + "!")))
    started = time.perf_counter()
    assert frame.select(compile_rule(validate_rule(rule))).item() is False
    # Measured at 2 ms; Python's `re` does not end before the universe does.
    assert time.perf_counter() - started < 1


def test_a_rule_is_explained_in_english():
    rule = validate_rule(
        {
            "op": "all",
            "of": [
                {"op": "contains", "field": "final", "any": ["sorry", "apolog"]},
                {"op": "not", "of": {"op": "tool", "name": "refund", "status": "ok", "min": 1}},
                {"op": "number", "field": "n_tool_errors", "compare": ">=", "value": 2},
            ],
        }
    )
    assert explain_rule(rule) == (
        'the final answer contains "sorry" or "apolog" and not (tool "refund" succeeds) '
        "and tool calls that failed: 2 or more"
    )


def test_what_fired_names_the_predicates_that_decided_and_the_text_that_matched():
    rule = validate_rule(
        {
            "op": "any",
            "of": [
                {"op": "all", "of": [LEAF, {"op": "constant", "value": False}]},
                {"op": "contains", "field": "final", "any": ["SORRY"]},
                {"op": "not", "of": {"op": "tool", "name": "refund", "min": 1}},
                {"op": "regex", "field": "user", "pattern": "RE[A-Z]+"},
            ],
        }
    )
    words = view(CONVERSATION).select(fired(rule)).item()
    # The first branch is false, so that its true half is no reason.
    assert words == (
        'the final answer contains "sorry"; not: tool "refund" is called; '
        'what the user says matches a pattern with "REFUND"'
    )
    assert view(transcript(("call", "refund", ""))).select(fired(rule)).item() is None


# A tiny reference: the same language over one row of the view, in plain Python.

_STOP_WORDS = {"a", "about"}  # of the words that made_rules.py makes


def words(text: str) -> list[str]:
    return re.findall(r"\d+(?:[.,]\d+)*|[^\W\d_][^\W_]*", text.lower())


def units(text: str, unit: str) -> set[Any]:
    if unit == "words":
        return set(words(text)) - _STOP_WORDS
    if unit == "numbers":
        return {float(word.replace(",", "")) for word in words(text) if word[0].isdigit()}
    return {pair for message in text.split("\x1e") for pair in pairwise(words(message))}


def spoken(rule: dict[str, Any], steps: list[dict[str, Any]]) -> str | None:
    of_tool = [rule["tool"] in (None, step["tool"]) and step["role"].startswith("tool") for step in steps]
    is_error = [is_it and step["is_error"] for is_it, step in zip(of_tool, steps, strict=True)]
    at = [i for i, is_it in enumerate(is_error if rule["where"] == "after_failed" else of_tool) if is_it]
    if rule["where"] == "at_end":
        part = steps
    elif not at:
        return None
    else:
        bounds = {
            "before_first": (0, at[0]),
            "before_last": (0, at[-1]),
            "after_last": (at[-1], None),
        }
        part = steps[slice(*bounds.get(rule["where"], (at[0], None)))]
    said = [step["content"] for step in part if step["role"] == rule["by"] and (step["content"] or "").strip()]
    n = rule["nearest"]
    return "\x1e".join(said if n is None else said[:n] if rule["where"].startswith("after") else said[-n:])


def found(rule: dict[str, Any], text: str | None) -> bool:
    if text is None:
        return False
    if rule.get("pattern") is not None:
        return re.search(rule["pattern"], text) is not None
    return any(phrase.lower() in text.lower() for phrase in rule["any"])


def passes(rule: dict[str, Any], arguments: str) -> bool:
    try:
        value = json.loads(arguments)
        for key in rule["path"]:
            value = value[key]
    except (ValueError, KeyError, TypeError, IndexError):
        return False
    if value is None:
        return False
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    number = float(text) if re.fullmatch(r"[\d.]+", text) else float("nan")
    wanted = rule["value"]
    match rule["test"]:
        case "present":
            return True
        case "matches":
            return re.search(wanted, text) is not None
        case "equals":
            return number == wanted if isinstance(wanted, float) else text == str(wanted).replace("True", "true")
        case test:
            return number >= wanted if test == ">=" else number <= wanted


def is_json(text: str, schema: dict[str, Any] | None) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict | list) and Draft202012Validator(schema or {}).is_valid(value)


def compares(value: float | None, compare: str, limit: float) -> bool:
    return value is not None and (value >= limit if compare == ">=" else value <= limit)


def reference(rule: dict[str, Any], row: dict[str, Any]) -> bool:
    calls = [call.rsplit(":", 1) for call in row["tool_sequence"].strip("\x1f").split("\x1f") if call]
    match rule["op"]:
        case "all":
            return all(reference(r, row) for r in rule["of"])
        case "any":
            return any(reference(r, row) for r in rule["of"])
        case "at_least":
            return sum(reference(r, row) for r in rule["of"]) >= rule["k"]
        case "not":
            return not reference(rule["of"], row)
        case "constant":
            return rule["value"]
        case "contains" | "regex":
            return found(rule, row[rule["field"]])
        case "said":
            return found(rule, spoken(rule, row["transcript"]))
        case "similar":
            own = units(row[rule["field"]], "words")
            return any(
                len(units(text, "words") & own) / len(units(text, "words")) >= rule["share"] for text in rule["to"]
            )
        case "overlap":
            own = units(row[rule["field"]], rule["unit"])
            texts = [row[name] for name in rule["sources"]]
            share = len(own & units("\x1e".join(texts), rule["unit"])) / len(own) if own and any(texts) else None
            return compares(share, rule["compare"], rule["share"])
        case "valid_json":
            return all(is_json(text, rule["schema"]) for text in row[rule["field"]].split("\x1e"))
        case "argument":
            made = [step for step in row["transcript"] if step["role"] == "tool_call" and step["tool"] == rule["tool"]]
            return any(passes(rule, step["content"]) for step in made)
        case "tool":
            status = {"any": ("ok", "err"), "ok": ("ok",), "error": ("err",)}[rule["status"]]
            n = sum(name == rule["name"] and how in status for name, how in calls)
            return (rule["min"] is None or n >= rule["min"]) and (rule["max"] is None or n <= rule["max"])
        case "tool_before":
            first = [i for i, call in enumerate(calls) if call[0] == rule["first"]]
            then = [i for i, call in enumerate(calls) if call[0] == rule["then"]]
            return bool(first and then) and first[0] < then[-1]
        case "tool_then":
            names = [call[0] for call in calls]
            return (rule["first"], rule["then"]) in pairwise(names)
        case "last_tool":
            return bool(calls) and calls[-1][0] == rule["name"]
        case _:
            return compares(row[rule["field"]], rule["compare"], rule["value"])


@settings(deadline=None, max_examples=200)
@given(RULES, TRANSCRIPTS)
def test_a_rule_over_a_partition_agrees_with_the_reference_on_each_trace(rule: dict[str, Any], transcripts: list[Any]):
    frame = view(*transcripts)
    checked = validate_rule(rule)
    result = frame.select(
        value=compile_rule(checked),
        twice=compile_rule({"op": "not", "of": {"op": "not", "of": checked}}),
        why=fired(checked),
    )
    expected = [reference(checked, row) for row in frame.iter_rows(named=True)]
    assert result["value"].to_list() == expected
    assert result["twice"].to_list() == expected
    assert [why is not None for why in result["why"]] == expected
    assert explain_rule(checked)


@settings(deadline=None, max_examples=30)
@given(RULES, TRANSCRIPTS)
def test_a_rule_needs_no_column_but_those_it_asks_for(rule: dict[str, Any], transcripts: list[Any]):
    checked = validate_rule(rule)
    rows = traces(*transcripts)
    asked = columns_asked(checked)
    alone = evaluator_view(rows, fields=asked)
    assert set(alone.columns) == {"trace_id", "session_id", "service_name", "day", "transcript"} | asked
    whole = view(*transcripts).with_columns(alone.select(*asked - {"transcript"}))
    assert alone.select(compile_rule(checked)).equals(whole.select(compile_rule(checked)))
