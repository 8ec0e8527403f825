"""What each predicate of the rule language means: the columns it asks for, its value, and what matched.

Which JSON is a predicate is in rule_syntax.py; what combines them, and how they are said in English, is in rules.py.
"""

from collections.abc import Callable, Sequence
from functools import cache, reduce

import polars as pl

from evalpipe.evaluators.json_shape import satisfies
from evalpipe.evaluators.rule_syntax import Rule
from evalpipe.traces.view import (
    CALL_SEPARATOR,
    FAILURE_MARK,
    MESSAGE_SEPARATOR,
    SPEAKERS,
    UNNAMED_TOOL,
    tool_name_in_sequence,
)
from evalpipe.traces.words import all_words, content_words, word_lists


def columns_of(predicate: Rule) -> set[str]:
    """The columns of the view that it asks for."""
    match predicate["op"]:
        case "constant":
            return set()
        case "tool" | "tool_before" | "tool_then" | "last_tool":
            return {"tool_sequence"}
        case "said":
            return {"dialogue"}
        case "argument":
            return {"transcript"}
        case _:
            return {predicate["field"], *predicate.get("sources", [])}


def compile_predicate(predicate: Rule) -> pl.Expr:
    """Its value over the columns of the view: a Boolean, null where it cannot be told."""
    match predicate["op"]:
        case "constant":
            # Through a column, so that the result has as many rows as the view.
            return pl.col("trace_id").is_null() & pl.lit(False) | pl.lit(predicate["value"])
        case "contains" | "regex":
            return pl.col(predicate["field"]).str.contains(pattern_of(predicate))
        case "said":
            return said_text(predicate).str.contains(pattern_of(predicate))
        case "similar":
            shares = [_share_of(text, predicate["field"]) for text in predicate["to"]]
            return pl.max_horizontal(shares) >= predicate["share"]
        case "overlap":
            return _compared(overlap_of(predicate), predicate["compare"], predicate["share"])
        case "valid_json":
            shape = predicate["schema"]
            return pl.col(predicate["field"]).map_batches(
                lambda texts: satisfies(texts, shape), return_dtype=pl.Boolean, is_elementwise=True
            )
        case "number":
            # A NaN would be larger than every number.
            number = pl.col(predicate["field"]).fill_nan(None)
            return _compared(number, predicate["compare"], predicate["value"])
        case "argument":
            return _has_argument(predicate)
        case _:
            return _compile_tool(predicate)


def found_text(predicate: Rule) -> pl.Expr:
    """The text that made it true: what matched, which text is alike, what the argument is; null of other predicates."""
    match predicate["op"]:
        case "contains" | "regex":
            return pl.col(predicate["field"]).str.extract(pattern_of(predicate), 0)
        case "said":
            return said_text(predicate).str.extract(pattern_of(predicate), 0)
        case "similar":
            is_alike = ((text, _share_of(text, predicate["field"])) for text in predicate["to"])
            return pl.coalesce(pl.when(share >= predicate["share"]).then(pl.lit(text)) for text, share in is_alike)
        case "argument":
            return pl.col("transcript").list.eval(_value_of_step(predicate).filter(_passes(predicate))).list.first()
        case _:
            return pl.lit(None, pl.String)


def pattern_of(predicate: Rule) -> str:
    """What a text predicate looks for. Phrases too become a pattern: for a few it is three times quicker than a search
    for many literals, and it knows the cases of every script."""
    if (pattern := predicate.get("pattern")) is not None:
        return pattern
    return "(?i)" + "|".join(pl.escape_regex(phrase) for phrase in predicate["any"])


def overlap_of(predicate: Rule) -> pl.Expr:
    """The share of an `overlap`; null where the text has no such words, or no source has any."""
    names = predicate["sources"]
    texts = [pl.col(predicate["field"]), pl.concat_str(names, separator=MESSAGE_SEPARATOR)]
    share = pl.map_batches(texts, _overlaps(predicate["unit"]), return_dtype=pl.Float64, is_elementwise=True)
    return pl.when(pl.any_horizontal(pl.col(name) != "" for name in names)).then(share)


@cache
def _overlaps(unit: str) -> Callable[[Sequence[pl.Series]], pl.Series]:
    """From texts and their sources to the share of each text's words that are in its sources, null without words.

    One function for each unit, because polars computes equal calls once, but a `list.eval` as often as it is used.
    """

    def overlaps(texts: Sequence[pl.Series]) -> pl.Series:
        # Function words and repetitions in the sources change nothing.
        lists = pl.select(own=word_lists(pl.lit(texts[0]), unit), sources=all_words(pl.lit(texts[1]), unit))
        n_own, n_shared = pl.col("own").list.len(), pl.col("own").list.set_intersection("sources").list.len()
        return lists.select(pl.when(n_own > 0).then(n_shared / n_own)).to_series()

    return overlaps


def said_text(predicate: Rule) -> pl.Expr:
    """The messages that a `said` asks about, joined as in the text fields; null where the place is not in the trace."""
    where, nearest, speaker = predicate["where"], predicate["nearest"], SPEAKERS[predicate["by"]]
    messages = _part_of_dialogue(where, predicate["tool"]).str.extract_all(
        rf"{MESSAGE_SEPARATOR}{speaker}[^{FAILURE_MARK}-{CALL_SEPARATOR}]*"
    )
    if nearest is not None:
        messages = messages.list.head(nearest) if where.startswith("after") else messages.list.tail(nearest)
    joined = messages.list.join("").str.replace_all(MESSAGE_SEPARATOR + speaker, MESSAGE_SEPARATOR, literal=True)
    return joined.str.strip_prefix(MESSAGE_SEPARATOR)


def argument_texts(predicate: Rule) -> pl.Expr:
    """The values of an `argument` in each trace, as text, in the order of the calls."""
    return pl.col("transcript").list.eval(_value_of_step(predicate)).list.drop_nulls()


def _compared(number: pl.Expr, compare: str, value: float) -> pl.Expr:
    return number >= value if compare == ">=" else number <= value


def _share_of(text: str, field: str) -> pl.Expr:
    """The share of the content words of `text` that the field has."""
    words = content_words(text)
    shared = word_lists(pl.col(field), "words").list.set_intersection(pl.lit(words))
    return shared.list.len() / len(words)


def _part_of_dialogue(where: str, tool: str | None) -> pl.Expr:
    """The dialogue before or after a call; nobody speaks between a call and its result, so both are the call."""
    dialogue = pl.col("dialogue")
    mark = "" if tool is None else f"{CALL_SEPARATOR}{tool_name_in_sequence(tool)}{CALL_SEPARATOR}"
    parts = dialogue.str.split(mark + FAILURE_MARK if where == "after_failed" else mark)
    match where:
        case "at_end":
            return dialogue
        case "before_first":
            part = parts.list.first()
        case "before_last":
            part = parts.list.head(parts.list.len() - 1).list.join("")
        case "after_last":
            part = parts.list.last()
        case _:
            part = parts.list.slice(1).list.join("")
    return pl.when(parts.list.len() > 1).then(part)


def _has_argument(predicate: Rule) -> pl.Expr:
    return pl.col("transcript").list.eval(_passes(predicate)).list.any()


def _value_of_step(predicate: Rule) -> pl.Expr:
    """Of each step, the value of the argument as text; null where there is none."""
    step = pl.element().struct
    is_call = (step.field("role") == "tool_call") & (step.field("tool").fill_null(UNNAMED_TOOL) == predicate["tool"])
    # The keys were checked: none can hold what ends a quoted key.
    path = "$" + "".join(f"[{key}]" if isinstance(key, int) else f"['{key}']" for key in predicate["path"])
    return pl.when(is_call).then(step.field("content")).str.json_path_match(path)


def _passes(predicate: Rule) -> pl.Expr:
    """Of each step, whether it is a call whose argument passes the test."""
    text, test, wanted = _value_of_step(predicate), predicate["test"], predicate["value"]
    number = text.cast(pl.Float64, strict=False)
    match test:
        case "present":
            return text.is_not_null()
        case "matches":
            return text.str.contains(wanted)
        case "equals" if isinstance(wanted, bool):
            return text == str(wanted).lower()
        case "equals":
            return text == wanted if isinstance(wanted, str) else number == wanted
        case _:
            return number.is_finite() & _compared(number, test, wanted)


def _compile_tool(predicate: Rule) -> pl.Expr:
    sequence = pl.col("tool_sequence")
    match predicate["op"]:
        case "tool_before" | "tool_then":
            first, then = _in_regex(predicate["first"]), _in_regex(predicate["then"])
            between = r"(?:.*\x1f)?" if predicate["op"] == "tool_before" else ""
            return sequence.str.contains(rf"(?s)\x1f{first}:(?:ok|err)\x1f{between}{then}:(?:ok|err)\x1f")
        case "last_tool":
            return reduce(pl.Expr.or_, [sequence.str.ends_with(call) for call in _calls(predicate["name"], "any")])
        case _:
            return _compile_calls(predicate)


def _compile_calls(predicate: Rule) -> pl.Expr:
    """Whether the number of calls lies in [min, max]; mere presence is a literal search, which is much quicker."""
    sequence, calls = pl.col("tool_sequence"), _calls(predicate["name"], predicate["status"])
    low, high = predicate["min"] or 0, predicate["max"]
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
