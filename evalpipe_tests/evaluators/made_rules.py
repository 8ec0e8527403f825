"""Rules and conversations made by hypothesis, for the tests of the rule language."""

from typing import Any

from hypothesis import strategies as st

from evalpipe.evaluators.view import NUMBER_FIELDS, TEXT_FIELDS
from evalpipe_tests.evaluators.made import transcript

LEAF = {"op": "constant", "value": True}


def nested(depth: int) -> dict[str, Any]:
    """A rule so many operations deep."""
    rule: dict[str, Any] = LEAF
    for _ in range(depth - 1):
        rule = {"op": "not", "of": rule}
    return rule


def _operation(op: str, **keys: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"op": st.just(op), **keys})


NAMES = st.sampled_from(["a", "b", "a.b", "a:ok", "ü"])
_FIELDS = st.sampled_from(TEXT_FIELDS)
_TEXTS = st.sampled_from(
    ["sorry", "Sorry 12", "ÄRGER", "ärger\n7", "", "a.b", "sorry about 1,200 lamps", "lamps, 12.0"]
)
_PHRASES = st.lists(_TEXTS.filter(bool), min_size=1, max_size=3)
_PATTERNS = st.sampled_from([r"\d+", "^s", "(?i)SORRY", "a.b", ""])
_LIMITS = st.one_of(st.none(), st.integers(0, 3))
_SHARES = st.sampled_from([0.25, 0.5, 1.0])
_COMPARE = st.sampled_from([">=", "<="])
_ARGUMENTS = st.sampled_from(['{"id": 1, "to": {"x": ["p", "q"]}}', '{"id": "1"}', '{"id": null}', "[2.5]", "id", "{}"])
_SCHEMAS = st.sampled_from(
    [
        None,
        {},
        {"type": "object"},
        {"required": ["id"]},
        {"items": {"minimum": 2}},
        {"properties": {"id": {"enum": [1]}}},
    ]
)
_TESTS = st.one_of(
    st.fixed_dictionaries({"test": st.just("present")}),
    st.fixed_dictionaries({"test": st.just("equals"), "value": st.sampled_from(["1", 1.0, True, "p"])}),
    st.fixed_dictionaries({"test": st.just("matches"), "value": st.sampled_from(["^1$", "x"])}),
    st.fixed_dictionaries({"test": _COMPARE, "value": st.sampled_from([1.0, 2.0])}),
)
_PLACES = st.one_of(
    st.fixed_dictionaries(
        {"where": st.sampled_from(["before_first", "before_last", "after_first", "after_last"]), "tool": NAMES},
        optional={"nearest": st.integers(1, 2)},
    ),
    st.fixed_dictionaries({"where": st.just("after_failed"), "tool": st.none() | NAMES}),
    st.fixed_dictionaries({"where": st.just("at_end"), "nearest": st.integers(1, 2)}),
)
_SEARCHES = st.one_of(
    st.fixed_dictionaries({"any": _PHRASES}), st.fixed_dictionaries({"pattern": st.sampled_from([r"\d+", "^s", "r$"])})
)


def _merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda dicts: {key: value for part in dicts for key, value in part.items()})


_PREDICATES = st.one_of(
    _operation("constant", value=st.booleans()),
    _operation("contains", field=_FIELDS, any=_PHRASES),
    _operation("regex", field=_FIELDS, pattern=_PATTERNS),
    _operation("similar", field=_FIELDS, to=st.lists(_TEXTS.filter(bool), min_size=1, max_size=2), share=_SHARES),
    _operation(
        "overlap",
        field=_FIELDS,
        sources=st.lists(st.sampled_from(["tool_output", "user", "request"]), min_size=1, max_size=2),
        unit=st.sampled_from(["words", "pairs", "numbers"]),
        compare=_COMPARE,
        share=_SHARES,
    ),
    _merged(_operation("said", by=st.sampled_from(["user", "assistant"])), _PLACES, _SEARCHES),
    _operation("valid_json", field=st.sampled_from(["final", "tool_input"]), schema=_SCHEMAS),
    _operation("tool", name=NAMES, status=st.sampled_from(["any", "ok", "error"]), min=_LIMITS, max=_LIMITS).filter(
        lambda rule: rule["min"] is not None or rule["max"] is not None
    ),
    _operation("tool_before", first=NAMES, then=NAMES),
    _operation("tool_then", first=NAMES, then=NAMES),
    _operation("last_tool", name=NAMES),
    _merged(_operation("argument", tool=NAMES, path=st.sampled_from([["id"], ["to", "x", 1], ["to"], [0]])), _TESTS),
    _operation(
        "number",
        field=st.sampled_from(NUMBER_FIELDS),
        compare=_COMPARE,
        value=st.one_of(st.integers(0, 3), st.floats(0, 2)),
    ),
)


def _combined(rules: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(rules, min_size=1, max_size=3)
    return st.one_of(
        st.fixed_dictionaries({"op": st.sampled_from(["all", "any"]), "of": several}),
        _operation("not", of=rules),
        several.flatmap(lambda of: _operation("at_least", k=st.integers(1, len(of)), of=st.just(of))),
    )


def _depth(rule: dict[str, Any]) -> int:
    of = rule.get("of", [])
    return 1 + max((_depth(child) for child in (of if isinstance(of, list) else [of])), default=0)


RULES = st.recursive(_PREDICATES, _combined, max_leaves=10).filter(lambda rule: _depth(rule) <= 5)
_MESSAGES = st.one_of(
    st.tuples(st.sampled_from(["user", "assistant"]), st.one_of(_TEXTS, _ARGUMENTS)),
    st.tuples(st.just("call"), NAMES, _ARGUMENTS),
    st.tuples(st.sampled_from(["result", "error"]), NAMES, _TEXTS),
)
TRANSCRIPTS = st.lists(
    st.lists(_MESSAGES, max_size=6).map(lambda messages: transcript(*messages)), min_size=1, max_size=4
)
