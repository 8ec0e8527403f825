"""What could be said of the failures of an issue: predicates in the form in which people read them, by family.

They are the structure that bank.py found, phrases as long as they hold of the same traces (a search wants the
shortest of those, a reader the longest), contradictions of form, and what is missing where it could be expected. No
label is looked at; which of them separate failures is in patterns.py.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from evalpipe.evaluators.rule_syntax import children
from evalpipe.evaluators.rules import Rule, compile_rule, explain_rule
from evalpipe.evaluators.view import NUMBER_MEANINGS, TEXT_FIELDS, TEXT_MEANINGS
from evalpipe.evaluators.words import Gram, Ints, phrase_in, phrase_pattern
from evalpipe.generation.bank import Bank
from evalpipe.generation.mining import MAX_PHRASES, even_grams
from evalpipe.traces.words import word_lists

FAMILIES: Mapping[str, str] = {
    "words": "Words",
    "tools": "Tools",
    "numbers": "Numbers",
    "sources": "The answer and its sources",
    "form": "Form",
    "session": "The session",
}
"""Each family of findings, as a heading."""

_NUMBERS_OF = {
    "sources": (
        *("answer_novelty", "answer_pair_novelty", "n_novel_numbers", "final_request_overlap"),
        *("unsupported", "n_unsupported_numbers"),
    ),
    "form": (
        *("final_is_json", "language_mismatch", "broken_output", "is_cut_off"),
        *("n_request_words", "n_final_words", "n_assistant_words"),
    ),
    "session": (
        *("turn_index", "n_turns", "session_s", "context_growth", "similarity", "n_times_asked", "n_asked_again"),
        *("n_user_messages", "n_assistant_messages", "max_user_similarity", "is_left_unanswered"),
    ),
}
_MAX_WORDS = 4  # of a phrase
_MIN_EXAMPLES = 3  # as in the bank: a thing seen less often is about those traces
_SPEAKS = ("no", "not")  # function words that a reader wants to see alone
# Fields that hold one another's text.
_SPEAKER = {field: {"request": "user", "final": "assistant"}.get(field, field) for field in TEXT_FIELDS}
_JSON_FIELDS = ("final", "tool_input", "tool_output")


class Finding(NamedTuple):
    """Something that holds of `examples`; `absence` says that it does not, null where that is another finding."""

    rule: Rule
    examples: Ints
    absence: Rule | None = None
    is_absent: bool = False  # the rule itself says that something is missing


class Family(NamedTuple):
    """Patterns of one kind, the most telling first."""

    name: str
    title: str
    patterns: list[dict[str, Any]]


def findings(bank: Bank, view: pl.DataFrame) -> list[Finding]:
    """All that could be said of the examples that `bank` was made from, in an order that depends on them alone."""
    found = [*_structure(bank, view), *_phrases(view), *_form(view)]
    return [one for one in found if _MIN_EXAMPLES <= len(one.examples) <= view.height - _MIN_EXAMPLES]


def family_of(rule: Rule) -> str:
    """The family of a finding, by what is asked last: what stands before it says only where."""
    while of := children(rule):
        rule = of[-1]
    match rule["op"]:
        case "regex" | "contains" | "said" | "similar":
            return "words"
        case "overlap":
            return "sources"
        case "valid_json":
            return "form"
        case "number":
            return next((family for family, fields in _NUMBERS_OF.items() if rule["field"] in fields), "numbers")
        case _:
            return "tools"


def calls_asked(rule: Rule) -> set[str | None]:
    """The tools without whose call a finding could not hold or fail (None: the failure of any tool).

    Empty for one that asks no more than whether a tool is called.
    """
    if rule["op"] == "tool" and (rule["status"], rule["min"], rule["max"]) in (("any", 1, None), ("any", None, 0)):
        return set()
    own: set[str | None] = {rule[key] for key in ("name", "tool", "first", "then") if rule.get(key)}
    if rule["op"] == "said" and rule["where"] == "after_failed":
        own.add(rule["tool"])
    return own.union(*({child["name"]} if child["op"] == "tool" else calls_asked(child) for child in children(rule)))


def in_words(rule: Rule) -> str:
    """A finding in English, on one line; what is missing is said plainly."""
    if rule["op"] == "not" and rule["of"]["op"] == "regex":
        phrase = phrase_in(rule["of"]["pattern"])
        return f"{TEXT_MEANINGS[rule['of']['field']]} lacks the words {json.dumps(phrase, ensure_ascii=False)}"
    if rule["op"] == "not" and rule["of"]["op"] == "valid_json":
        return f"{TEXT_MEANINGS[rule['of']['field']]} is not valid JSON"
    if rule["op"] == "number":
        when = NUMBER_MEANINGS[rule["field"]].removeprefix("1 when ").removesuffix(", else 0")
        if when != NUMBER_MEANINGS[rule["field"]]:
            return when if rule["compare"] == ">=" else f"not ({when})"
    return explain_rule(rule)


def is_one_number(a: Rule, b: Rule) -> bool:
    """Whether two findings cut the same number; calls of a tool are one too."""
    while a["op"] == "not":
        a = a["of"]
    while b["op"] == "not":
        b = b["of"]
    if a["op"] == "tool" and b["op"] == "tool":
        return (a["name"], a["status"]) == (b["name"], b["status"])
    if a["op"] == "argument" and b["op"] == "argument":
        is_cut = a["test"] in (">=", "<=") and b["test"] in (">=", "<=")
        return is_cut and (a["tool"], a["path"]) == (b["tool"], b["path"])
    if a["op"] == "overlap" and b["op"] == "overlap":
        return all(a[key] == b[key] for key in ("field", "sources", "unit"))
    return a["op"] == b["op"] == "number" and a["field"] == b["field"]


def is_one_phrase(a: Rule, b: Rule) -> bool:
    """Whether two findings, both of what is there or both of what is missing, are about parts of one phrase."""
    while a["op"] == "not" and b["op"] == "not":
        a, b = a["of"], b["of"]
    if a["op"] == "said" and b["op"] == "said" and all(a[key] == b[key] for key in ("by", "where", "tool")):
        said = [set((phrase_in(rule["pattern"] or "") or "").split()) for rule in (a, b)]
        return not said[0].isdisjoint(said[1])
    if a["op"] != "regex" or b["op"] != "regex" or _SPEAKER[a["field"]] != _SPEAKER[b["field"]]:
        return False
    first, second = (f" {phrase_in(rule['pattern']) or rule['pattern']} " for rule in (a, b))
    return first in second or second in first


def by_family(patterns: Iterable[Mapping[str, Any]]) -> list[Family]:
    """The patterns of an artifact under their headings, in the order in which the families first come."""
    families: dict[str, list[dict[str, Any]]] = {}
    for pattern in patterns:
        families.setdefault(str(pattern.get("family", "")), []).append(dict(pattern))
    return [Family(name, FAMILIES.get(name, "Other"), rows) for name, rows in families.items()]


def _structure(bank: Bank, view: pl.DataFrame) -> Iterator[Finding]:
    """The bank's predicates about anything but a whole text."""
    starts, indices = bank.presence.indptr, bank.presence.indices
    structural = [i for i, rule in enumerate(bank.predicates) if rule["op"] != "regex"]
    phrases = [phrase_in(bank.predicates[i].get("pattern") or "") for i in structural]
    is_telling = _is_telling(pl.Series(phrases, dtype=pl.String))
    calling = _Calling(view)
    for i, phrase, tells in zip(structural, phrases, is_telling.to_list(), strict=True):
        rule, examples = bank.predicates[i], indices[starts[i] : starts[i + 1]].astype(np.int64)
        match rule["op"]:
            case "said" if phrase is not None and not tells:
                continue
            case "said" | "argument":
                yield Finding(rule, examples)
                if rule["tool"] is not None and rule.get("test", "present") == "present":
                    yield calling.without(rule, examples)
            case "number":
                yield Finding(_whole(rule, view[rule["field"]]), examples)
            case "overlap":
                yield Finding(rule, examples)
            case _:
                yield Finding(rule, examples, _absence(rule))


class _Calling:
    """Which examples call a tool, asked once a tool."""

    def __init__(self, view: pl.DataFrame) -> None:
        self._view = view
        self._calls: dict[str, tuple[Rule, Ints]] = {}

    def without(self, rule: Rule, examples: Ints) -> Finding:
        """The tool of `rule` is called, and `rule` does not hold: without the call that would say nothing."""
        name = rule["tool"]
        if name not in self._calls:
            called = {"op": "tool", "name": name, "status": "any", "min": 1, "max": None}
            holds = self._view.select(compile_rule(called)).to_series().to_numpy()
            self._calls[name] = called, np.flatnonzero(holds)
        called, callers = self._calls[name]
        missing = {"op": "all", "of": [called, {"op": "not", "of": rule}]}
        return Finding(missing, np.setdiff1d(callers, examples), is_absent=True)


def _absence(rule: Rule) -> Rule:
    """That a predicate does not hold, in the plainest words."""
    if rule["op"] == "tool" and rule["min"] == 1 and rule["max"] is None:
        return {**rule, "min": None, "max": 0}
    return {"op": "not", "of": rule}


def _whole(rule: Rule, numbers: pl.Series) -> Rule:
    """A threshold between two whole numbers as the one that still passes: 3 or more, not 2.5 or more."""
    if not (numbers.drop_nulls() % 1 == 0).all():
        return rule
    return {**rule, "value": float(np.ceil(rule["value"]) if rule["compare"] == ">=" else np.floor(rule["value"]))}


def _phrases(view: pl.DataFrame) -> Iterator[Finding]:
    """Of the phrases of a field that hold of the same examples the longest; none of function words alone."""
    for field in TEXT_FIELDS:
        grams = list(even_grams(view[field], _MAX_WORDS, MAX_PHRASES))
        vocabulary = pl.Series(sorted({word for gram, _ in grams for word in gram}), dtype=pl.String)
        telling = set(vocabulary.filter(_is_telling(vocabulary)))
        longest: dict[bytes, tuple[Gram, Ints]] = {}
        for gram, examples in grams:
            # Longer ones come later.
            if not telling.isdisjoint(gram):
                longest[examples.tobytes()] = gram, examples
        for gram, examples in longest.values():
            rule = {"op": "regex", "field": field, "pattern": phrase_pattern(gram)}
            yield Finding(rule, examples, {"op": "not", "of": rule})


def _is_telling(texts: pl.Series) -> pl.Series:
    """Whether each text has more than function words."""
    alone = texts.is_in(_SPEAKS)
    return texts.to_frame("text").select(word_lists(pl.col("text"), "words").list.len() > 0).to_series() | alone


def _form(view: pl.DataFrame) -> Iterator[Finding]:
    """What is JSON, and what should have been."""
    is_json = {field: {"op": "valid_json", "field": field, "schema": None} for field in _JSON_FIELDS}
    asked = {"op": "regex", "field": "user", "pattern": phrase_pattern(("json",))}
    broken = {"op": "all", "of": [asked, {"op": "not", "of": is_json["final"]}]}
    holds = view.select(compile_rule(rule).alias(str(i)) for i, rule in enumerate([*is_json.values(), broken]))
    *plain, of_broken = (np.flatnonzero(holds[name].to_numpy()) for name in holds.columns)
    for rule, examples in zip(is_json.values(), plain, strict=True):
        yield Finding(rule, examples, {"op": "not", "of": rule})
    yield Finding(broken, of_broken, is_absent=True)
