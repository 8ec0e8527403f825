"""What an answer says it has done: when it counts as such, and what backs it."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.signals.claims import claim_features
from evalpipe.signals.messages import message_frame
from evalpipe.signals.phrases import phrase_data
from evalpipe_tests.signals.made import frame, made_id, trace

ASKED = ("user", "please refund the lamp")
LOOKED = [("call", "get_order", '{"id": 7}'), ("result", "get_order", '{"status": "delivered"}')]
REFUNDED = [("call", "issue_refund", '{"id": 7}'), ("result", "issue_refund", "ok")]
SAID = ("assistant", "Good news. I've refunded the lamp.")


def features_of(*rows: dict[str, Any]) -> pl.DataFrame:
    return claim_features(message_frame(frame(*rows), frame()))


def counts(*messages: tuple[str, ...]) -> tuple[int, int]:
    """(claims, of them unbacked)"""
    return features_of(trace(0, *messages)).select("n_claims", "n_unbacked_claims").row(0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("I've just refunded the lamp.", "i've just refunded"),
        ("We have cancelled your order.", "we have cancelled"),
        ("Order 7 has been successfully cancelled!", "has been successfully cancelled"),
        ("I updated your address.", "i updated"),
        ("Ich habe Ihre Bestellung soeben storniert.", "ich habe ihre bestellung soeben storniert"),
        ("Ihre Bestellung wurde storniert.", "wurde storniert"),
        ("J’ai bien annulé votre commande.", "j'ai bien annulé"),
        ("Vos billets ont été remboursés.", "ont été remboursés"),
        ("He cancelado tu pedido.", "he cancelado"),
        ("La reserva ha sido modificada.", "ha sido modificada"),
        ("Ho annullato l'ordine.", "ho annullato"),
        ("I biglietti sono stati rimborsati.", "sono stati rimborsati"),
        ("Cancelei o seu pedido.", "cancelei"),
        ("O pedido foi cancelado.", "foi cancelado"),
        ("Anulowałam zamówienie.", "anulowałam"),
        ("Zamówienie zostało anulowane.", "zostało anulowane"),
        ("Ik heb uw bestelling geannuleerd.", "ik heb uw bestelling geannuleerd"),
    ],
)
def test_a_claim_is_known_in_many_languages(answer: str, words: str):
    (row,) = features_of(trace(0, ASKED, ("assistant", answer))).rows(named=True)
    assert row["unbacked_claims"] == [words]
    assert row["evidence"] == [{"signal": "unbacked_claim", "step": 1, "text": answer}]


@pytest.mark.parametrize(
    "answer",
    [
        "I can refund the lamp.",
        "Shall I say that it has been cancelled?",
        "Once the parcel has been returned, you get your money.",
        "I have not cancelled the order.",
        "Nothing has been changed for your order.",
        "The order hasn't been cancelled.",
        "It will be sent on Monday, a sentence I have heard.",
        "I have found your order and checked it.",
        "Sobald die Bestellung storniert wurde, hören Sie von uns.",
        "",
    ],
)
def test_offers_questions_conditions_and_denials_claim_nothing(answer: str):
    assert features_of(trace(0, ASKED, ("assistant", answer))).is_empty()


def test_a_claim_is_backed_by_a_tool_that_worked_before_it():
    assert counts(ASKED, *LOOKED, *REFUNDED, SAID) == (1, 0)
    assert counts(ASKED, SAID, *REFUNDED) == (1, 1)


def test_a_tool_that_only_looks_backs_nothing():
    assert counts(ASKED, SAID) == (1, 1)
    assert counts(ASKED, *LOOKED, SAID) == (1, 1)
    assert counts(ASKED, ("call", "shop.GetOrder", "{}"), SAID) == (1, 1)


def test_a_call_that_failed_backs_nothing_and_one_of_which_nothing_is_heard_does():
    call = ("call", "issue_refund", "{}")
    assert counts(ASKED, call, ("error", "issue_refund", "503"), SAID) == (1, 1)
    assert counts(ASKED, call, ("error", "issue_refund", "503"), *REFUNDED, SAID) == (1, 0)
    assert counts(ASKED, call, SAID) == (1, 0)


def test_what_became_of_a_thing_may_be_read_in_a_result_but_not_what_the_speaker_did():
    known = [("call", "get_order", "{}"), ("result", "get_order", '{"status": "Refunded"}')]
    assert counts(ASKED, *known, ("assistant", "The lamp has been refunded.")) == (1, 0)
    assert counts(ASKED, *known, SAID) == (1, 1)


def test_each_sentence_that_claims_counts_once():
    answer = ("assistant", "I've refunded the lamp. I have cancelled the order! You are welcome.")
    assert counts(ASKED, answer) == (2, 2)


def test_claims_of_an_earlier_trace_and_of_the_user_are_not_counted_again():
    again = trace(
        1, ASKED, SAID, ("user", "thanks, and when"), ("assistant", "On Monday."), session_id="s", turn_index=1
    )
    found = features_of(trace(0, ASKED, SAID, session_id="s"), again)
    assert found["trace_id"].to_list() == [made_id(1)]
    assert features_of(trace(0, ("user", "I've returned the lamp"), ("assistant", "Good."))).is_empty()


@pytest.mark.parametrize("language", phrase_data("claims"))
def test_every_verb_of_a_language_is_known_after_each_of_its_openings(language: str):
    data = phrase_data("claims")[language]
    openings = [*data["said"], *data.get("next_to", []), *data["told"]]
    said = [f"{opening} {verb}." for opening in openings for verb in data["done"]]
    claims = [*said, *(f"{verb}." for verb in data.get("alone", []))]
    found = features_of(*[trace(n, ASKED, ("assistant", claim)) for n, claim in enumerate(claims)])
    assert found.height == len(claims)
    assert [word for words in data.values() if isinstance(words, list) for word in words if word != word.lower()] == []


@settings(deadline=None)
@given(st.lists(st.text(max_size=200), max_size=3))
def test_any_text_is_survived(texts: list[str]):
    features_of(trace(0, ASKED, *[("assistant", f"i have cancelled {text}") for text in texts]))
