import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evalpipe.review.desk.layout import laid_out, place_of

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def test_json_stands_on_indented_lines():
    text = '{"order":"A-1","items":[{"sku":7},"x, y: {z}"],"notes":[],"more":{}}'
    assert laid_out(text).split("\n") == [
        "{",
        '  "order": "A-1",',
        '  "items": [',
        "    {",
        '      "sku": 7',
        "    },",
        '    "x, y: {z}"',
        "  ],",
        '  "notes": [],',
        '  "more": {}',
        "}",
    ]


def test_what_is_no_json_object_stays_as_it_is():
    for text in ("", "It is lost.", "12", '"a"', "{not json}", "[1, 2", "{}} ", "[" * 5_000):
        assert laid_out(text) == text


def test_figures_and_repeated_names_stay_as_the_application_wrote_them():
    assert laid_out('{"p":1.10,"p":1E5}') == '{\n  "p": 1.10,\n  "p": 1E5\n}'


def test_letters_are_spelt_out_and_what_is_invisible_is_not():
    shown = laid_out(r'["caf\u00e9 \ud83d\ude00", "\u202e\u0000\ud800", "a\u0022b\\u00e9\n"]')
    assert shown == '[\n  "café 😀",\n  "\\u202e\\u0000\\ud800",\n  "a\\u0022b\\\\u00e9\\n"\n]'


def test_deep_nesting_is_not_laid_out():
    deep = "[" * 30 + "1,2" + "]" * 30
    assert laid_out(deep) == deep


def test_a_long_text_is_cut_and_says_by_how_much():
    # 100,000 characters are shown.
    assert laid_out("x" * 100_500).endswith("x\n[500 more characters]")
    assert laid_out("x" * 100_000) == "x" * 100_000


@given(values, st.booleans())
def test_laying_out_changes_no_value(value: Any, is_ascii: bool):
    text = json.dumps(value, ensure_ascii=is_ascii)
    assert json.loads(laid_out(text)) == value


def found(passage: str, text: str) -> str | None:
    shown = laid_out(text)
    place = place_of(passage, shown)
    return None if place is None else shown[slice(*place)]


def test_a_passage_is_found_where_it_stands():
    assert place_of("lost", "It is lost. It is lost.") == (6, 10)


def test_a_passage_of_json_is_found_in_what_is_laid_out():
    text = r'{"order":"A-1","state":["caf\u00e9","sent"]}'
    assert found('"A-1","state"', text) == '"A-1",\n  "state"'
    assert found(r'caf\u00e9","sent', text) == 'café",\n    "sent'


def test_what_is_not_shown_has_no_place():
    for passage in ("", " ", "found", "x" * 20):
        assert place_of(passage, "It is lost.") is None
    assert place_of("lost", "") is None


@given(values, st.data())
def test_any_passage_of_json_is_found_but_for_its_white_space(value: Any, data: st.DataObject):
    text = json.dumps([value], ensure_ascii=False)
    start = data.draw(st.integers(0, len(text) - 1))
    passage = text[start : data.draw(st.integers(start + 1, len(text)))]
    shown = found(passage, text)
    assert (shown is None) == (passage.isspace())
    if shown is not None:
        assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", passage)


def test_a_passage_that_was_cut_inside_an_escape_is_looked_for_as_it_is():
    assert place_of("caf\\u", laid_out('["caf\\u00e9"]')) is None
