"""The syntax of rules: which JSON is a rule. What a rule means is in rules.py.

The set of operations is closed, and so are the columns that a rule may ask for (traces/view.py):

    {"op": "all" | "any", "of": [RULE, ...]}                        each of them; one of them
    {"op": "at_least", "k": 2, "of": [RULE, ...]}                   so many of them
    {"op": "not", "of": RULE}
    {"op": "constant", "value": true | false}
    {"op": "contains", "field": TEXT_FIELD, "any": ["phrase", ...]} one of the phrases, whatever their case
    {"op": "regex", "field": TEXT_FIELD, "pattern": "..."}          Rust syntax; case counts unless it says (?i)
    {"op": "tool", "name": "...", "status": "any" | "ok" | "error", "min": 1 | null, "max": null}
                                                                    so many calls that ended so
    {"op": "tool_before", "first": "...", "then": "..."}            some call of one before some call of the other
    {"op": "last_tool", "name": "..."}
    {"op": "number", "field": NUMBER_FIELD, "compare": ">=" | "<=", "value": 1.5}
"""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from evalpipe.errors import ArtifactError
from evalpipe.traces.view import NUMBER_FIELDS, TEXT_FIELDS

Rule = dict[str, Any]
"""A validated rule, every optional key filled in."""

MAX_DEPTH = 6
MAX_NODES = 64
MAX_PATTERN_CHARS = 500
MAX_PHRASES = 64
MAX_NAME_CHARS = 256

_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "all": (("of",), ()),
    "any": (("of",), ()),
    "at_least": (("k", "of"), ()),
    "not": (("of",), ()),
    "constant": (("value",), ()),
    "contains": (("field", "any"), ()),
    "regex": (("field", "pattern"), ()),
    "tool": (("name",), ("status", "min", "max")),
    "tool_before": (("first", "then"), ()),
    "last_tool": (("name",), ()),
    "number": (("field", "compare", "value"), ()),
}
"""Required and optional keys of each operation."""


def validate_rule(rule: Any) -> Rule:
    """`rule` as a rule of the language, optional keys filled in.

    Raises ArtifactError that says where (a path such as rule.of[1].pattern) and what is wrong.
    """
    if (size := _n_operations(rule)) > MAX_NODES:
        raise ArtifactError(f"rule: it has {size} operations; at most {MAX_NODES} are allowed")
    return _checked(rule, "rule", 1)


def rule_size(rule: Rule) -> int:
    """Operations in the rule, its predicates included."""
    return 1 + sum(rule_size(child) for child in children(rule))


def children(rule: Rule) -> list[Rule]:
    """The rules that an operation combines; none for a predicate."""
    of = rule.get("of", [])
    return of if isinstance(of, list) else [of]


def _n_operations(anything: Any, depth: int = 1) -> int:
    """Operations in what may be a rule, counted no deeper than a rule may be."""
    of = anything.get("of", []) if isinstance(anything, dict) and depth <= MAX_DEPTH else []
    return 1 + sum(_n_operations(child, depth + 1) for child in (of if isinstance(of, list) else [of]))


def _checked(rule: Any, where: str, depth: int) -> Rule:
    if not isinstance(rule, dict):
        raise _wrong(where, f"a rule is a JSON object, not {type(rule).__name__}")
    if depth > MAX_DEPTH:
        raise _wrong(where, f"rules are nested at most {MAX_DEPTH} deep")
    op = rule.get("op")
    if not isinstance(op, str) or op not in _KEYS:
        raise _wrong(f"{where}.op", f"{_shown(op)} is no operation; there are {', '.join(_KEYS)}")
    required, optional = _KEYS[op]
    if missing := [key for key in required if key not in rule]:
        raise _wrong(where, f"'{op}' needs {', '.join(missing)}")
    if extra := sorted(str(key) for key in rule.keys() - {"op", *required, *optional}):
        raise _wrong(where, f"'{op}' has no {', '.join(extra)}")
    match op:
        case "all" | "any":
            return {"op": op, "of": _checked_list(rule["of"], where, depth)}
        case "at_least":
            of = _checked_list(rule["of"], where, depth)
            return {"op": op, "k": _checked_count(rule["k"], f"{where}.k", 1, len(of)), "of": of}
        case "not":
            return {"op": op, "of": _checked(rule["of"], f"{where}.of", depth + 1)}
        case "constant":
            if not isinstance(rule["value"], bool):
                raise _wrong(f"{where}.value", f"{_shown(rule['value'])} is neither true nor false")
            return {"op": op, "value": rule["value"]}
        case "contains":
            field = _one_of(rule["field"], TEXT_FIELDS, f"{where}.field")
            return {"op": op, "field": field, "any": _checked_phrases(rule["any"], f"{where}.any")}
        case "regex":
            field = _one_of(rule["field"], TEXT_FIELDS, f"{where}.field")
            return {"op": op, "field": field, "pattern": _checked_pattern(rule["pattern"], f"{where}.pattern")}
        case "tool":
            return _checked_tool(rule, where)
        case "tool_before":
            return {"op": op, **{key: _checked_name(rule[key], f"{where}.{key}") for key in ("first", "then")}}
        case "last_tool":
            return {"op": op, "name": _checked_name(rule["name"], f"{where}.name")}
        case _:
            field = _one_of(rule["field"], NUMBER_FIELDS, f"{where}.field")
            compare = _one_of(rule["compare"], (">=", "<="), f"{where}.compare")
            value = rule["value"]
            if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
                raise _wrong(f"{where}.value", f"{_shown(value)} is no finite number")
            return {"op": op, "field": field, "compare": compare, "value": value}


def _checked_list(rules: Any, where: str, depth: int) -> list[Rule]:
    if not isinstance(rules, list) or not 1 <= len(rules) <= MAX_NODES:
        raise _wrong(f"{where}.of", f"it must be a list of 1 to {MAX_NODES} rules")
    return [_checked(rule, f"{where}.of[{i}]", depth + 1) for i, rule in enumerate(rules)]


def _checked_count(value: Any, where: str, low: int, high: int | None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        raise _wrong(where, f"{_shown(value)} is no whole number from {low}" + (f" to {high}" if high else ""))
    return value


def _checked_phrases(phrases: Any, where: str) -> list[str]:
    if not isinstance(phrases, list) or not 1 <= len(phrases) <= MAX_PHRASES:
        raise _wrong(where, f"it must be a list of 1 to {MAX_PHRASES} phrases")
    for i, phrase in enumerate(phrases):
        if not isinstance(phrase, str) or not phrase or len(phrase) > MAX_PATTERN_CHARS or not _is_unicode(phrase):
            raise _wrong(f"{where}[{i}]", f"a phrase is text of 1 to {MAX_PATTERN_CHARS} characters")
    return list(phrases)


def _checked_pattern(pattern: Any, where: str) -> str:
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN_CHARS or not _is_unicode(pattern):
        raise _wrong(where, f"a pattern is text of at most {MAX_PATTERN_CHARS} characters")
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:200]
        raise _wrong(where, f"{_shown(pattern)} does not compile in the linear-time regex engine: {reason}") from error
    return pattern


def _checked_name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_CHARS or not _is_unicode(name):
        raise _wrong(where, f"a tool's name is text of 1 to {MAX_NAME_CHARS} characters")
    return name


def _checked_tool(rule: Rule, where: str) -> Rule:
    name = _checked_name(rule["name"], f"{where}.name")
    status = _one_of(rule.get("status", "any"), ("any", "ok", "error"), f"{where}.status")
    low, high = (
        None if rule.get(key) is None else _checked_count(rule[key], f"{where}.{key}", 0, None)
        for key in ("min", "max")
    )
    if low is None and high is None:
        raise _wrong(where, "'tool' needs min or max, the number of calls; to ask whether it was called, set min to 1")
    return {"op": "tool", "name": name, "status": status, "min": low, "max": high}


def _one_of(value: Any, allowed: tuple[str, ...], where: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise _wrong(where, f"{_shown(value)} is not one of {', '.join(allowed)}")
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _is_unicode(text: str) -> bool:
    """Whether `text` can be UTF-8: JSON may hold half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _wrong(where: str, what: str) -> ArtifactError:
    return ArtifactError(f"{where}: {what}")


def _shown(value: Any) -> str:
    """A value in a message; of a container its type alone, because it may be too deep to print."""
    is_plain = value is None or isinstance(value, str | float) or (isinstance(value, int) and value.bit_length() < 100)
    return repr(value)[:60] if is_plain else f"this {type(value).__name__}"
