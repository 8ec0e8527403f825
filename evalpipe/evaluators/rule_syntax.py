"""The syntax of rules: which JSON is a rule. What a rule means is in rules.py and predicates.py.

The set of operations is closed, and so are the columns that a rule may ask for (view.py). Each class below is an
operation, its fields the keys of the JSON object. `json_schema` says the same to tools in other languages, as far as a
schema can; it is published in rule.schema.json.
"""

import re
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails

from evalpipe.errors import ArtifactError
from evalpipe.evaluators.json_shape import JsonShape
from evalpipe.evaluators.view import NUMBER_FIELDS, TEXT_FIELDS
from evalpipe.traces.words import content_words

Rule = dict[str, Any]
"""A validated rule, every optional key filled in."""

SCHEMA_ID = "evalpipe.rule/1"
MAX_DEPTH = 6
MAX_NODES = 64
MAX_LISTED = 64  # rules, phrases or texts side by side
MAX_PATTERN_CHARS = 500
MAX_NAME_CHARS = 256
MAX_REASON_CHARS = 300
_BOUND = 2**53  # whole numbers above it are not all of JSON
_KEY = re.compile(r"[\w .-]{1,64}")  # nothing that a JSON path would obey


def validate_rule(rule: Any) -> Rule:
    """`rule` as a rule of the language, optional keys filled in.

    Raises ArtifactError that says where (a path such as rule.of[1].pattern) and what is wrong.
    """
    _check_size(rule)
    try:
        return _RULE.dump_python(_RULE.validate_python(rule), by_alias=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ArtifactError(f"{_place(first, rule)}: {_reason(first)}") from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema of rules. What it cannot say is refused by `validate_rule` alone: a pattern that does not
    compile, too much or too deep a rule, keys that do not go together."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **_RULE.json_schema()}


def is_argument_key(key: str) -> bool:
    """Whether a path into arguments may go through this key."""
    return _KEY.fullmatch(key) is not None


def rule_size(rule: Rule) -> int:
    """Operations in the rule, its predicates included."""
    return 1 + sum(rule_size(child) for child in children(rule))


def children(rule: Rule) -> list[Rule]:
    """The rules that an operation combines; none for a predicate."""
    of = rule.get("of", [])
    return of if isinstance(of, list) else [of]


def _among(names: tuple[str, ...]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"{_shown(name)} is not one of {', '.join(names)}")
        return name

    return AfterValidator(check)


def _compiling(pattern: str) -> str:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{_shown(pattern)} does not compile in the linear-time regex engine: {reason}") from error
    return pattern


def _with_content(text: str) -> str:
    if not content_words(text):
        raise ValueError("it has no content word that another text could share")
    return text


def _quotable(key: str) -> str:
    if not is_argument_key(key):
        raise ValueError(f"{_shown(key)} is no key of letters, digits, spaces and _ . - alone, of 1 to 64 characters")
    return key


# A bounded text is also one that UTF-8 can hold: JSON may have half of a surrogate pair.
_Text = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN_CHARS)]
_Pattern = Annotated[str, Field(max_length=MAX_PATTERN_CHARS), AfterValidator(_compiling)]
_Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
_Phrases = Annotated[list[_Text], Field(min_length=1, max_length=MAX_LISTED)]
_Rules = Annotated[list["AnyRule"], Field(min_length=1, max_length=MAX_LISTED)]
_TextField = Annotated[str, _among(TEXT_FIELDS), WithJsonSchema({"enum": list(TEXT_FIELDS)})]
_NumberField = Annotated[str, _among(NUMBER_FIELDS), WithJsonSchema({"enum": list(NUMBER_FIELDS)})]
_Compare = Literal[">=", "<="]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, le=_BOUND)]
_Key = Annotated[str, AfterValidator(_quotable), WithJsonSchema({"type": "string", "pattern": f"^{_KEY.pattern}$"})]
_Index = Annotated[int, Field(ge=0, le=999)]


class _Operation(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AllOf(_Operation):
    """Each of the rules holds."""

    op: Literal["all"]
    of: _Rules


class AnyOf(_Operation):
    """One of the rules holds."""

    op: Literal["any"]
    of: _Rules


class AtLeast(_Operation):
    """So many of the rules hold."""

    op: Literal["at_least"]
    k: Annotated[int, Field(ge=1, le=MAX_LISTED)]
    of: _Rules

    @model_validator(mode="after")
    def _k_can_be_reached(self) -> "AtLeast":
        if self.k > len(self.of):
            raise ValueError(f"k is {self.k}, and it has only {len(self.of)} rules")
        return self


class Not(_Operation):
    """The rule does not hold."""

    op: Literal["not"]
    of: "AnyRule"


class Constant(_Operation):
    """Always or never."""

    op: Literal["constant"]
    value: bool


class Contains(_Operation):
    """The text holds one of the phrases, whatever their case."""

    op: Literal["contains"]
    field: _TextField
    any: _Phrases


class Regex(_Operation):
    """The text holds a match of the pattern: Rust syntax; case counts unless it says (?i)."""

    op: Literal["regex"]
    field: _TextField
    pattern: _Pattern


class Similar(_Operation):
    """The text has at least this share of the different content words of one of the given texts."""

    op: Literal["similar"]
    field: _TextField
    to: Annotated[list[Annotated[_Text, AfterValidator(_with_content)]], Field(min_length=1, max_length=MAX_LISTED)]
    share: Annotated[float, Field(gt=0, le=1)]


class Overlap(_Operation):
    """The share of the text's different content words (word pairs, numbers) that its sources have.

    Neither >= nor <= holds where the text has none of them, or all its sources are empty.
    """

    op: Literal["overlap"]
    field: _TextField
    sources: Annotated[list[Literal["tool_output", "user", "request"]], Field(min_length=1, max_length=3)]
    unit: Literal["words", "pairs", "numbers"] = "words"
    compare: _Compare
    share: Annotated[float, Field(ge=0, le=1)]


class Said(_Operation):
    """What somebody says in one part of the trace: before or after a tool's first or last call, after a failed call
    (of any tool where none is named), or at its end. Of the messages there only the `nearest` ones count; null: all.
    """

    op: Literal["said"]
    by: Literal["user", "assistant"]
    where: Literal["before_first", "before_last", "after_first", "after_last", "after_failed", "at_end"]
    tool: _Name | None = None
    nearest: Annotated[int, Field(ge=1, le=100)] | None = None
    any: _Phrases | None = None
    pattern: _Pattern | None = None

    @model_validator(mode="after")
    def _keys_go_together(self) -> "Said":
        if (self.any is None) == (self.pattern is None):
            raise ValueError("'said' needs either any or pattern")
        if self.where == "at_end" and (self.tool is not None or self.nearest is None):
            raise ValueError("at_end needs nearest, the number of last messages, and no tool")
        if self.where not in ("at_end", "after_failed") and self.tool is None:
            raise ValueError(f"{self.where} needs a tool")
        return self


class Tool(_Operation):
    """So many calls of the tool that ended so."""

    op: Literal["tool"]
    name: _Name
    status: Literal["any", "ok", "error"] = "any"
    min: _Count | None = None
    max: _Count | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> "Tool":
        if self.min is None and self.max is None:
            raise ValueError("'tool' needs min or max, the number of calls; to ask whether it was called, set min to 1")
        return self


class ToolBefore(_Operation):
    """Some call of the first tool comes before some call of the other."""

    op: Literal["tool_before"]
    first: _Name
    then: _Name


class ToolThen(_Operation):
    """Some call of the first tool is the last one before some call of the other."""

    op: Literal["tool_then"]
    first: _Name
    then: _Name


class LastTool(_Operation):
    """The last call is one of this tool."""

    op: Literal["last_tool"]
    name: _Name


class Argument(_Operation):
    """Some call of the tool has a value at this path of its JSON arguments, and it is so.

    `path` goes through keys and list places, from 0. equals compares as text, so that 12 equals "12".
    """

    op: Literal["argument"]
    tool: _Name
    path: Annotated[list[_Key | _Index], Field(min_length=1, max_length=8)]
    test: Literal["present", "equals", "matches", ">=", "<="] = "present"
    value: Annotated[str, Field(max_length=MAX_PATTERN_CHARS)] | bool | _Number | None = None

    @model_validator(mode="after")
    def _value_fits_test(self) -> "Argument":
        is_number = isinstance(self.value, float)
        fits = {
            "present": self.value is None,
            "equals": self.value is not None,
            "matches": isinstance(self.value, str) and _compiling(self.value) == self.value,
            ">=": is_number,
            "<=": is_number,
        }
        if not fits[self.test]:
            raise ValueError(f"{_shown(self.value)} is no value for the test '{self.test}'")
        return self


class Number(_Operation):
    """The number is so large or so small; false where it is not known."""

    op: Literal["number"]
    field: _NumberField
    compare: _Compare
    value: _Number


class ValidJson(_Operation):
    """Each message of the text is a JSON object or array, and satisfies the schema; false without a message."""

    op: Literal["valid_json"]
    field: _TextField
    shape: JsonShape | None = Field(default=None, alias="schema")


AnyRule = Annotated[
    AllOf
    | AnyOf
    | AtLeast
    | Not
    | Constant
    | Contains
    | Regex
    | Similar
    | Overlap
    | Said
    | ValidJson
    | Tool
    | ToolBefore
    | ToolThen
    | LastTool
    | Argument
    | Number,
    Field(discriminator="op"),
]
_RULE: TypeAdapter[Any] = TypeAdapter(AnyRule)


def _check_size(rule: Any) -> None:
    """Before anything else, and without recursion: what is handed in may be made to exhaust who reads it."""
    n, depth, level = 0, 0, [rule]
    while level:
        n, depth = n + len(level), depth + 1
        if depth > MAX_DEPTH:
            raise ArtifactError(f"rule: rules are nested at most {MAX_DEPTH} deep")
        if n > MAX_NODES:
            raise ArtifactError(f"rule: it has {n} operations or more; at most {MAX_NODES} are allowed")
        level = [child for node in level if isinstance(node, dict) and "of" in node for child in children(node)]


def _place(error: ErrorDetails, rule: Any) -> str:
    """The path of an error inside the rule; what pydantic adds to tell the members of a union apart is left out."""
    place, last = "rule", len(error["loc"]) - 1
    at: Any = rule
    for i, part in enumerate(error["loc"]):
        if isinstance(at, dict) and part in at:
            place, at = f"{place}.{part}", at[part]
        elif isinstance(at, list) and isinstance(part, int):
            place, at = f"{place}[{part}]", at[part]
        elif i == last and error["type"] == "missing":
            place += f".{part}"
    return place + (".op" if error["type"].startswith("union_tag") else "")


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "union_tag_invalid" | "union_tag_not_found":
            known = ", ".join(_RULE.json_schema()["discriminator"]["mapping"])
            op = error["input"].get("op") if isinstance(error["input"], dict) else error["input"]
            return f"{_shown(op)} is no operation; there are {known}"
        case "model_attributes_type" | "model_type":
            return f"a rule is a JSON object, not {_shown(error['input'])}"
        case _:
            return error["msg"].removeprefix("Value error, ")[:MAX_REASON_CHARS]


def _shown(value: Any) -> str:
    """A value in a message; of a container its type alone, because it may be too deep to print."""
    is_plain = value is None or isinstance(value, str | float) or (isinstance(value, int) and value.bit_length() < 100)
    return repr(value)[:60] if is_plain else f"this {type(value).__name__}"
