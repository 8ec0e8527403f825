"""Texts as numbered words and word sequences: what the learned evaluator weighs and the pattern bank counts.

Nothing here knows a label. A word is a run of letters, digits and underscores, in lower case; a character of a
script written without spaces (Chinese, Japanese, Thai...) is a word by itself; a run of digits is the word NUMBER,
because the number itself seldom returns. All work is on columns: a million words take about a second.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Gram = tuple[str, ...]

NUMBER = "<n>"  # cannot be a word of a text: it holds characters that no word has
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_BREAK = "\x1e"  # between the messages of a field: the last word of one and the first of the next are no sequence
_WORD = rf"[{UNSPACED}{_BREAK}]|[\w&&[^{UNSPACED}]]+"
_GAP = rf"[^\w{_BREAK}]"  # what may stand between two words of a sequence
_IS_NUMBER = r"^\d+$"
_MAX_WORDS = 50_000  # of one text: a trace of several megabytes must not starve the others
_MAX_TABLE = 4_000_000  # entries of four bytes for the pairs of two thousand words


class Words(NamedTuple):
    """Words in reading order: of which document (non-decreasing), and their place in the vocabulary (-1: not in it)."""

    document: Ints
    code: Ints
    vocabulary: list[str]


class Grams(NamedTuple):
    """Which word sequences occur in which documents: each (document, gram) pair once, sorted by document, then gram."""

    document: Ints
    gram: Ints
    names: list[Gram]


def split_raw(texts: pl.Series) -> pl.Series:
    """Each text as the list of its words, numbers as they stand, and the break between two messages."""
    return texts.fill_null("").str.to_lowercase().str.extract_all(_WORD).list.head(_MAX_WORDS)


def split_text(texts: pl.Series) -> pl.Series:
    """Each text as the list of its words."""
    is_number = pl.element().str.contains(_IS_NUMBER)
    return split_raw(texts).list.eval(pl.when(is_number).then(pl.lit(NUMBER)).otherwise(pl.element()))


def split_steps(tool_sequences: pl.Series) -> pl.Series:
    """Each tool sequence of the trace view as its steps, with a mark before the first and after the last."""
    steps = tool_sequences.fill_null("").str.strip_chars("\x1f").str.split("\x1f").list.head(_MAX_WORDS)
    marked = pl.concat_list(
        pl.lit("^"), pl.col("steps").list.eval(pl.element().filter(pl.element() != "")), pl.lit("$")
    )
    return pl.DataFrame({"steps": steps}).select(marked.alias("steps"))["steps"]


def number_words(lists: pl.Series, vocabulary: list[str] | None = None) -> Words:
    """Number the words of each list, by `vocabulary` or by the sorted words that occur."""
    document, words = _one_by_one(lists)
    known = sorted(set(words.unique()) - {_BREAK}) if vocabulary is None else vocabulary
    return Words(document, _codes(words, known), known)


def number_text(texts: pl.Series, vocabulary: list[str]) -> Words:
    """The same as `number_words` of `split_text`, without writing NUMBER in the place of every number first."""
    document, words = _one_by_one(split_raw(texts))
    # A number that a vocabulary holds as it stands is never found: in a text it is NUMBER.
    is_number = pl.Series(vocabulary, dtype=pl.String).str.contains(_IS_NUMBER)
    sought = [f"{_BREAK}{word}" if never else word for word, never in zip(vocabulary, is_number, strict=True)]
    code = _codes(words, sought)
    if NUMBER in vocabulary:
        others = np.flatnonzero(code < 0)  # a number is none of the words that are sought
        is_number = words.gather(others).str.contains(_IS_NUMBER).to_numpy()
        code[others[is_number]] = vocabulary.index(NUMBER)
    return Words(document, code, vocabulary)


def _one_by_one(lists: pl.Series) -> tuple[Ints, pl.Series]:
    """Every word of every list, and before it the document that it is of."""
    n_words = lists.list.len().fill_null(0).to_numpy()
    return np.repeat(np.arange(len(lists), dtype=np.int64), n_words), lists.explode(
        empty_as_null=False, keep_nulls=False
    )


def _codes(words: pl.Series, vocabulary: list[str]) -> Ints:
    """The place of each word in `vocabulary`, -1 where it is not there."""
    # A cast to a fixed set of words is the quickest of all ways to look them up: half the time of a join.
    place = words.cast(pl.Enum(vocabulary), strict=False).to_physical().cast(pl.Int64)
    return place.fill_null(-1).to_numpy().copy()


def frequent_grams(words: Words, n_documents: int, *, max_length: int, min_documents: int) -> Grams:
    """Every sequence of up to `max_length` words that occurs in at least `min_documents` documents.

    A long sequence is frequent only if its two shorter parts are, so each length is built from the one before.
    """
    document, code = words.document, words.code
    gram = code
    names: list[Gram] = [(word,) for word in words.vocabulary]
    found: list[Grams] = []
    for length in range(1, max_length + 1):
        if length > 1:
            gram, names = _longer(gram, names, document)
        pairs = _distinct(gram[gram >= 0] * n_documents + document[: len(gram)][gram >= 0])
        n_in = np.bincount(pairs // n_documents, minlength=len(names)) if len(names) else np.zeros(0, np.int64)
        renumbered = np.where(n_in >= min_documents, np.cumsum(n_in >= min_documents) - 1, -1)
        names = [name for name, is_frequent in zip(names, n_in >= min_documents, strict=True) if is_frequent]
        kept = renumbered[pairs // n_documents] >= 0
        found.append(Grams(pairs[kept] % n_documents, renumbered[pairs[kept] // n_documents], names))
        if not names:
            break
        gram = np.where(gram >= 0, renumbered[gram], -1)
    return _joined(found)


@dataclass(frozen=True)
class Lexicon:
    """Sequences of one or two words that are looked for."""

    names: list[Gram]
    vocabulary: list[str]
    single: Ints  # by word, last an unknown one: the place of the word alone in the names, -1 where it is not there
    pair_keys: Ints  # of the pairs, sorted: the first word's code times len(single) plus the second's
    pair_place: Ints  # of each of these in the names
    pair_table: NDArray[np.int32] | None  # the same by key, -1 for others; None where that would be too large

    @classmethod
    def of(cls, names: list[Gram]) -> "Lexicon":
        """Of a name that stands there twice the first is found."""
        vocabulary = sorted({word for name in names for word in name})
        code = {word: i for i, word in enumerate(vocabulary)}
        n = len(vocabulary) + 1
        single = np.full(n, -1, dtype=np.int64)
        pairs: dict[int, int] = {}
        for place, name in reversed(list(enumerate(names))):
            if len(name) == 1:
                single[code[name[0]]] = place
            else:
                pairs[code[name[0]] * n + code[name[1]]] = place
        keys = np.array(sorted(pairs), dtype=np.int64)
        places = np.array([pairs[key] for key in sorted(pairs)], dtype=np.int64)
        table = None
        if n * n <= _MAX_TABLE:
            table = np.full(n * n, -1, dtype=np.int32)
            table[keys] = places
        return cls(names, vocabulary, single, keys, places, table)

    def find(self, words: Words) -> Grams:
        """Which of the names occur in each document; `words` are numbered by `vocabulary`."""
        n, n_names = len(self.single), len(self.names)
        if n_names == 0 or len(words.code) == 0:
            return Grams(np.zeros(0, np.int64), np.zeros(0, np.int64), self.names)
        start = words.document * n_names
        code = np.where(words.code >= 0, words.code, n - 1)
        single, pair = self.single[code], self._place_of_pairs(code[:-1] * n + code[1:])
        is_single, is_pair = single >= 0, (pair >= 0) & (start[:-1] == start[1:])
        keys = _distinct(np.concatenate([start[is_single] + single[is_single], start[:-1][is_pair] + pair[is_pair]]))
        document = keys // n_names
        return Grams(document, keys - document * n_names, self.names)

    def _place_of_pairs(self, keys: Ints) -> Ints | NDArray[np.int32]:
        """In the names, -1 where a pair is not there. From a table it takes a tenth of the time of a search."""
        if self.pair_table is not None:
            return self.pair_table[keys]
        if len(self.pair_keys) == 0:
            return np.full(len(keys), -1)
        at = np.minimum(np.searchsorted(self.pair_keys, keys), len(self.pair_keys) - 1)
        return np.where(self.pair_keys[at] == keys, self.pair_place[at], -1)


def _distinct(keys: Ints) -> Ints:
    """The distinct keys, sorted. numpy's own `unique` hashes since version 2.3, a hundred times as slow as its sort."""
    found = np.sort(keys)
    return found[np.append(True, found[1:] != found[:-1])] if len(found) else found


def _longer(gram: Ints, names: list[Gram], document: Ints) -> tuple[Ints, list[Gram]]:
    """From the sequences that start at each place to those one word longer."""
    left, right = gram[:-1], gram[1:]
    n = len(gram) - 1
    length = len(names[0])
    last = np.arange(n) + length  # the place of the last word; it must lie in the same document
    is_whole = (left >= 0) & (right >= 0)
    inside = last < len(document)
    is_whole &= inside & (document[:n] == document[np.minimum(last, len(document) - 1)])
    keys = np.where(is_whole, left * len(names) + right, -1)
    distinct, place = np.unique(keys, return_inverse=True)
    has_none = len(distinct) > 0 and distinct[0] == -1
    longer = [(*names[key // len(names)], names[key % len(names)][-1]) for key in distinct[int(has_none) :].tolist()]
    return place - int(has_none), longer


def _joined(parts: list[Grams]) -> Grams:
    offsets = np.cumsum([0, *(len(part.names) for part in parts)])
    document = np.concatenate([part.document for part in parts])
    gram = np.concatenate([part.gram + offset for part, offset in zip(parts, offsets, strict=False)])
    order = np.lexsort((gram, document))
    return Grams(document[order], gram[order], [name for part in parts for name in part.names])


def phrase_pattern(gram: Gram) -> str:
    """The pattern that finds just the texts where these words stand side by side; `phrase_in` reads it back."""
    parts = [r"\d+" if word == NUMBER else word for word in gram]  # a word holds nothing that a pattern would obey
    is_spaced = [not _is_unspaced(word) for word in gram]
    pattern = r"\b" if is_spaced[0] else ""
    for i, part in enumerate(parts):
        if i > 0:
            pattern += _GAP + ("+" if is_spaced[i - 1] and is_spaced[i] else "*")
        pattern += part
    return "(?i)" + pattern + (r"\b" if is_spaced[-1] else "")


def phrase_in(pattern: str) -> str | None:
    """The words of a pattern made by `phrase_pattern`, for people; None for any other pattern."""
    if not pattern.startswith("(?i)"):
        return None
    inside = pattern.removeprefix("(?i)").removeprefix(r"\b").removesuffix(r"\b")
    words = re.split(re.escape(_GAP) + "[+*]", inside)
    gram = tuple(NUMBER if word == r"\d+" else word for word in words)
    is_words = all(word == NUMBER or re.fullmatch(r"\w+", word) for word in gram)
    return " ".join(gram) if is_words and phrase_pattern(gram) == pattern else None


@lru_cache(maxsize=65_536)
def _is_unspaced(word: str) -> bool:
    return len(word) == 1 and pl.Series([word]).str.contains(rf"[{UNSPACED}]").item()
