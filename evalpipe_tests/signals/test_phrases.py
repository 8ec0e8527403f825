import time

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.signals.phrases import (
    MAX_PASSAGE,
    PhraseKind,
    begins_with_phrase,
    comparable,
    holds_phrase,
    phrase_data,
    phrase_frame,
    phrases,
    sentences,
)

KINDS: tuple[PhraseKind, ...] = ("hedging", "refusal", "complaint", "translation", "assent")


def messages(*texts: str) -> pl.DataFrame:
    rows = [("t", step, text) for step, text in enumerate(texts)]
    return pl.DataFrame(rows, {"trace_id": pl.String, "step": pl.Int32, "content": pl.String}, orient="row")


def found(kind: PhraseKind, *texts: str) -> list[list[str]]:
    return phrase_frame(messages(*texts), kind)["phrases"].to_list()


@pytest.mark.parametrize("kind", KINDS)
def test_every_phrase_is_lower_case_and_found_by_itself(kind: PhraseKind):
    spelled = [" ".join(phrase.split()) for phrase in phrases(kind)]
    assert spelled == [phrase.lower() for phrase in spelled]
    assert found(kind, *[f"X: {phrase}." for phrase in spelled]) == [[phrase] for phrase in spelled]


@pytest.mark.parametrize("kind", KINDS)
def test_every_list_speaks_the_ten_languages_and_says_nothing_twice(kind: PhraseKind):
    data = phrase_data(kind)
    assert {"en", "de", "fr", "es", "it", "pt", "nl", "ja", "zh", "ko"} <= data.keys()
    for language, listed in data.items():
        assert len(listed) == len(set(listed)), language


def test_whole_words_are_found_whatever_stands_between_them():
    assert found("hedging", "I’m not -  sure…", "Maybe. Perhaps!", "The maybelline parcel") == [
        ["i'm not sure"],
        ["maybe"],
        ["perhaps"],
    ]


def test_a_language_without_spaces_is_matched_anywhere():
    assert found("hedging", "明日届くと思います。") == [["と思います"]]


def test_a_sentence_is_given_as_it_stands_there_with_all_its_phrases():
    text = "It is here.\nMaybe, or PERHAPS v2.5 is not!  Bye."
    assert phrase_frame(messages(text), "hedging").row(0) == (
        "hedging",
        "t",
        0,
        "Maybe, or PERHAPS v2.5 is not!",
        ["maybe", "perhaps"],
    )


def test_several_kinds_are_told_apart():
    text = "I'm not sure. I can't help with that."
    assert phrase_frame(messages(text), "hedging", "refusal")["kind"].to_list() == ["hedging", "refusal"]


def test_a_sentence_too_long_to_be_shown_ends_at_a_comma():
    long = "one two three four five, " * 20 + "maybe six"
    ((phrase, text),) = phrase_frame(messages(long), "hedging").select("phrases", "text").rows()
    assert (phrase, text) == (["maybe"], "maybe six")


def test_a_beginning_is_the_first_whole_word():
    texts = pl.DataFrame({"text": ["Yes, cancel it", "Yesterday it came", "はい、お願いします", "cancel it, yes"]})
    begins = texts.select(begins_with_phrase(comparable(pl.col("text")), "assent")).to_series()
    assert begins.to_list() == [True, False, True, False]


def test_a_text_holds_a_phrase_or_not():
    texts = pl.DataFrame({"text": ["Bitte auf Englisch", "Bitte"]})
    assert texts.select(holds_phrase(comparable(pl.col("text")), "translation")).to_series().to_list() == [True, False]


@settings(deadline=None)
@given(st.text(max_size=600))
def test_sentences_are_passages_of_any_text_short_enough_to_be_shown(text: str):
    (pieces,) = pl.DataFrame({"text": [text]}).select(sentences(pl.col("text"))).to_series().to_list()
    for piece in pieces:
        assert piece in text
        assert 0 < len(piece) <= MAX_PASSAGE


@settings(deadline=None)
@given(st.lists(st.text(max_size=80), max_size=4))
def test_any_text_is_survived(texts: list[str]):
    for row in phrase_frame(messages(*texts), *KINDS).iter_rows(named=True):
        assert row["text"] in texts[row["step"]]


def test_a_message_of_five_megabytes_costs_no_more_than_its_beginning():
    started = time.process_time()
    assert phrase_frame(messages("maybe, no. " * 500_000), "hedging").height > 1_000
    assert time.process_time() - started < 5
