import json
from contextlib import suppress
from importlib import resources
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from evalpipe.errors import ArtifactError
from evalpipe.evaluators.rule_syntax import json_schema, rule_size, validate_rule
from evalpipe_tests.evaluators.made_rules import LEAF, RULES, nested

SCHEMA = Draft202012Validator(json_schema())


def deep_schema(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"items": schema}
    return schema


def json_rule(schema: Any) -> dict[str, Any]:
    return {"op": "valid_json", "field": "final", "schema": schema}


def argument(**changes: Any) -> dict[str, Any]:
    return {"op": "argument", "tool": "pay", "path": ["id"], **changes}


def said(**changes: Any) -> dict[str, Any]:
    return {"op": "said", "by": "user", "where": "before_first", "tool": "pay", "any": ["yes"], **changes}


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ("refund", "^rule: a rule is a JSON object"),
        ({}, "^rule.op: None is no operation; there are all, any"),
        ({"op": ["all"]}, "^rule.op: this list is no operation"),
        ({"op": "eval", "code": "1"}, "^rule.op: 'eval' is no operation"),
        ({"op": "last_tool", "name": nested(5_000)}, "^rule.name"),
        ({"op": "all", "of": []}, "^rule.of: "),
        ({"op": "all", "of": {"op": "not"}}, "^rule.of: "),
        ({"op": "all", "of": [LEAF, "refund"]}, r"^rule.of\[1\]: a rule is a JSON object, not 'refund'"),
        ({"op": "all", "of": [LEAF], "k": 1}, "^rule.k: Extra"),
        ({"op": "any", "of": [LEAF, {"op": "not"}]}, r"^rule.of\[1\].of: Field required"),
        ({"op": "not", "of": {"op": "any", "of": [LEAF, {"op": "x"}]}}, r"^rule.of.of\[1\].op: 'x' is no operation"),
        ({"op": "at_least", "k": 3, "of": [LEAF, LEAF]}, "^rule: k is 3, and it has only 2 rules"),
        ({"op": "at_least", "k": True, "of": [LEAF]}, "^rule.k: "),
        ({"op": "constant", "value": 1}, "^rule.value: "),
        ({"op": "contains", "field": "final", "any": []}, "^rule.any: "),
        ({"op": "contains", "field": "final", "any": [""]}, r"^rule.any\[0\]: "),
        ({"op": "contains", "field": "final", "any": ["\ud800"]}, r"^rule.any\[0\]: "),
        ({"op": "contains", "field": "final", "any": ["x"] * 65}, "^rule.any: "),
        ({"op": "contains", "field": "answer", "any": ["x"]}, "^rule.field: 'answer' is not one of request, user"),
        ({"op": "tool", "name": "x"}, "^rule: 'tool' needs min or max"),
        ({"op": "tool", "name": "x", "min": -1}, "^rule.min: "),
        ({"op": "tool", "name": "", "min": 1}, "^rule.name: "),
        ({"op": "tool", "name": "x", "min": 1, "status": "failed"}, "^rule.status: "),
        ({"op": "number", "field": "final", "compare": ">=", "value": 1}, "^rule.field: "),
        ({"op": "number", "field": "cost_usd", "compare": ">", "value": 1}, "^rule.compare: "),
        ({"op": "number", "field": "cost_usd", "compare": ">=", "value": True}, "^rule.value: "),
        ({"op": "similar", "field": "final", "to": ["what is it"], "share": 0.5}, r"^rule.to\[0\]: it has no content"),
        ({"op": "similar", "field": "final", "to": ["refund"], "share": 0}, "^rule.share: "),
        (
            {"op": "overlap", "field": "final", "sources": ["final"], "compare": "<=", "share": 0.5},
            r"^rule.sources\[0\]",
        ),
        (said(where="at_end"), "^rule: at_end needs nearest"),
        (said(tool=None), "^rule: before_first needs a tool"),
        (said(pattern="yes"), "^rule: 'said' needs either any or pattern"),
        (said(by="system"), "^rule.by: "),
        (argument(test=">=", value="3"), "^rule: '3' is no value for the test '>='"),
        (argument(test="equals"), "^rule: None is no value for the test 'equals'"),
        (argument(path=[]), "^rule.path: "),
        (json_rule({"type": "text"}), "^rule.schema.type: "),
    ],
)
def test_what_is_no_rule_is_refused_and_the_message_says_where(rule: Any, where: str):
    with pytest.raises(ArtifactError, match=where):
        validate_rule(rule)


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        # Patterns that would take for ever elsewhere, or all memory.
        ({"op": "regex", "field": "final", "pattern": "(?=a)"}, "^rule.pattern: .* look-around"),
        ({"op": "regex", "field": "final", "pattern": r"(a)\1"}, "^rule.pattern: .* backreferences"),
        ({"op": "regex", "field": "final", "pattern": r"\w{1000}{1000}"}, "^rule.pattern: .* size limit"),
        ({"op": "regex", "field": "final", "pattern": "("}, "^rule.pattern: "),
        ({"op": "regex", "field": "final", "pattern": "a" * 501}, "^rule.pattern: "),
        (said(any=None, pattern="(?<=a)b"), "^rule.pattern: .* look-around"),
        (argument(test="matches", value=r"(\w{999}){999}"), "size limit"),
        # Paths that would leave the argument.
        (argument(path=["a'] | $['b"]), r"^rule.path\[0\]: "),
        (argument(path=["*"]), r"^rule.path\[0\]: "),
        (argument(path=["a\n"]), r"^rule.path\[0\]: "),
        (argument(path=["id", -1]), r"^rule.path\[1\]: "),
        (argument(path=["id"] * 9), "^rule.path: "),
        # Depth and size.
        (nested(7), "nested at most 6 deep"),
        (nested(5_000), "nested at most 6 deep"),
        ({"op": "all", "of": [{"op": "all", "of": [LEAF] * 40}] * 2}, "83 operations"),
        (json_rule(deep_schema(7)), "^rule.schema: .* nested at most 6 deep"),
        (json_rule(deep_schema(5_000)), "^rule.schema: .* nested at most 6 deep"),
        (json_rule({"properties": {str(i): {} for i in range(64)}}), "^rule.schema: .* at most 64 parts"),
        # Schemas that fetch, or take exponential time.
        (json_rule({"$ref": "http://example.com/schema.json"}), r"^rule.schema.\$ref: Extra"),
        (json_rule({"properties": {"a": {"pattern": "(a+)+$"}}}), r"^rule.schema.properties.a.pattern: Extra"),
        (json_rule({"anyOf": [{}]}), "^rule.schema.anyOf: Extra"),
        # Numbers that JSON has not.
        ({"op": "number", "field": "cost_usd", "compare": ">=", "value": float("nan")}, "^rule.value: "),
        ({"op": "number", "field": "cost_usd", "compare": ">=", "value": 10**400}, "^rule.value: "),
        (json_rule({"minimum": float("inf")}), "^rule.schema.minimum: "),
        ({"op": "similar", "field": "final", "to": ["refund"], "share": float("nan")}, "^rule.share: "),
    ],
)
def test_what_could_harm_who_runs_it_is_refused_and_the_message_says_where(rule: Any, where: str):
    with pytest.raises(ArtifactError, match=where):
        validate_rule(rule)


def test_optional_keys_are_filled_in_and_a_schema_is_kept_as_it_was_written():
    assert validate_rule({"op": "tool", "name": "x", "min": 1}) == {
        **{"op": "tool", "name": "x", "status": "any", "min": 1, "max": None}
    }
    schema = {"type": ["object", "null"], "properties": {"a": {"minLength": 2}}, "additionalProperties": False}
    assert validate_rule(json_rule(schema))["schema"] == schema
    assert validate_rule({"op": "valid_json", "field": "final"})["schema"] is None


def test_the_size_of_a_rule_counts_its_operations():
    assert rule_size(validate_rule({"op": "all", "of": [LEAF, {"op": "not", "of": LEAF}]})) == 4


def test_the_published_schema_is_current():
    published = json.loads(resources.files("evalpipe.evaluators").joinpath("rule.schema.json").read_text())
    assert published == json_schema(), "write it again: see json_schema() in rule_syntax.py"
    Draft202012Validator.check_schema(published)


@settings(deadline=None, max_examples=100)
@given(RULES)
def test_a_rule_satisfies_the_published_schema_before_and_after_validation(rule: dict[str, Any]):
    assert SCHEMA.is_valid(rule)
    checked = validate_rule(rule)
    assert SCHEMA.is_valid(checked)
    assert validate_rule(checked) == checked


_KEYS = ["op", "of", "k", "field", "any", "pattern", "name", "value", "min", "path", "schema", "share", "where", "to"]


@settings(deadline=None, max_examples=100)
@given(RULES, st.sampled_from(_KEYS), st.sampled_from([None, True, -1, 0.5, "", "x", [], ["x"], {}, {"op": "not"}]))
def test_what_the_published_schema_refuses_is_refused(rule: dict[str, Any], key: str, value: Any):
    spoilt = {**rule, key: value}
    if not SCHEMA.is_valid(spoilt):
        with pytest.raises(ArtifactError):
            validate_rule(spoilt)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["all", "tool", "of", "argument", "said", "valid_json"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(_JSON)
def test_whatever_is_handed_in_is_a_rule_or_an_artifact_error(anything: Any):
    with suppress(ArtifactError):
        assert isinstance(validate_rule(anything), dict)
