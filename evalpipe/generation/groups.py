"""Which traces must never lie on two sides of a split, because they are one case seen twice.

One case: the same session, nearly the same first request, the same task as the first id in the tool calls shows it,
or word for word the same tool results. Splitting by these groups is in evaluators/folds.py. What ignoring them does
was measured: up to +.28 MCC that is not there (docs/decisions/generation.md).
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from math import ceil

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.words import split_raw
from evalpipe.ids import content_hash

_SIMILARITY = 0.8  # Jaccard of the words of two requests; what people call the same question again
_MIN_WORDS = 4  # "hello" twice is not one case
_MIN_RESULT_WORDS = 8  # "not found" twice is not one case either
_MAX_SHARE = 0.25  # a key shared by more than this share of the examples is a habit of the application, not one case
_MIN_COMMON = 10  # ... once it is shared by so many
# The first argument of a tool call that is named like an id and holds a digit.
_FIRST_ID = r'(?i)"(\w*id)"\s*:\s*"?([\w.:@#-]*\d[\w.:@#-]*)'


def case_groups(traces: pl.DataFrame) -> list[str]:
    """The group of each TRACES row: a name that depends on its members, not on the order of rows."""
    n = traces.height
    parent = list(range(n))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(members: Iterable[int]) -> None:
        roots = sorted({find(i) for i in members})
        for root in roots[1:]:
            parent[root] = roots[0]

    limit = max(_MIN_COMMON, _MAX_SHARE * n)
    for members in _same(traces["session_id"].to_list()):
        join(members)
    for members in (*_same(_first_ids(traces)), *_same(_results(traces)), *_alike(traces["request"])):
        if len(members) <= limit:
            join(members)
    ids = traces["trace_id"].to_list()
    first: dict[int, str] = {}
    for i in range(n):
        first[find(i)] = min(ids[i], first.get(find(i), ids[i]))
    return [content_hash(first[find(i)], 12) for i in range(n)]


def labelled_cases(groups: Sequence[str], is_failure: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A number for the case and label of each example: odd of failures, equal for those of one group."""
    return np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1] * 2 + is_failure


def _same(keys: Sequence[Hashable | None]) -> list[list[int]]:
    by_key: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        if key is not None:
            by_key[key].append(i)
    return [members for members in by_key.values() if len(members) > 1]


def _first_ids(traces: pl.DataFrame) -> list[tuple[str, str] | None]:
    """Name and value of the first id that the tool calls of each trace carry."""
    calls = pl.element().filter(pl.element().struct.field("role") == "tool_call").struct.field("content")
    found = traces.select(
        pl.col("transcript").list.eval(calls.fill_null("")).list.join("\n").str.extract_groups(_FIRST_ID).alias("id")
    )["id"]
    names, values = found.struct.fields[0], found.struct.fields[1]
    rows = zip(found.struct.field(names).to_list(), found.struct.field(values).to_list(), strict=True)
    return [None if value is None else (name.lower(), value) for name, value in rows]


def _results(traces: pl.DataFrame) -> list[str | None]:
    """All that tools returned, as one text; None when it is too short to tell two cases apart."""
    results = pl.element().filter(pl.element().struct.field("role") == "tool_result").struct.field("content")
    joined = pl.col("transcript").list.eval(results.fill_null("")).list.join("\x1e")
    is_telling = joined.str.count_matches(r"\w+") >= _MIN_RESULT_WORDS
    return traces.select(pl.when(is_telling).then(joined).alias("results"))["results"].to_list()


def _alike(requests: pl.Series) -> list[list[int]]:
    """Requests that nearly repeat an earlier one, as clusters around the earliest.

    Two that differ in a word with a digit (an order, a date, an amount) are two cases of one wording, so such words
    must be the same. Blocking is exact: two sets of words with a Jaccard similarity of at least t share one of the
    rarest |A| - ceil(t |A|) + 1 words of either. Source: Bayardo, Ma and Srikant (2007).
    """
    sets = [frozenset(words) for words in split_raw(requests).to_list()]
    frequency = Counter(word for words in sets for word in words)
    clusters: dict[frozenset[str], list[int]] = defaultdict(list)
    for i, words in enumerate(sets):
        if len(words) >= _MIN_WORDS:
            clusters[words].append(i)
    leaders: dict[tuple[frozenset[str], str], list[frozenset[str]]] = defaultdict(list)
    merged: dict[frozenset[str], list[int]] = {}
    for words in sorted(clusters, key=lambda w: (len(w), sorted(w))):
        figures = frozenset(word for word in words if any(c.isdigit() for c in word))
        rarest = sorted(words, key=lambda w: (frequency[w], w))[: len(words) - ceil(_SIMILARITY * len(words)) + 1]
        near = {
            leader for word in rarest for leader in leaders[figures, word] if _jaccard(words, leader) >= _SIMILARITY
        }
        if near:
            leader = min(near, key=lambda w: (-_jaccard(words, w), sorted(w)))
            merged[leader] += clusters[words]
            continue
        merged[words] = list(clusters[words])
        for word in rarest:
            leaders[figures, word].append(words)
    return [sorted(members) for members in merged.values() if len(members) > 1]


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    n_shared = len(a & b)
    return n_shared / (len(a) + len(b) - n_shared)
