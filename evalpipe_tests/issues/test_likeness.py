import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.ids import normalised_failure_mode
from evalpipe.issues.likeness import likenesses
from evalpipe.settings import IssueSettings

DEFAULT = IssueSettings().propose_similarity
SILENCE = pl.DataFrame(schema={"issue_id": pl.String, "text": pl.String})

SAME = [
    ("asked again for order nr", "asks for the order number twice"),
    ("answer is in the wrong language", "replies in wrong language"),
    ("invented tracking number", "made up a tracking number"),
    ("missed handoff", "did not hand off to a human"),
    ("broken json output", "output is invalid JSON"),
    ("antwortet auf Englisch", "Antwort auf Englisch statt Deutsch"),
    ("redemande le numéro de commande", "demande le numéro de commande deux fois"),
]
DIFFERENT = [
    ("asks for order number twice", "gives wrong order number"),
    ("invented tracking number", "tracking number not given"),
    ("unsafe medical advice", "refuses medical advice"),
    ("premature transfer", "missed transfer"),
    ("refund refused", "refund forgotten"),
    ("falsche Sprache", "falscher Preis"),
]


def phrases(*modes: str) -> pl.DataFrame:
    """One issue for each mode, called by its place."""
    return pl.DataFrame({"issue_id": [f"i{i}" for i in range(len(modes))], "mode_key": list(modes)})


def said(**texts: str) -> pl.DataFrame:
    return pl.DataFrame({"issue_id": list(texts), "text": list(texts.values())}, schema=SILENCE.schema)


def similarity(one: str, other: str, comments: pl.DataFrame = SILENCE) -> float:
    """Of two issues among others."""
    found = likenesses(phrases(one, other, "slow", "rude tone", "total miscalculated"), comments, 0.0)
    pair = found.filter((pl.col("issue_id") == "i0") & (pl.col("into_issue_id") == "i1"))
    return pair["similarity"].item() if pair.height else 0.0


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_failure_in_other_words_is_alike(one: str, other: str):
    assert similarity(one, other) >= DEFAULT


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_another_failure_of_the_same_thing_is_not(one: str, other: str):
    assert similarity(one, other) < DEFAULT


def test_equal_words_in_another_order_are_nearly_the_same_and_equal_phrases_quite():
    assert 0.7 < similarity("wrong price quoted", "quoted wrong price") < 1
    assert similarity("made up refund policy", "invented refund policy") == 1


def test_half_of_the_likeness_is_words_and_half_is_spelling():
    # Two one-word phrases, x and y, each in one of two phrases. As words they have nothing in common. As spelling, in
    # 3- to 5-grams with a blank before and after: " abcd " has 4 + 3 + 2 = 9 and so has " abce "; they share " ab",
    # "abc" and " abc". Their idf is 1 (in both documents), that of the 6 others ln(3 / 2) + 1.
    shared, other = 3 * 1.0, 6 * (math.log(3 / 2) + 1) ** 2
    cosine = shared / (shared + other)
    found = likenesses(phrases("abcd", "abce"), SILENCE, 0.0)
    assert found["similarity"].to_list() == pytest.approx([cosine / 2] * 2, abs=1e-6)


def test_alike_comments_add_a_quarter_and_others_take_nothing():
    one, other = "asks for birth date", "birth date question"
    alone = similarity(one, other)
    same = similarity(one, other, said(i0="it has that on file already", i1="It has that on file already."))
    assert same == pytest.approx(0.75 * alone + 0.25, abs=1e-5)  # equal comments have a cosine of 1
    assert similarity(one, other, said(i0="it has that on file already", i1="he was angry")) == alone
    assert similarity("rude tone", "wrong price", said(i0="same words", i1="same words")) < DEFAULT


def test_the_likest_of_several_failure_modes_counts():
    modes = pl.concat([phrases("rude", "asks for the order number twice"), phrases("asked again for order nr")])
    found = likenesses(modes, SILENCE, DEFAULT)
    assert found.select("issue_id", "into_issue_id").rows() == [("i0", "i1"), ("i1", "i0")]
    assert set(found["shared_words"][0]) == {"again", "asked", "number", "order"}


def test_shared_words_come_the_rarest_first():
    modes = phrases("wrong price in newsletter", "wrong price newsletter", "wrong price", "wrong date")
    found = likenesses(modes, SILENCE, 0.0).filter((pl.col("issue_id") == "i0") & (pl.col("into_issue_id") == "i1"))
    assert found["shared_words"].item().to_list() == ["newsletter", "price", "wrong"]  # in 2, 3 and 4 modes


def test_one_issue_or_none_is_like_nothing():
    assert likenesses(phrases(), SILENCE, 0.0).is_empty()
    assert likenesses(phrases("slow"), said(i0="very"), 0.0).is_empty()


texts = st.text(alphabet="ab é注!1 ", max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts.filter(normalised_failure_mode), max_size=6), st.lists(texts, max_size=4), st.randoms())
def test_likeness_is_symmetric_bounded_and_the_same_in_any_order(modes: list[str], comments: list[str], random):
    frame = phrases(*modes)
    heard = pl.DataFrame({"issue_id": [f"i{i}" for i in range(len(comments))], "text": comments}, schema=SILENCE.schema)
    found = likenesses(frame, heard, 0.0)
    order = random.sample(range(len(modes)), len(modes))
    assert likenesses(frame[order], heard.reverse(), 0.0).equals(found)
    by_pair = {(one, other): value for one, other, value in found[:, :3].iter_rows()}
    assert all(0 <= value <= 1 for value in by_pair.values())
    assert all(by_pair[other, one] == pytest.approx(value, abs=1e-6) for (one, other), value in by_pair.items())
