"""What rules mean: a rule is JSON, TRUE of a trace when the failure is PRESENT; here it becomes polars or English.

A rule can be slow nowhere (Rust's regex engine takes linear time) and reach nothing but the columns of the view. The
one implementation serves a single trace and a partition. What is a rule is in rule_syntax.py, the single predicates
are in predicates.py, finding rules is in generation/.
"""

import json
from typing import Any

import polars as pl

from evalpipe.evaluators.predicates import columns_of, compile_predicate, found_text, overlap_of
from evalpipe.evaluators.rule_syntax import Rule, children, rule_size, validate_rule
from evalpipe.evaluators.view import NUMBER_MEANINGS, TEXT_MEANINGS
from evalpipe.evaluators.words import phrase_in

__all__ = ["Rule", "columns_asked", "compile_rule", "explain_rule", "fired", "reason", "rule_size", "validate_rule"]

_MAX_EVIDENCE_CHARS = 80  # of a matched text that is shown in an explanation


def compile_rule(rule: Rule) -> pl.Expr:
    """A Boolean over the columns of the view, never null: what cannot be told is false."""
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
            return compile_predicate(rule).fill_null(False)


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
    return pl.when(compile_rule(rule)).then(reason(rule))


def reason(rule: Rule) -> pl.Expr:
    """What `fired` says of traces of which the rule is known to be true: nothing is asked twice."""
    return _because(rule, holds=True, is_known=True)


def columns_asked(rule: Rule) -> set[str]:
    """The columns of the view that the rule asks for."""
    if of := children(rule):
        return set().union(*map(columns_asked, of))
    return columns_of(rule)


def _nested(rule: Rule, *, always: bool = False) -> str:
    text = explain_rule(rule)
    return f"({text})" if always or rule["op"] in ("all", "any", "at_least") else text


def _explain_predicate(rule: Rule) -> str:
    match rule["op"]:
        case "constant":
            return "always" if rule["value"] else "never"
        case "contains" | "regex":
            return f"{TEXT_MEANINGS[rule['field']]} {_explain_search(rule)}"
        case "said":
            return f"{_place(rule)} {_speaker(rule)} {_explain_search(rule, 'says')}"
        case "similar":
            texts = " or ".join(_quoted(text) for text in rule["to"])
            return f"{TEXT_MEANINGS[rule['field']]} has {rule['share']:.0%} or more of the words of {texts}"
        case "overlap":
            return f"{_overlap(rule)}: {rule['share']:.0%} {_bound(rule)}"
        case "valid_json":
            fits = "" if rule["schema"] is None else f" that fits the schema {_quoted(rule['schema'])}"
            return f"{TEXT_MEANINGS[rule['field']]} is valid JSON{fits}"
        case "tool":
            return _explain_tool(rule)
        case "tool_before" | "tool_then":
            how = "before" if rule["op"] == "tool_before" else "directly before"
            return f"tool {_quoted(rule['first'])} is called {how} tool {_quoted(rule['then'])}"
        case "last_tool":
            return f"the last tool call is {_quoted(rule['name'])}"
        case "argument":
            return f"{_argument(rule)} {_explain_test(rule)}"
        case _:
            return f"{NUMBER_MEANINGS[rule['field']]}: {rule['value']:g} {_bound(rule)}"


def _explain_search(rule: Rule, contains: str = "contains") -> str:
    """What a predicate about text looks for."""
    if rule.get("any") is not None:
        return f"{contains} " + " or ".join(_quoted(phrase) for phrase in rule["any"])
    phrase = phrase_in(rule["pattern"])
    if phrase is None:
        return (
            f"{'matches' if contains == 'contains' else contains + ' what matches'} /{_quoted(rule['pattern'])[1:-1]}/"
        )
    return f"{'has' if contains == 'contains' else contains} the words {_quoted(phrase)}"


def _place(rule: Rule) -> str:
    """Where a `said` looks."""
    tool = "a tool" if rule["tool"] is None else f"tool {_quoted(rule['tool'])}"
    place = {
        "before_first": f"before {tool} is first called",
        "before_last": f"before {tool} is last called",
        "after_first": f"after {tool} is first called",
        "after_last": f"after {tool} is last called",
        "after_failed": f"after {tool} fails",
        "at_end": "at the end",
    }[rule["where"]]
    n = rule["nearest"]
    return place if n is None else f"{place} (nearest {'message' if n == 1 else f'{n} messages'})"


def _speaker(rule: Rule) -> str:
    return f"the {rule['by']}"


def _overlap(rule: Rule) -> str:
    unit = {"words": "content words", "pairs": "word pairs", "numbers": "numbers"}[rule["unit"]]
    sources = " or ".join(TEXT_MEANINGS[source] for source in rule["sources"])
    return f"share of the {unit} in {TEXT_MEANINGS[rule['field']]} that are in {sources}"


def _argument(rule: Rule) -> str:
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in rule["path"]).removeprefix(".")
    return f"the argument {path} of tool {_quoted(rule['tool'])}"


def _explain_test(rule: Rule) -> str:
    test, value = rule["test"], rule["value"]
    match test:
        case "present":
            return "is given"
        case "equals":
            return f"is {value:g}" if isinstance(value, float) else f"is {_quoted(value)}"
        case "matches":
            return f"matches /{_quoted(value)[1:-1]}/"
        case _:
            return f"is {value:g} {_bound({'compare': test})}"


def _bound(rule: Rule) -> str:
    return "or more" if rule["compare"] == ">=" else "or less"


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


def _quoted(value: Any) -> str:
    """Text of a rule may come out of a trace: control characters are shown, not obeyed."""
    return json.dumps(value, ensure_ascii=False)


def _because(rule: Rule, *, holds: bool, is_known: bool) -> pl.Expr:
    """Why the rule is `holds`, in words; null where it is not, unless it is known to be so in every trace asked."""
    if rule["op"] == "not":
        return _because(rule["of"], holds=not holds, is_known=is_known)
    if of := children(rule):
        # Where all hold, each does; where not any does, none does.
        are_known = rule["op"] == ("all" if holds else "any")
        reasons = [_because(child, holds=holds, is_known=are_known) for child in of]
        words = pl.concat_str(reasons, separator="; ", ignore_nulls=True)
    elif holds:
        words = _evidence(rule)
    else:
        words = pl.lit(f"not: {_explain_predicate(rule)}")
    if is_known:
        return words
    return pl.when(compile_rule(rule) if holds else ~compile_rule(rule)).then(words)


def _evidence(rule: Rule) -> pl.Expr:
    """A predicate that is true, in words, with what matched or how large the number is."""
    found = found_text(rule)
    match rule["op"]:
        case "contains" | "regex" | "said":
            is_plain = rule.get("any") is not None or phrase_in(rule["pattern"]) is not None
            if rule["op"] == "said":
                said = f"{_place(rule)} {_speaker(rule)} says"
            else:
                said = f"{TEXT_MEANINGS[rule['field']]} {'contains' if is_plain else 'matches a pattern with'}"
            return pl.format('{} "{}"', pl.lit(said), _on_one_line(found))
        case "similar":
            return pl.format('{} is similar to "{}"', pl.lit(TEXT_MEANINGS[rule["field"]]), _on_one_line(found))
        case "argument":
            return pl.format('{} is "{}"', pl.lit(_argument(rule)), _on_one_line(found))
        case "overlap":
            return pl.format("{}: {} %", pl.lit(_overlap(rule)), (overlap_of(rule) * 100).round(1))
        case "number":
            return pl.format("{} is {}", pl.lit(NUMBER_MEANINGS[rule["field"]]), pl.col(rule["field"]).round(3))
        case _:
            return pl.lit(_explain_predicate(rule))


def _on_one_line(found: pl.Expr) -> pl.Expr:
    return found.fill_null("").str.replace_all(r"[\s\p{Cc}]+", " ").str.head(_MAX_EVIDENCE_CHARS)
