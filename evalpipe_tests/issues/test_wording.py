import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.issues.wording import faults_of, telling_words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Made up a tracking number", "hallucinated the tracking nr."),
        ("Didn't reply", "the answer is missing"),
        ("handed over too soon", "premature transfer"),
        ("replies in the wrong language", "Answer in an incorrect language!"),
    ],
)
def test_words_for_one_fault_are_one_word(one: str, other: str):
    assert sorted(telling_words(one)) == sorted(telling_words(other))


def test_the_fault_is_told_from_the_thing():
    assert faults_of(telling_words("never confirms the wrong order number")) == ["not", "wrong"]
    assert faults_of(telling_words("order number")) == []


def test_words_of_other_languages_stay_as_they_are():
    assert telling_words("Falsche Währung, zweimal genannt") == ["falsche", "währung", "zweimal", "genannt"]
    assert telling_words("注文番号を聞き直す") == ["注文番号を聞き直す"]


def test_function_words_are_kept_where_there_are_no_others():
    assert telling_words("the user") == ["the", "user"]
    assert telling_words("!") == []


@given(st.text())
def test_any_text_has_words_that_are_words(text: str):
    assert all(word and not word.isspace() for word in telling_words(text))
