"""One attribute value: OTLP's AnyValue, from protobuf and from JSON, to plain Python that JSON can say.

Bytes become base64 text, and the three doubles that JSON lacks become "NaN", "Infinity" and "-Infinity", as in
OTLP/JSON. Equal values give equal results whichever encoding they came in.
"""

import base64
import math
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 64  # lists in lists; protobuf itself stops at about 48, and a reader has no use for more
_INT64 = range(-(2**63), 2**63)


class MalformedError(ValueError):
    """A part of a payload is not shaped as OTLP says. It becomes a rejection, so it stays within this room."""


def from_protobuf(value: Any) -> Any:
    """The plain value of a protobuf AnyValue; None when it is not set."""
    # A string is by far the most frequent, and asking which member is set costs more than reading one.
    if text := value.string_value:
        return text
    match value.WhichOneof("value"):
        case "string_value":
            return ""
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return double(value.double_value)
        case "array_value":
            return [from_protobuf(item) for item in value.array_value.values]
        case "kvlist_value":
            return {item.key: from_protobuf(item.value) for item in value.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case _:
            return None


def from_json(value: Any, depth: int = 0) -> Any:
    """The plain value of an OTLP/JSON AnyValue. A bare value, as hand-made exporters send it, is taken as it is."""
    if depth > MAX_DEPTH:
        raise MalformedError(f"a value nests deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [from_json(item, depth + 1) for item in value]
    if isinstance(value, float):
        return double(value)
    if not isinstance(value, dict):
        return value
    if "stringValue" in value:
        return text(value["stringValue"], "stringValue")
    if "intValue" in value:
        return integer(value["intValue"], "intValue", _INT64)
    if "boolValue" in value:
        return value["boolValue"] in (True, "true")
    if "doubleValue" in value:
        return _double_from_json(value["doubleValue"])
    if "arrayValue" in value:
        return [from_json(item, depth + 1) for item in sequence(mapping(value["arrayValue"]).get("values"))]
    if "kvlistValue" in value:
        return dict(pairs_from_json(mapping(value["kvlistValue"]).get("values"), depth + 1))
    if "bytesValue" in value:
        try:
            raw = base64.b64decode(text(value["bytesValue"], "bytesValue"), validate=True)
        except ValueError as error:
            raise MalformedError("bytesValue is not base64") from error
        return base64.b64encode(raw).decode()
    return {key: from_json(item, depth + 1) for key, item in value.items()} or None


def pairs_from_json(attributes: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Key and plain value of OTLP/JSON attributes: a list of {key, value}, or a plain object if made by hand."""
    if isinstance(attributes, dict):
        for key, value in attributes.items():
            yield key, from_json(value, depth)
    else:
        for item in sequence(attributes):
            pair = mapping(item)
            yield text(pair.get("key"), "an attribute's key"), from_json(pair.get("value"), depth)


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it is a JSON object; an absent one is empty. Raises MalformedError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedError(f"an object is expected where there is {str(value)[:40]!r}")
    return value


def sequence(value: Any) -> list[Any]:
    """`value` if it is a JSON array; an absent one is empty. Raises MalformedError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedError(f"an array is expected where there is {str(value)[:40]!r}")
    return value


def text(value: Any, what: str) -> str:
    """`value` if it is a string; an absent one is empty. Raises MalformedError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedError(f"{what} is {str(value)[:40]!r}, not a string")
    return value


def integer(value: Any, what: str, within: range) -> int:
    """A 64-bit integer, which JSON may say as a string or a number; 0 when absent. Raises MalformedError."""
    if value is None or value == "":
        return 0
    try:
        number = int(value)
        if isinstance(value, bool) or number != (number if isinstance(value, str) else value):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedError(f"{what} is {str(value)[:40]!r}, not a whole number") from error
    if number not in within:
        raise MalformedError(f"{what} is {number}, which does not fit 64 bits")
    return number


def double(value: float) -> float | str:
    """A double as JSON can say it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _double_from_json(value: Any) -> float | str:
    try:
        return double(float(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedError(f"doubleValue is {str(value)[:40]!r}, not a number") from error
