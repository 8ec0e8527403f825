"""What could be asked of given traces: predicates of the rule language, each with the examples that it holds of.

No label is looked at. What is kept of them, and what naming one costs, is in bank.py; findings.py adds what only people
read.
"""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.predicates import argument_texts, overlap_of, said_text
from evalpipe.evaluators.rule_syntax import MAX_NAME_CHARS, MAX_PATTERN_CHARS, is_argument_key
from evalpipe.evaluators.rules import Rule
from evalpipe.evaluators.view import NUMBER_FIELDS, TEXT_FIELDS
from evalpipe.evaluators.words import Gram, Ints, frequent_grams, number_words, phrase_pattern, split_text
from evalpipe.traces.view import CALL_SEPARATOR

Row = tuple[Rule, Ints]
"""A predicate, and the examples that have it."""

_MAX_WORDS = 3  # of a phrase that the search may take; what a reader is shown may be longer (findings.py)
MIN_CASES = 3  # a predicate seen in fewer is about those cases
MAX_PHRASES = 10_000  # of one field: those most evenly present
_MAX_TOOLS = 40  # the pairs of more are too many, and the rare ones too rare
_REPEATS = (2, 3, 4)  # numbers of calls asked for
_MAX_LEVELS = 32  # thresholds of one number
_MAX_ARGUMENTS = 60  # places in the arguments of tools: those given most often
_MAX_ARGUMENT_DEPTH = 2
_MAX_VALUES = 8  # of one argument
_MAX_VALUE_CHARS = 100
_CAN_BE_NAMED = pl.col("tool").str.len_chars().is_between(1, MAX_NAME_CHARS)  # by a rule
# Shares that no number of the view says: what an answer has from the tools alone, and whence arguments come.
_OVERLAPS = (
    ("final", ["tool_output"], "words"),
    ("final", ["tool_output"], "numbers"),
    ("tool_input", ["user", "tool_output"], "words"),
    ("tool_input", ["user", "tool_output"], "numbers"),
)
# Where words are looked for: right before a tool is first called, for the tools that tell traces apart most evenly, and
# right after a failure. Short phrases will do, because the place says most.
_SAID_BEFORE = ("user", "assistant")
_MAX_SAID_TOOLS = 8
_MAX_SAID_WORDS = 2
_MAX_SAID = 60  # phrases of one place


def mined(view: pl.DataFrame) -> Iterator[tuple[str, Rule, Ints]]:
    """Kind (one of bank.KINDS), predicate and its examples; `view` is that of evaluators/view.py.

    Numbers that the view lacks are not asked.
    """
    of_kind = {
        "tool": chain(_tools(view), _arguments(view)),
        "number": chain(_numbers(view), _overlaps(view)),
        "said": _said(view),
        **{field: _phrases(view, field) for field in TEXT_FIELDS},
    }
    for kind, rows in of_kind.items():
        for rule, examples in rows:
            yield kind, rule, examples


def _tools(view: pl.DataFrame) -> Iterator[Row]:
    calls = (
        view.select(step=pl.col("tool_sequence").str.strip_chars(CALL_SEPARATOR).str.split(CALL_SEPARATOR))
        .with_row_index("example")
        .explode("step")
        .filter(pl.col("step").str.len_chars() > 0)
        .select(
            pl.col("example").cast(pl.Int64),
            tool=pl.col("step").str.replace(":(?:ok|err)$", ""),
            is_error=pl.col("step").str.ends_with(":err"),
        )
        .with_columns(place=pl.int_range(pl.len()).over("example"))
    )
    names = (
        calls.filter(_CAN_BE_NAMED)
        .group_by("tool")
        .agg(n=pl.col("example").n_unique())
        .sort("n", "tool", descending=[True, False])
        .head(_MAX_TOOLS)["tool"]
        .sort()
        .to_list()
    )
    first = np.full((len(names), view.height), np.inf)
    last = np.full((len(names), view.height), -np.inf)
    length = np.bincount(calls["example"].to_numpy(), minlength=view.height)
    for i, name in enumerate(names):
        own = calls.filter(pl.col("tool") == name)
        example, place = own["example"].to_numpy(), own["place"].to_numpy().astype(np.float64)
        np.minimum.at(first[i], example, place)
        np.maximum.at(last[i], example, place)
        n_calls = np.bincount(example, minlength=view.height)
        n_errors = np.bincount(example, weights=own["is_error"].to_numpy(), minlength=view.height)
        yield {"op": "tool", "name": name, "status": "any", "min": 1, "max": None}, np.flatnonzero(n_calls)
        for status, n in (("error", n_errors), ("ok", n_calls - n_errors)):
            yield {"op": "tool", "name": name, "status": status, "min": 1, "max": None}, np.flatnonzero(n)
        for low in _REPEATS:
            yield {"op": "tool", "name": name, "status": "any", "min": low, "max": None}, np.flatnonzero(n_calls >= low)
        yield {"op": "last_tool", "name": name}, np.flatnonzero((n_calls > 0) & (last[i] == length - 1))
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            if i != j:
                yield {"op": "tool_before", "first": a, "then": b}, np.flatnonzero(first[i] < last[j])
    in_turn = calls.with_columns(then=pl.col("tool").shift(-1).over("example")).filter(
        pl.col("tool").is_in(names), pl.col("then").is_in(names)
    )
    for (a, b), own in in_turn.group_by("tool", "then", maintain_order=True):
        yield {"op": "tool_then", "first": a, "then": b}, own["example"].unique().sort().to_numpy()


def _arguments(view: pl.DataFrame) -> Iterator[Row]:
    """Whether an argument is given, its commonest values, and where numbers are cut."""
    asked: list[Rule] = [
        {"op": "argument", "tool": tool, "path": list(path)} for tool, path in _argument_places(view["transcript"])
    ]
    if not asked:
        return
    given = (
        view.select(argument_texts(rule).alias(str(i)) for i, rule in enumerate(asked))
        .with_row_index("example")
        .unpivot(index="example", variable_name="place", value_name="text")
        .explode("text")
        .drop_nulls()
        .with_columns(pl.col("place").cast(pl.Int64))
    )
    examples = pl.col("example").cast(pl.Int64).unique().sort()
    for place, holds in given.group_by("place").agg(examples).sort("place").iter_rows():
        yield {**asked[place], "test": "present", "value": None}, np.array(holds)
    common = (
        given.filter(pl.col("text").str.len_chars() <= _MAX_VALUE_CHARS)
        .group_by("place", "text")
        .agg(examples)
        .sort("place", pl.col("example").list.len(), "text", descending=[False, True, False])
        .group_by("place", maintain_order=True)
        .head(_MAX_VALUES)
    )
    for place, text, holds in common.select("place", "text", "example").iter_rows():
        yield {**asked[place], "test": "equals", "value": text}, np.array(holds)
    number = pl.col("text").cast(pl.Float64, strict=False)
    # Some call must pass the test: the largest value of a trace can be so large, the smallest so small.
    extremes = (
        given.select("place", "example", number=number)
        .filter(pl.col("number").is_finite())
        .group_by("place", "example")
        .agg(largest=pl.col("number").max(), smallest=pl.col("number").min())
        .sort("place", "example")
    )
    for (place,), one in extremes.group_by("place", maintain_order=True):
        example, largest, smallest = (one[name].to_numpy() for name in ("example", "largest", "smallest"))
        rule = asked[int(str(place))]
        for value in _levels(largest):
            yield {**rule, "test": ">=", "value": value}, example[largest >= value]
        for value in _levels(smallest):
            yield {**rule, "test": "<=", "value": value}, example[smallest <= value]


def _argument_places(transcripts: pl.Series) -> list[tuple[str, tuple[str, ...]]]:
    """(tool, path) of what is given in the arguments of most kinds of call."""
    step = pl.element().struct
    is_call = step.field("role") == "tool_call"
    calls = (
        transcripts.to_frame("call")
        .select(pl.col("call").list.eval(pl.element().filter(is_call)))
        .explode("call")
        .drop_nulls()
        .unnest("call")
        .select("tool", "content")
        .drop_nulls()
        .filter(_CAN_BE_NAMED)
        .unique()
    )
    n_given: dict[tuple[str, tuple[str, ...]], int] = {}
    for tool, content in calls.iter_rows():
        for path in _paths(content):
            n_given[tool, path] = n_given.get((tool, path), 0) + 1
    return sorted(sorted(n_given, key=lambda place: (-n_given[place], place))[:_MAX_ARGUMENTS])


def _paths(content: str) -> Iterator[tuple[str, ...]]:
    """Paths to what the arguments of a call give, not into lists."""
    try:
        level = [((), orjson.loads(content))]
    except orjson.JSONDecodeError:
        return
    for _ in range(_MAX_ARGUMENT_DEPTH):
        items = [
            ((*path, key), child)
            for path, value in level
            if isinstance(value, dict)
            for key, child in value.items()
            if is_argument_key(key)
        ]
        yield from (path for path, value in items if not isinstance(value, dict))
        level = items


def _numbers(view: pl.DataFrame) -> Iterator[Row]:
    for field in (name for name in NUMBER_FIELDS if name in view.columns):
        yield from _both_ways(view[field], {"op": "number", "field": field}, "value")


def _overlaps(view: pl.DataFrame) -> Iterator[Row]:
    asked = [{"op": "overlap", "field": field, "sources": list(of), "unit": unit} for field, of, unit in _OVERLAPS]
    shares = view.select(overlap_of(rule).alias(str(i)) for i, rule in enumerate(asked))
    for i, rule in enumerate(asked):
        yield from _both_ways(shares[str(i)], rule, "share")


def _both_ways(numbers: pl.Series, rule: Rule, key: str) -> Iterator[Row]:
    """The number at least and at most so large, at each of its levels."""
    values = numbers.fill_null(float("nan")).to_numpy()
    for value in _levels(values):
        yield {**rule, "compare": ">=", key: value}, np.flatnonzero(values >= value)
        yield {**rule, "compare": "<=", key: value}, np.flatnonzero(values <= value)


def _levels(values: NDArray[np.float64]) -> list[float]:
    """Values between which to cut a number: between all neighbours, or evenly by rank when they are many."""
    known = np.sort(values[~np.isnan(values)])
    distinct = np.unique(known)
    if len(distinct) < 2:
        return []
    cuts = np.arange(len(distinct) - 1)
    if len(cuts) > _MAX_LEVELS:
        at = known[(np.linspace(0, 1, _MAX_LEVELS + 2)[1:-1] * (len(known) - 1)).astype(np.int64)]
        cuts = np.unique(np.minimum(np.searchsorted(distinct, at), len(distinct) - 2))
    return [_plainest_between(float(distinct[i]), float(distinct[i + 1])) for i in cuts]


def _plainest_between(low: float, high: float) -> float:
    """The number with the fewest digits strictly between two others."""
    middle = (low + high) / 2
    for n_digits in range(1, 17):
        if low < (plain := float(f"{middle:.{n_digits}g}")) < high:
            return plain
    return middle


def _said(view: pl.DataFrame) -> Iterator[Row]:
    places = [
        {"op": "said", "by": by, "where": "before_first", "tool": tool, "nearest": 1, "any": None}
        for tool in _dividing_tools(view["tool_sequence"])
        for by in _SAID_BEFORE
    ]
    places.append({"op": "said", "by": "assistant", "where": "after_failed", "tool": None, "nearest": 1, "any": None})
    texts = view.select(said_text(place).alias(str(i)) for i, place in enumerate(places))
    for i, place in enumerate(places):
        for gram, examples in even_grams(texts[str(i)], _MAX_SAID_WORDS, _MAX_SAID):
            yield {**place, "pattern": phrase_pattern(gram)}, examples


def _dividing_tools(sequences: pl.Series) -> list[str]:
    """The tools that nearest half of the traces call."""
    called = (
        sequences.to_frame("tool")
        .select(
            pl.col("tool")
            .str.strip_chars(CALL_SEPARATOR)
            .str.split(CALL_SEPARATOR)
            .list.eval(pl.element().str.replace(":(?:ok|err)$", ""))
            .list.unique()
        )
        .explode("tool")
        .filter(_CAN_BE_NAMED)
    )
    evenness = (pl.col("len").cast(pl.Float64) / len(sequences) - 0.5).abs()
    return called.group_by("tool").len().sort(evenness, "tool").head(_MAX_SAID_TOOLS)["tool"].sort().to_list()


def _phrases(view: pl.DataFrame, field: str) -> Iterator[Row]:
    for gram, examples in even_grams(view[field], _MAX_WORDS, MAX_PHRASES):
        yield {"op": "regex", "field": field, "pattern": phrase_pattern(gram)}, examples


def even_grams(texts: pl.Series, max_words: int, most: int) -> Iterator[tuple[Gram, Ints]]:
    """The `most` phrases most evenly present among `texts`, shorter ones first, and which texts have them.

    Only phrases that a rule can ask for.
    """
    words = number_words(split_text(texts))
    grams = frequent_grams(words, len(texts), max_length=max_words, min_documents=MIN_CASES)
    order = np.argsort(grams.gram, kind="stable")
    document, gram = grams.document[order], grams.gram[order]
    n_with = np.bincount(gram, minlength=len(grams.names))
    ends = np.cumsum(n_with)
    evenness = np.minimum(n_with, len(texts) - n_with)
    # Shorter phrases come first among equals, so that they are the ones kept.
    for i in np.sort(np.argsort(-evenness, kind="stable")[:most]).tolist():
        if len(phrase_pattern(grams.names[i])) <= MAX_PATTERN_CHARS:
            yield grams.names[i], document[ends[i] - n_with[i] : ends[i]]
