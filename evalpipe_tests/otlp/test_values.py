import base64
import math

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from evalpipe.otlp.values import MAX_DEPTH, MalformedError, from_json, from_protobuf, integer, pairs_from_json

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.one_of(
    texts,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(),
    st.none(),
)
KINDS = ("stringValue", "intValue", "boolValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KINDS, "values", "key", "value", "else"]), inner, max_size=3)
    ),
    max_leaves=10,
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


def any_value(value) -> AnyValue:
    """`value` as protobuf says it."""
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            made = AnyValue()
            made.array_value.SetInParent()
            made.array_value.values.extend(any_value(item) for item in value)
            return made
        case dict():
            made = AnyValue()
            made.kvlist_value.SetInParent()
            for key, item in value.items():
                made.kvlist_value.values.add(key=key, value=any_value(item))
            return made
    raise AssertionError(value)


def plain(value):
    """What is expected of `value`: itself, where JSON can say it."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
    return value


@given(values)
def test_every_value_survives_protobuf_and_json_alike(value):
    wire = any_value(value)
    said = json_format.MessageToDict(wire)

    assert from_protobuf(wire) == plain(value)
    assert from_json(orjson.loads(orjson.dumps(said))) == plain(value)
    assert type(from_json(said)) is type(from_protobuf(wire))
    orjson.dumps(from_protobuf(wire))


@given(json_values)
def test_any_json_is_a_value_or_malformed(value):
    try:
        from_json(value)
        dict(pairs_from_json(value))
    except MalformedError:
        return


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"intValue": "9007199254740993"}, 9007199254740993),  # 2^53 + 1, which a double cannot say
        ({"intValue": 7}, 7),
        ({"intValue": 7.0}, 7),
        ({"doubleValue": 1}, 1.0),
        ({"doubleValue": "Infinity"}, "Infinity"),
        ({"boolValue": "true"}, True),
        ({"arrayValue": {}}, []),
        ({"kvlistValue": {}}, {}),
        ({}, None),
        ("bare", "bare"),
        ({"nested": {"stringValue": "x"}}, {"nested": "x"}),
    ],
)
def test_json_values_in_their_several_forms(said, meant):
    assert from_json(said) == meant
    assert type(from_json(said)) is type(meant)


@pytest.mark.parametrize(
    "said",
    [
        {"intValue": "seven"},
        {"intValue": 7.5},
        {"intValue": str(2**63)},
        {"intValue": True},
        {"doubleValue": "much"},
        {"stringValue": 5},
        {"bytesValue": "%%%"},
        {"arrayValue": []},
        {"arrayValue": {"values": {}}},
        {"kvlistValue": {"values": [{"key": 1}]}},
    ],
)
def test_a_value_that_otlp_does_not_know_is_malformed(said):
    with pytest.raises(MalformedError):
        from_json(said)


def test_depth_is_bounded():
    value: dict = {"stringValue": "x"}
    for _ in range(MAX_DEPTH + 1):
        value = {"arrayValue": {"values": [value]}}
    with pytest.raises(MalformedError, match="deeper than 64"):
        from_json(value)


def test_a_huge_number_as_text_is_malformed_not_slow():
    with pytest.raises(MalformedError):
        integer("9" * 100_000, "intValue", range(10))


def test_attributes_may_be_a_plain_object():
    assert dict(pairs_from_json({"a": "x", "b": {"intValue": "2"}})) == {"a": "x", "b": 2}
