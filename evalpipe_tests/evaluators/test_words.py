"""Words, their sequences, and the patterns that find them again."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.evaluators.words import (
    Lexicon,
    frequent_grams,
    number_words,
    phrase_in,
    phrase_pattern,
    split_steps,
    split_text,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Refund ISSUED, ok?", ["refund", "issued", "ok"]),
        ("order 123 of user_7", ["order", "<n>", "of", "user_7"]),
        ("Größe fällt weg", ["größe", "fällt", "weg"]),
        ("退款 done", ["退", "款", "done"]),
        ("", []),
        (None, []),
    ],
)
def test_a_text_is_split_into_words(text: str | None, words: list[str]):
    assert split_text(pl.Series([text], dtype=pl.String)).to_list() == [words]


def test_steps_have_a_mark_at_both_ends():
    assert split_steps(pl.Series(["\x1fa:ok\x1fb:err\x1f", ""])).to_list() == [["^", "a:ok", "b:err", "$"], ["^", "$"]]


def found_in(texts: list[str], max_length: int, min_documents: int) -> dict[tuple[str, ...], set[int]]:
    words = number_words(split_text(pl.Series(texts)))
    grams = frequent_grams(words, len(texts), max_length=max_length, min_documents=min_documents)
    found: dict[tuple[str, ...], set[int]] = {name: set() for name in grams.names}
    for document, gram in zip(grams.document.tolist(), grams.gram.tolist(), strict=True):
        found[grams.names[gram]].add(document)
    return found


def test_sequences_do_not_reach_over_the_end_of_a_text():
    assert found_in(["a b", "b a"], 2, 1) == {("a",): {0, 1}, ("b",): {0, 1}, ("a", "b"): {0}, ("b", "a"): {1}}


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=8), min_size=1, max_size=6), st.integers(1, 3))
def test_frequent_sequences_are_what_counting_all_of_them_gives(documents: list[list[str]], min_documents: int):
    counted: dict[tuple[str, ...], set[int]] = {}
    for i, words in enumerate(documents):
        for length in (1, 2, 3):
            for start in range(len(words) - length + 1):
                counted.setdefault(tuple(words[start : start + length]), set()).add(i)
    expected = {gram: where for gram, where in counted.items() if len(where) >= min_documents}
    assert found_in([" ".join(words) for words in documents], 3, min_documents) == expected


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=8), min_size=1, max_size=6))
def test_known_sequences_are_found_where_they_are(documents: list[list[str]]):
    names = [("a",), ("b", "a"), ("c", "c"), ("d",)]
    lexicon = Lexicon.of(names)
    lists = split_text(pl.Series([" ".join(words) for words in documents]))
    grams = lexicon.find(number_words(lists, lexicon.vocabulary))
    expected = {
        (i, j)
        for i, words in enumerate(documents)
        for j, name in enumerate(names)
        if any(tuple(words[k : k + len(name)]) == name for k in range(len(words)))
    }
    assert set(zip(grams.document.tolist(), grams.gram.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("gram", "text", "is_found"),
    [
        (("refund",), "We REFUND you", True),
        (("refund",), "refunded", False),
        (("sorry", "but"), "sorry, but no", True),
        (("order", "<n>"), "Order: 4711.", True),
        (("order", "<n>"), "order A4711", False),
        (("退", "款"), "您的退款已完成", True),
    ],
)
def test_a_phrase_pattern_finds_the_words_side_by_side(gram: tuple[str, ...], text: str, is_found: bool):
    assert pl.Series([text]).str.contains(phrase_pattern(gram)).item() == is_found


@pytest.mark.parametrize("gram", [("refund",), ("sorry", "but"), ("order", "<n>"), ("退", "款"), ("to", "退")])
def test_a_phrase_is_read_back_from_its_pattern(gram: tuple[str, ...]):
    assert phrase_in(phrase_pattern(gram)) == " ".join(gram)


@pytest.mark.parametrize("pattern", ["refund", "(?i)a|b", r"(?i)\bre.*fund\b", "(?i)", ""])
def test_another_pattern_is_no_phrase(pattern: str):
    assert phrase_in(pattern) is None


def test_words_of_two_messages_are_no_sequence():
    """A tool polled five times repeats 'end id' where one answer ends and the next begins; nobody ever said that."""
    polled = pl.Series(["id x end\x1eid x end"])
    grams = frequent_grams(number_words(split_text(polled)), 1, max_length=2, min_documents=1)
    assert ("end", "id") not in grams.names
    assert ("x", "end") in grams.names
    assert not polled.str.contains(phrase_pattern(("end", "id"))).item()
