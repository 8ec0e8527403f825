import json
import re
import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.redaction.detectors import FINDERS
from evalpipe.redaction.texts import placeholder, redacted_text, redacted_texts
from evalpipe_tests.redaction.test_detectors import API_KEYS, CARDS

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
ALL = tuple(FINDERS)
PERSONAL = ["ann@example.com", "+49 30 901820", "(415) 555-2671", *CARDS.values(), *API_KEYS.values()]

pieces = st.sampled_from([*PERSONAL, "\n", '"', "\\", " ", ", ", "n", "[", "]", "é", "请", "\x00", "."]) | st.text(
    max_size=3
)
texts = st.lists(pieces, max_size=8).map("".join)
numbers = st.sampled_from([int(number) for number in CARDS.values()]) | st.integers() | st.floats(allow_nan=False)
documents = st.recursive(
    texts | numbers | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts, inner, max_size=4)
        | inner.map(json.dumps)  # JSON within a string, at any depth
    ),
    max_leaves=8,
)


@given(texts)
def test_redacting_twice_changes_nothing(text: str):
    once = redacted_text(text, ALL, KEY)
    assert redacted_text(once, ALL, KEY) == once


@given(st.lists(documents, max_size=3) | st.dictionaries(texts, documents, max_size=3), st.booleans())
def test_json_stays_json(document: list | dict, is_ascii: bool):
    json.loads(redacted_text(json.dumps(document, ensure_ascii=is_ascii), ALL, KEY))


@given(st.lists(st.none() | texts, max_size=5))
def test_a_column_is_redacted_as_its_texts_are(column: list[str | None]):
    together = redacted_texts(pl.Series(column, dtype=pl.String), ALL, KEY).to_list()
    assert together == [None if text is None else redacted_text(text, ALL, KEY) for text in column]


@given(st.lists(st.sampled_from(PERSONAL), min_size=1, max_size=5), st.sampled_from([" ", "\n", ", ", '"', "; "]))
def test_nothing_personal_is_left_among_words(found: list[str], between: str):
    shown = redacted_text(between.join(found), ALL, KEY)
    assert not any(text in shown for text in found)


def test_the_same_thing_has_the_same_placeholder_however_it_is_written():
    shown = redacted_text("Ann@Example.com ann@example.com +14155552671 (415) 555-2671 4242-4242-4242-4242", ALL, KEY)
    one, other, phone, as_written, card = shown.split()
    assert one == other == placeholder("email", "ann@example.com", KEY)
    assert phone == as_written
    assert card == redacted_text("4242424242424242", ALL, KEY)


def test_a_placeholder_tells_nothing_to_those_without_the_key():
    with_key, with_other = (redacted_text("ann@example.com", ALL, key) for key in (KEY, OTHER_KEY))
    assert re.fullmatch(r"\[email:[0-9a-f]{8}\]", with_key)
    assert with_key != with_other


def test_only_the_detectors_asked_for_look():
    text = "ann@example.com 4242424242424242"
    assert redacted_text(text, ["card"], KEY) == f"ann@example.com {placeholder('card', '4242424242424242', KEY)}"
    assert redacted_text(text, [], KEY) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"card": 4242424242424242}', '{"card": "%s"}'),
        ('{"cards": [4242424242424242, 1]}', '{"cards": ["%s", 1]}'),
        ("[4242424242424242]", '["%s"]'),
        ('{"card?": 4242424242424242.0}', '{"card?": "%s"}'),
        ('{"": ":4242424242424242, x"}', '{"": ":%s, x"}'),
        ('{"card": 4242424242424242}\n{"card": 1}', '{"card": "%s"}\n{"card": 1}'),
        (r'{"args": "{\"card\": 4242424242424242}"}', r'{"args": "{\"card\": \"%s\"}"}'),
        ('["one, 4242424242424242, two"]', '["one, %s, two"]'),
        ("[note] 1, 4242424242424242, 2", "[note] 1, %s, 2"),
    ],
)
def test_a_number_in_json_becomes_a_string(text: str, shown: str):
    assert redacted_text(text, ["card"], KEY) == shown % placeholder("card", "4242424242424242", KEY)


def test_a_column_without_finds_is_returned_as_it_is():
    column = pl.Series(["nothing here", None, ""])
    assert redacted_texts(column, ALL, KEY) is column


@pytest.mark.parametrize(
    "text",
    [
        "a" * 2_000_000 + "@",
        "a.a-" * 300_000 + "@" + "a." * 300_000,
        "+1" + " 1" * 500_000,
        "api_key=" + "-" * 1_000_000 + "!",
        "1" * 2_000_000,
        "-----BEGIN PRIVATE KEY-----" * 50_000,
        "eyJabcdefgh" * 100_000,
        "a@b." * 300_000,
        "[" + "4242424242424242," * 50_000,
        "\\" * 1_000_000 + "n4242424242424242",
    ],
    ids=lambda text: text[:12],
)
def test_no_text_is_slow_to_read(text: str):
    """Each is a megabyte or two that a backtracking expression would read for hours."""
    began = time.process_time()
    redacted_text(text, ALL, KEY)
    assert time.process_time() - began < 5
