import re
import time
from contextlib import suppress
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import ArtifactError
from evalpipe.evaluators.rules import (
    compile_rule,
    explain_rule,
    fired,
    rule_size,
    validate_rule,
)
from evalpipe.traces.view import NUMBER_FIELDS, TEXT_FIELDS
from evalpipe_tests.evaluators.made import transcript, view

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


LEAF = {"op": "constant", "value": True}


def nested(depth: int) -> dict[str, Any]:
    rule: dict[str, Any] = LEAF
    for _ in range(depth - 1):
        rule = {"op": "not", "of": rule}
    return rule


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ("refund", "rule: a rule is a JSON object"),
        ({}, "rule.op"),
        ({"op": ["all"]}, "rule.op"),
        ({"op": "eval", "code": "1"}, "rule.op"),
        ({"op": "last_tool", "name": nested(5_000)}, "rule.name"),
        ({"op": "all", "of": []}, "rule.of"),
        ({"op": "all", "of": [LEAF], "k": 1}, "has no k"),
        ({"op": "any", "of": [LEAF, {"op": "not"}]}, r"rule.of\[1\]: 'not' needs of"),
        ({"op": "at_least", "k": 3, "of": [LEAF, LEAF]}, "rule.k"),
        ({"op": "at_least", "k": True, "of": [LEAF]}, "rule.k"),
        ({"op": "constant", "value": 1}, "rule.value"),
        ({"op": "contains", "field": "final", "any": []}, "rule.any"),
        ({"op": "contains", "field": "final", "any": [""]}, r"rule.any\[0\]"),
        ({"op": "contains", "field": "final", "any": ["\ud800"]}, r"rule.any\[0\]"),
        ({"op": "contains", "field": "final", "any": ["x"] * 65}, "rule.any"),
        ({"op": "contains", "field": "answer", "any": ["x"]}, "rule.field"),
        ({"op": "regex", "field": "final", "pattern": "(?=a)"}, "look-around"),
        ({"op": "regex", "field": "final", "pattern": r"(a)\1"}, "backreferences"),
        ({"op": "regex", "field": "final", "pattern": r"\w{1000}{1000}"}, "size limit"),
        ({"op": "regex", "field": "final", "pattern": "("}, "rule.pattern"),
        ({"op": "regex", "field": "final", "pattern": "a" * 501}, "rule.pattern"),
        ({"op": "tool", "name": "x"}, "needs min or max"),
        ({"op": "tool", "name": "x", "min": -1}, "rule.min"),
        ({"op": "tool", "name": "", "min": 1}, "rule.name"),
        ({"op": "tool", "name": "x", "min": 1, "status": "failed"}, "rule.status"),
        ({"op": "number", "field": "final", "compare": ">=", "value": 1}, "rule.field"),
        ({"op": "number", "field": "cost_usd", "compare": ">", "value": 1}, "rule.compare"),
        ({"op": "number", "field": "cost_usd", "compare": ">=", "value": float("nan")}, "rule.value"),
        ({"op": "number", "field": "cost_usd", "compare": ">=", "value": 10**400}, "rule.value"),
        ({"op": "number", "field": "cost_usd", "compare": ">=", "value": True}, "rule.value"),
        (nested(7), "at most 6 deep"),
        (nested(5_000), "at most 6 deep"),
        ({"op": "all", "of": [{"op": "all", "of": [LEAF] * 40}] * 2}, "83 operations"),
    ],
)
def test_what_is_no_rule_is_refused_and_the_message_says_where(rule: Any, where: str):
    with pytest.raises(ArtifactError, match=where):
        validate_rule(rule)


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
    assert rule_size(rule) == 5


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
        case "contains":
            return any(phrase.lower() in row[rule["field"]].lower() for phrase in rule["any"])
        case "regex":
            return re.search(rule["pattern"], row[rule["field"]]) is not None
        case "tool":
            status = {"any": ("ok", "err"), "ok": ("ok",), "error": ("err",)}[rule["status"]]
            n = sum(name == rule["name"] and how in status for name, how in calls)
            return (rule["min"] is None or n >= rule["min"]) and (rule["max"] is None or n <= rule["max"])
        case "tool_before":
            first = [i for i, call in enumerate(calls) if call[0] == rule["first"]]
            then = [i for i, call in enumerate(calls) if call[0] == rule["then"]]
            return bool(first and then) and first[0] < then[-1]
        case "last_tool":
            return bool(calls) and calls[-1][0] == rule["name"]
        case _:
            value = row[rule["field"]]
            return value is not None and (value >= rule["value"] if rule["compare"] == ">=" else value <= rule["value"])


_NAMES = st.sampled_from(["a", "b", "a.b", "a:ok", "ü"])
_FIELDS = st.sampled_from(TEXT_FIELDS)
_TEXTS = st.sampled_from(["sorry", "Sorry 12", "ÄRGER", "ärger\n7", "", "a.b"])
_LIMITS = st.one_of(st.none(), st.integers(0, 3))
_PREDICATES = st.one_of(
    st.fixed_dictionaries({"op": st.just("constant"), "value": st.booleans()}),
    st.fixed_dictionaries(
        {"op": st.just("contains"), "field": _FIELDS, "any": st.lists(_TEXTS.filter(bool), min_size=1, max_size=3)}
    ),
    st.fixed_dictionaries(
        {"op": st.just("regex"), "field": _FIELDS, "pattern": st.sampled_from([r"\d+", "^s", "(?i)SORRY", "a.b", ""])}
    ),
    st.fixed_dictionaries(
        {
            "op": st.just("tool"),
            "name": _NAMES,
            "status": st.sampled_from(["any", "ok", "error"]),
            "min": _LIMITS,
            "max": _LIMITS,
        }
    ).filter(lambda rule: rule["min"] is not None or rule["max"] is not None),
    st.fixed_dictionaries({"op": st.just("tool_before"), "first": _NAMES, "then": _NAMES}),
    st.fixed_dictionaries({"op": st.just("last_tool"), "name": _NAMES}),
    st.fixed_dictionaries(
        {
            "op": st.just("number"),
            "field": st.sampled_from(NUMBER_FIELDS),
            "compare": st.sampled_from([">=", "<="]),
            "value": st.one_of(st.integers(0, 3), st.floats(0, 2)),
        }
    ),
)


def _combined(rules: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(rules, min_size=1, max_size=3)
    return st.one_of(
        st.fixed_dictionaries({"op": st.sampled_from(["all", "any"]), "of": several}),
        st.fixed_dictionaries({"op": st.just("not"), "of": rules}),
        several.flatmap(
            lambda of: st.fixed_dictionaries(
                {"op": st.just("at_least"), "k": st.integers(1, len(of)), "of": st.just(of)}
            )
        ),
    )


def _depth(rule: dict[str, Any]) -> int:
    of = rule.get("of", [])
    return 1 + max((_depth(child) for child in (of if isinstance(of, list) else [of])), default=0)


RULES = st.recursive(_PREDICATES, _combined, max_leaves=10).filter(lambda rule: _depth(rule) <= 5)
MESSAGES = st.one_of(
    st.tuples(st.sampled_from(["user", "assistant"]), _TEXTS),
    st.tuples(st.sampled_from(["call", "result", "error"]), _NAMES, _TEXTS),
)
TRANSCRIPTS = st.lists(
    st.lists(MESSAGES, max_size=6).map(lambda messages: transcript(*messages)), min_size=1, max_size=4
)


@settings(deadline=None, max_examples=150)
@given(RULES, TRANSCRIPTS)
def test_a_rule_over_a_partition_agrees_with_the_reference_on_each_trace(rule: dict[str, Any], transcripts: list[Any]):
    frame = view(*transcripts)
    checked = validate_rule(rule)
    assert validate_rule(checked) == checked
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


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["all", "tool", "of"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["op", "of", "k", "field", "any", "pattern", "name", "value", "min"]), inner)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(_JSON)
def test_whatever_is_handed_in_is_a_rule_or_an_artifact_error(anything: Any):
    with suppress(ArtifactError):
        assert isinstance(validate_rule(anything), dict)
