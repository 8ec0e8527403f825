"""What rules mean: a rule is JSON, TRUE of a trace when the failure is PRESENT; here it becomes polars or English.

A rule can be slow nowhere (Rust's regex engine takes linear time) and reach nothing but the columns of the trace view.
The one implementation serves a single trace and a partition. What is a rule is in rule_syntax.py, finding rules is in
generation/.
"""

import json
from functools import reduce

import polars as pl

from evalpipe.evaluators.rule_syntax import Rule, children, rule_size, validate_rule
from evalpipe.evaluators.words import phrase_in
from evalpipe.traces.view import CALL_SEPARATOR, NUMBER_MEANINGS, TEXT_MEANINGS, tool_name_in_sequence

__all__ = ["Rule", "compile_rule", "explain_rule", "fired", "rule_size", "validate_rule"]

_MAX_EVIDENCE_CHARS = 80  # of a matched text that is shown in an explanation


def compile_rule(rule: Rule) -> pl.Expr:
    """A Boolean over the columns of the trace view, never null: a number that is null makes its comparison false."""
    match rule["op"]:
        case "all":
            return pl.all_horizontal([compile_rule(r) for r in rule["of"]])
        case "any":
            return pl.any_horizontal([compile_rule(r) for r in rule["of"]])
        case "at_least":
            return pl.sum_horizontal([compile_rule(r).cast(pl.UInt32) for r in rule["of"]]) >= rule["k"]
        case "not":
            return ~compile_rule(rule["of"])
        case _:
            return _compile_predicate(rule).fill_null(False)


def explain_rule(rule: Rule) -> str:
    """The rule in English, on one line."""
    match rule["op"]:
        case "all":
            return " and ".join(_nested(r) for r in rule["of"])
        case "any":
            return " or ".join(_nested(r) for r in rule["of"])
        case "at_least":
            return f"at least {rule['k']} of: " + "; ".join(_nested(r) for r in rule["of"])
        case "not":
            return f"not {_nested(rule['of'], always=True)}"
        case _:
            return _explain_predicate(rule)


def fired(rule: Rule) -> pl.Expr:
    """Which predicates make the rule true of a trace, with the text that matched; null where the rule is false."""
    return _because(rule, holds=True)


def _compile_predicate(rule: Rule) -> pl.Expr:
    match rule["op"]:
        case "constant":
            # Through a column, so that the result has as many rows as the view.
            return pl.col("trace_id").is_null() & pl.lit(False) | pl.lit(rule["value"])
        case "contains" | "regex":
            return pl.col(rule["field"]).str.contains(_pattern(rule))
        case "tool":
            return _compile_tool(rule)
        case "tool_before":
            first, then = _in_regex(rule["first"]), _in_regex(rule["then"])
            pattern = rf"(?s)\x1f{first}:(?:ok|err)\x1f(?:.*\x1f)?{then}:(?:ok|err)\x1f"
            return pl.col("tool_sequence").str.contains(pattern)
        case "last_tool":
            sequence = pl.col("tool_sequence")
            return reduce(pl.Expr.or_, [sequence.str.ends_with(call) for call in _calls(rule["name"], "any")])
        case _:
            # A NaN would be larger than every number.
            number = pl.col(rule["field"]).fill_nan(None)
            return number >= rule["value"] if rule["compare"] == ">=" else number <= rule["value"]


def _compile_tool(rule: Rule) -> pl.Expr:
    """Whether the number of calls lies in [min, max]; mere presence is a literal search, which is much quicker."""
    sequence, calls = pl.col("tool_sequence"), _calls(rule["name"], rule["status"])
    low, high = rule["min"] or 0, rule["max"]
    is_called = reduce(pl.Expr.or_, [sequence.str.contains(call, literal=True) for call in calls])
    if low == 1 and high is None:
        return is_called
    if low == 0 and high == 0:
        return ~is_called
    parts = sequence.str.split(CALL_SEPARATOR)
    n_calls = reduce(pl.Expr.add, [parts.list.count_matches(call.strip(CALL_SEPARATOR)) for call in calls])
    return n_calls >= low if high is None else (n_calls >= low) & (n_calls <= high)


def _calls(name: str, status: str) -> list[str]:
    """How a call of the tool stands in the sequence."""
    marks = {"any": ("ok", "err"), "ok": ("ok",), "error": ("err",)}[status]
    return [f"{CALL_SEPARATOR}{tool_name_in_sequence(name)}:{mark}{CALL_SEPARATOR}" for mark in marks]


def _in_regex(name: str) -> str:
    """A tool's name, which is untrusted, as a literal in a pattern."""
    return pl.escape_regex(tool_name_in_sequence(name))


def _pattern(rule: Rule) -> str:
    """What a text predicate looks for. Phrases too become a pattern: for a few it is three times quicker than a search
    for many literals, and it knows the cases of every script."""
    if rule["op"] == "regex":
        return rule["pattern"]
    return "(?i)" + "|".join(pl.escape_regex(phrase) for phrase in rule["any"])


def _nested(rule: Rule, *, always: bool = False) -> str:
    text = explain_rule(rule)
    return f"({text})" if always or rule["op"] in ("all", "any", "at_least") else text


def _explain_predicate(rule: Rule) -> str:
    match rule["op"]:
        case "constant":
            return "always" if rule["value"] else "never"
        case "contains":
            phrases = " or ".join(_quoted(phrase) for phrase in rule["any"])
            return f"{TEXT_MEANINGS[rule['field']]} contains {phrases}"
        case "regex" if (phrase := phrase_in(rule["pattern"])) is not None:
            return f"{TEXT_MEANINGS[rule['field']]} has the words {_quoted(phrase)}"
        case "regex":
            return f"{TEXT_MEANINGS[rule['field']]} matches /{_quoted(rule['pattern'])[1:-1]}/"
        case "tool":
            return _explain_tool(rule)
        case "tool_before":
            return f"tool {_quoted(rule['first'])} is called before tool {_quoted(rule['then'])}"
        case "last_tool":
            return f"the last tool call is {_quoted(rule['name'])}"
        case _:
            bound = "or more" if rule["compare"] == ">=" else "or less"
            return f"{NUMBER_MEANINGS[rule['field']]}: {rule['value']:g} {bound}"


def _explain_tool(rule: Rule) -> str:
    tool, low, high = f"tool {_quoted(rule['name'])}", rule["min"] or 0, rule["max"]
    verb = {"any": "is called", "ok": "succeeds", "error": "fails"}[rule["status"]]
    negated = {"any": "is not called", "ok": "does not succeed", "error": "does not fail"}[rule["status"]]
    if high == 0:
        return f"{tool} {negated}"
    if high is None:
        return f"{tool} {verb}" if low == 1 else f"{tool} {verb} {low} times or more"
    if low == high:
        return f"{tool} {verb} exactly {low} times"
    return f"{tool} {verb} at most {high} times" if low == 0 else f"{tool} {verb} {low} to {high} times"


def _quoted(text: str) -> str:
    """Text of a rule may come out of a trace: control characters are shown, not obeyed."""
    return json.dumps(text, ensure_ascii=False)


def _because(rule: Rule, *, holds: bool) -> pl.Expr:
    """Why the rule is `holds`, in words; null where it is not."""
    if rule["op"] == "not":
        return _because(rule["of"], holds=not holds)
    value = compile_rule(rule) if holds else ~compile_rule(rule)
    if of := children(rule):
        words = pl.concat_str([_because(child, holds=holds) for child in of], separator="; ", ignore_nulls=True)
    elif holds:
        words = _evidence(rule)
    else:
        words = pl.lit(f"not: {_explain_predicate(rule)}")
    return pl.when(value).then(words)


def _evidence(rule: Rule) -> pl.Expr:
    """A predicate that is true, in words; of a text predicate, with what matched."""
    match rule["op"]:
        case "contains" | "regex":
            is_plain = rule["op"] == "contains" or phrase_in(rule["pattern"]) is not None
            verb = "contains" if is_plain else "matches a pattern with"
            found = pl.col(rule["field"]).str.extract(_pattern(rule), 0).fill_null("")
            on_one_line = found.str.replace_all(r"[\s\p{Cc}]+", " ").str.head(_MAX_EVIDENCE_CHARS)
            return pl.format('{} "{}"', pl.lit(f"{TEXT_MEANINGS[rule['field']]} {verb}"), on_one_line)
        case "number":
            value = pl.col(rule["field"]).round(3).cast(pl.String)
            return pl.format("{} is {}", pl.lit(NUMBER_MEANINGS[rule["field"]]), value)
        case _:
            return pl.lit(_explain_predicate(rule))
