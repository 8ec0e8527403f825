"""What an answer asks for although the user had said it."""

from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.signals.messages import message_frame
from evalpipe.signals.phrases import AskedKind, phrase_data
from evalpipe.signals.questions import question_features
from evalpipe_tests.signals.made import YESTERDAY, frame, made_id, trace


def features_of(*rows: dict[str, Any], earlier: tuple[dict[str, Any], ...] = ()) -> pl.DataFrame:
    return question_features(message_frame(frame(*rows), frame(*earlier)))


def asked_again(said: str, answer: str) -> list[str]:
    found = features_of(trace(0, ("user", said), ("assistant", answer)))
    return found["asked_again"].list.explode().to_list()


@pytest.mark.parametrize(
    ("said", "answer", "asked"),
    [
        ("Where is order SO-12345?", "May I have your order number?", ["order number"]),
        ("Where is order 123456?", "To find it I need the order number.", ["order number"]),
        ("Cancel #W2692684", "Please share the order id.", ["order id"]),
        ("My booking is ZFA04Y", "What is your booking reference?", ["booking reference"]),
        ("I am mia_li_3668", "Please provide your user ID.", ["user id"]),
        ("Write to a.b@example.org", "Which e-mail do you use?", ["e mail"]),
        ("Call +44 20 7946 0958", "Can you give me your phone number?", ["phone number"]),
        ("My name is Zoë Ward", "May I ask for your full name?", ["your full name"]),
        ("I fly on 12 March", "What is your departure date?", ["departure date"]),
        ("I live at 12 Maple Street", "Could you tell me your address?", ["your address"]),
        ("Wo ist Bestellung 123456?", "Nennen Sie mir bitte Ihre Bestellnummer.", ["bestellnummer"]),
        ("Ich heiße Jürgen", "Wie ist Ihr Name?", ["ihr name"]),
        ("Ma commande 123456 est perdue", "Quel est votre numéro de commande ?", ["numéro de commande"]),
        ("Mi pedido 123456 no llega", "¿Cuál es tu número de pedido?", ["número de pedido"]),
        ("Il mio ordine 123456 è in ritardo", "Mi serve il numero d'ordine.", ["numero d'ordine"]),
        ("O pedido 123456 não chegou", "Qual é o número do pedido?", ["número do pedido"]),
        ("Gdzie jest zamówienie 123456?", "Proszę podać numer zamówienia.", ["numer zamówienia"]),
        ("Waar is bestelling 123456?", "Wat is uw bestelnummer?", ["bestelnummer"]),
    ],
)
def test_asking_for_what_was_given_is_known_in_many_languages(said: str, answer: str, asked: list[str]):
    assert asked_again(said, answer) == asked


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Where is my order?", "May I have your order number?"),
        ("Where is order SO-12345?", "Is SO-12345 your order number?"),
        ("Where is order SO-12345?", "Could you check the order number?"),
        ("Where is order SO-12345?", "Which e-mail do you use?"),
        ("Where is order SO-12345?", "The order number is in your inbox."),
        ("I ordered it 14 days ago for 250 euros", "May I have your order number?"),
        ("Where is order SO-12345?", ""),
    ],
)
def test_what_was_not_given_is_checked_or_only_spoken_of_is_not_asked_again(said: str, answer: str):
    assert asked_again(said, answer) == []


def test_the_question_is_shown_and_where_it_had_been_answered():
    question = "May I have your order number?"
    talk = [("user", "Where is order SO-12345?"), ("assistant", f"Hello Zoë. {question}")]
    (row,) = features_of(trace(0, *talk)).rows(named=True)
    assert row["n_asked_again"] == 1
    assert row["evidence"] == [
        {"signal": "asked_again", "step": 0, "text": "SO-12345"},
        {"signal": "asked_again", "step": 1, "text": question},
    ]


def test_what_is_given_after_the_question_was_not_given_before():
    asked = ("assistant", "May I have your order number?")
    assert features_of(trace(0, ("user", "where is it"), asked, ("user", "SO-12345"))).is_empty()


def test_what_the_session_gave_in_an_earlier_trace_is_known_and_that_of_another_session_is_not():
    given_before = trace(0, ("user", "Where is order SO-12345?"), session_id="s", day=YESTERDAY)
    asks = trace(1, ("user", "and now?"), ("assistant", "May I have your order number?"), session_id="s")
    found = features_of(asks, earlier=(given_before,))
    assert found["trace_id"].to_list() == [made_id(2)]
    # What was given is in no step of this trace.
    assert [place["step"] for place in found["evidence"].item()] == [1]
    assert features_of(asks | {"session_id": "other"}, earlier=(given_before,)).is_empty()


def test_every_kind_has_a_form_and_eight_languages():
    kinds = get_args(AskedKind)
    assert {f"asked/{kind}" for kind in phrase_data("given")} == set(kinds)
    assert {frozenset(phrase_data(kind)) for kind in (*kinds, "asking", "checking")} == {
        frozenset(("en", "de", "fr", "es", "it", "pt", "nl", "pl"))
    }


@settings(deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_survived(said: str, answer: str):
    features_of(trace(0, ("user", f"SO-12345 {said}"), ("assistant", f"order number? {answer}")))
