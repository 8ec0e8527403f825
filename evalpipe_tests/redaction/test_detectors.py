"""What is found and, above all, what is not: ids, times, prices and code are most of a trace."""

import base64
import random
import uuid

import phonenumbers
import polars as pl
import pytest

from evalpipe.redaction.detectors import FINDERS, is_card
from evalpipe.redaction.texts import redacted_text, redacted_texts
from evalpipe.settings import Detector

KEY = b"k" * 32
CARDS = {
    "visa": "4242424242424242",
    "visa of 19": "4000000000000000006",
    "mastercard": "5555555555554444",
    "mastercard 2": "2223003122003222",
    "american express": "378282246310005",
    "discover": "6011111111111117",
    "diners": "3056930009020004",
    "diners of 14": "36227206271667",
    "jcb": "3566002020360505",
    "unionpay": "6200000000000005",
}
"""The numbers that Stripe documents for tests."""


def kinds(text: str, *detectors: Detector) -> str:
    """`text` with every placeholder cut down to the name of its detector."""
    return "".join(
        part if not number % 2 else part.partition(":")[0]
        for number, part in enumerate(
            redacted_text(text, detectors or tuple(FINDERS), KEY).replace("[", "\0").replace("]", "\0").split("\0")
        )
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("write to Ann.Lee+shop@example.co.uk.", "write to email."),
        ("<ann@example.com>, (bob@example.org)", "<email>, (email)"),
        ("mailto:ann@example.com?subject=x", "mailto:email?subject=x"),
        ("'ann@example.com' _ann@example.com_", "'email' _email_"),
        ("请联系ann@example.com谢谢", "请联系email谢谢"),
        ("jörg@bücher.de", "email"),
        (r"{\"to\":\"ann@example.com\"}", r"{\"to\":\"email\"}"),
        (r"hello\nann@example.com\nbye", r"hello\nemail\nbye"),
        (r"hello\\nann@example.com", r"hello\\nemail"),
        (r"\u003cann@example.com\u003e", r"\u003cemail\u003e"),
        (r"DOMAIN\ann@example.com", r"DOMAIN\email"),
    ],
)
def test_an_email_address_is_found(text: str, shown: str):
    assert kinds(text, "email") == shown


@pytest.mark.parametrize(
    "text",
    ["@app.route('/')", "logo@2x.png", "lodash@4.17.21", "react@latest", "a @ b", "ann@localhost", r"\n@example.com"],
)
def test_what_only_has_an_at_is_no_email_address(text: str):
    assert kinds(text) == text


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_a_number_of_any_country_is_found_as_libphonenumber_writes_it(region: str):
    number = phonenumbers.example_number(region)
    assert number is not None
    for form in (phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.E164):
        written = phonenumbers.format_number(number, form)
        assert kinds(f"call {written}, please", "phone") == "call phone, please"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("(415) 555-2671", "phone"),
        ("415-555-2671", "phone"),
        ("415.555.2671", "phone"),
        ("1-415-555-2671", "phone"),
        ("tel:+14155552671;", "tel:phone;"),
        ("+1 415-555-2671 415-555-2672", "phone phone"),
        ("+1 415 555 2671 2026-11-23", "phone 2026-11-23"),
        ("+49 (0)30 901820", "phone"),
        (r"\n+49 30 901820\n", r"\nphone\n"),
        (r"\n415-555-2671", r"\nphone"),
        ("+14155552671x12", "phonex12"),
    ],
)
def test_a_phone_number_is_found(text: str, shown: str):
    assert kinds(text, "phone") == shown


@pytest.mark.parametrize(
    "text",
    [
        "4155552671",  # ten digits are also an order, a time, an account
        "1764019200",
        "415 555 2671",  # three figures of a table
        "2026-11-23 10:15:33.123456+00:00",
        "20261123T101533+0000",
        "+1 day, +12345678.90, 1e+1415555267",
        "555-123-4567",  # no such area
        "ORD-415-555-2671",
        "10.415.555.2671",
        "415-555-26711",
        "415-555-2671-3",
        "+14155552671a",
        "@@ -1415,7 +1415,6 @@",
    ],
)
def test_figures_with_signs_are_no_phone_number(text: str):
    assert kinds(text) == text


@pytest.mark.parametrize("number", CARDS.values(), ids=CARDS)
def test_a_card_is_found_and_with_one_digit_changed_it_is_not(number: str):
    changed = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert (is_card(number), is_card(changed)) == (True, False)
    assert kinds(f"my card is {number}.") == "my card is card."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("4242 4242 4242 4242", "card"),
        ("4242-4242-4242-4242", "card"),
        ("3782 822463 10005", "card"),
        ("4242424242424242.0", "card"),  # as a data frame writes a whole number beside a missing one
        ("card=4242424242424242&cvc=1", "card=card&cvc=1"),
        (r"\n4242424242424242\n", r"\ncard\n"),
        ("4242424242424242.Thanks", "card.Thanks"),
    ],
)
def test_a_card_is_found_however_it_is_written(text: str, shown: str):
    assert kinds(text, "card") == shown


@pytest.mark.parametrize(
    "text",
    [
        "4242-4242 4242-4242",
        "0.4242424242424242",
        "4242424242424242.5",
        "4242424242424242.04",
        "-4242424242424242",
        "ORD-4242424242424242",
        "x4242424242424242",
        "4242424242424242f",
        "42424242424242424242",
        "99994242424242424242999942424242424242",
        "1771200000000000000",
        '"spanId": "4242424242424242"',
        r"\"trace_id\":\"4242424242424242\"",
    ],
)
def test_digits_within_something_longer_are_no_card(text: str):
    assert kinds(text) == text


RANDOM = "Zx81kQ0vB7nT4mWc2LrY9pHdS3"
API_KEYS = {
    "openai": "sk-proj-" + RANDOM,
    "anthropic": "sk-ant-api03-" + RANDOM,
    "openrouter": "sk-or-v1-" + "0123456789abcdef" * 4,
    "amazon": "AKIAIOSFODNN7EXAMPLE",
    "github": "ghp_" + RANDOM + "aBcDeFgHiJ",
    "github fine": "github_pat_" + RANDOM,
    "google": "AIzaSy" + RANDOM + "abcdefg",
    "slack": "xoxb-" + "123456789012-" + RANDOM,
    "stripe": "sk_" + "live_" + RANDOM,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
}


@pytest.mark.parametrize("secret", API_KEYS.values(), ids=API_KEYS)
def test_an_api_key_is_found_by_its_form(secret: str):
    assert kinds(f"use {secret}, or not") == "use api_key, or not"
    assert kinds(rf"{{\"a\":\"\n{secret}\"}}") == r"{\"a\":\"\napi_key\"}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Authorization: Bearer {RANDOM}", "Authorization: Bearer api_key"),
        (f"authorization: basic {RANDOM}==", "authorization: basic api_key"),
        (f"?api_key={RANDOM}&page=2", "?api_key=api_key&page=2"),
        (f'{{"apiKey": "{RANDOM}"}}', '{"apiKey": "api_key"}'),
        (rf"{{\"access_token\": \"{RANDOM}\"}}", r"{\"access_token\": \"api_key\"}"),
        (f"AWS_SECRET_ACCESS_KEY={RANDOM}/{RANDOM}", "AWS_SECRET_ACCESS_KEY=api_key"),
        (f"The token is client_secret: {RANDOM}.", "The token is client_secret: api_key."),
    ],
)
def test_an_api_key_is_found_by_its_name(text: str, shown: str):
    assert kinds(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-----BEGIN PRIVATE KEY-----\nMIIE+/=\nQ==\n-----END PRIVATE KEY-----\nbye", "api_key\nbye"),
        (r"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nbye", r"api_key\nbye"),
        (r'{"k":"-----BEGIN EC PRIVATE KEY-----\nMIIEabc"}', '{"k":"api_key"}'),
    ],
)
def test_a_private_key_is_found_whole_or_cut_off(text: str, shown: str):
    assert kinds(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "task-Zx81kQ0vB7nT4mWc2LrY",
        '<div class="sk-text-repr-fallback sk-container-id-1">',
        "the api_key = settings.openai_api_key",
        '{"api_key": {"type": "string"}, "token": null}',
        "bearer of this letter, basic understanding of tokens",
        "max_tokens: 1024, n_tokens=123456789012",
        "access token: must-not-be-empty",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
    ],
)
def test_words_about_keys_are_no_key(text: str):
    assert kinds(text) == text


def test_what_traces_are_full_of_is_left_alone():
    """20,000 random ids, times, prices and blobs: nothing but a number that is a card by every rule is taken."""
    chance = random.Random(7)
    things = [
        lambda: str(uuid.UUID(int=chance.getrandbits(128))),
        lambda: f"{chance.getrandbits(128):032x} {chance.getrandbits(64):016x}",
        lambda: f"2026-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}T10:{chance.randint(10, 59)}:00.123456Z",
        lambda: str(1_771_200_000_000_000_000 + chance.randrange(10**17)),
        lambda: f"{chance.uniform(0, 1):.16f} {chance.gauss(0, 1)!r}",
        lambda: f"${chance.randint(1, 10**6):,}.{chance.randint(0, 99):02d}",
        lambda: f"ORD-{chance.randrange(10**12)} #{chance.randrange(10**10)} {chance.randrange(10**9)}",
        lambda: base64.b64encode(chance.randbytes(90)).decode(),
    ]
    column = pl.Series([thing() for _ in range(2_500) for thing in things])
    assert redacted_texts(column, tuple(FINDERS), KEY).to_list() == column.to_list()
