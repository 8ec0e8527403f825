"""What is one case, and what only looks like one."""

import polars as pl
import pytest

from evalpipe.generation.groups import case_groups
from evalpipe.tables import TRACES
from evalpipe_tests.generation.planted import planted


def traces(*changes: dict[str, object]) -> pl.DataFrame:
    """Traces that have nothing in common, but for what is changed."""
    rows = planted("rude", 2, len(changes), seed=3).traces.head(len(changes)).to_dicts()
    return TRACES.conform(pl.DataFrame([row | change for row, change in zip(rows, changes, strict=True)]))


def call(arguments: str) -> dict[str, object]:
    return {"transcript": [{"role": "tool_call", "content": arguments, "tool": "look", "is_error": False}]}


def result(text: str) -> dict[str, object]:
    return {"transcript": [{"role": "tool_result", "content": text, "tool": "look", "is_error": False}]}


LONG = "could you please tell me when the parcel with my blue winter jacket will arrive"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"session_id": "s"}, {"session_id": "s"}),
        ({"request": LONG}, {"request": LONG.upper() + "?"}),
        ({"request": LONG}, {"request": LONG + " today"}),  # 15 shared words of 16: Jaccard 0.94
        (call('{"user_id": "ada_12"}'), call('{"limit": 3, "user_id": "ada_12"}')),
        (result("the red kettle holds two litres and boils quickly"),) * 2,
    ],
)
def test_two_traces_of_one_case_share_a_group(one: dict[str, object], other: dict[str, object]):
    groups = case_groups(traces(one, other, {}))
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"session_id": None}, {"session_id": None}),
        ({"request": "hello there"}, {"request": "hello there"}),  # too short to be a case
        ({"request": LONG + " order 1234"}, {"request": LONG + " order 9876"}),  # one wording, two orders
        (call('{"user_id": "ada_12"}'), call('{"user_id": "bo_77"}')),
        (call('{"mode": "fast_12"}'), call('{"mode": "fast_12"}')),  # not named like an id
        (result("not found"), result("not found")),
    ],
)
def test_two_cases_do_not_share_a_group(one: dict[str, object], other: dict[str, object]):
    groups = case_groups(traces(one, other))
    assert groups[0] != groups[1]


def test_groups_join_through_a_common_member():
    groups = case_groups(traces({"session_id": "s"}, {"session_id": "s", "request": LONG}, {"request": LONG}))
    assert len(set(groups)) == 1


def test_what_a_quarter_of_all_traces_share_is_a_habit_and_not_a_case():
    shared = [call('{"agent_id": "bot_1"}') | {"request": LONG} for _ in range(11)]
    assert len(set(case_groups(traces(*shared)))) == 11


def test_groups_do_not_depend_on_the_order_of_rows():
    made = traces({"session_id": "s"}, {}, {"session_id": "s"}, {"request": LONG}, {"request": LONG + " now"})
    forwards = dict(zip(made["trace_id"], case_groups(made), strict=True))
    backwards = dict(zip(made.reverse()["trace_id"], case_groups(made.reverse()), strict=True))
    assert forwards == backwards
