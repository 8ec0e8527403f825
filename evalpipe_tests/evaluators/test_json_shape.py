from typing import Any

import polars as pl
import pytest

from evalpipe.evaluators.json_shape import satisfies


def test_a_text_is_valid_when_each_of_its_messages_is_an_object_or_an_array():
    texts = pl.Series(
        ['{"a": 1}', " [1]\n", "42", '{"a": NaN}', "", "{a: 1}", '{"a": 1}\x1e[2]', '{"a": 1}\x1eno', None]
    )
    assert satisfies(texts, None).to_list() == [True, True, False, False, False, False, True, False, False]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, True),
        ({"type": "object", "required": ["id"]}, True),
        ({"required": ["name"]}, False),
        ({"properties": {"id": {"type": "string"}}}, False),
        ({"properties": {"id": {"enum": [12, 13]}}}, True),
        ({"properties": {"id": {"minimum": 13}}}, False),
        ({"properties": {"tags": {"items": {"maxLength": 3}, "minItems": 2}}}, True),
        ({"properties": {"id": {}}, "additionalProperties": False}, False),
    ],
)
def test_keywords_mean_what_json_schema_says(schema: dict[str, Any], expected: bool):
    assert satisfies(pl.Series(['{"id": 12, "tags": ["new", "old"]}']), schema).to_list() == [expected]


def test_json_that_is_too_deep_to_read_is_not_valid():
    assert satisfies(pl.Series(["[" * 100_000 + "]" * 100_000]), None).to_list() == [False]


def test_no_text_is_no_answer():
    assert satisfies(pl.Series([], dtype=pl.String), None).to_list() == []
