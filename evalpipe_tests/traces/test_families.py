import json

from hypothesis import given
from hypothesis import strategies as st

from evalpipe.traces.families import messages_of_events, unflattened


def test_numbered_parts_are_ordered_as_numbers():
    flat = {f"{n}.message.content": f"m{n}" for n in (10, 9, 1)}
    assert json.loads(unflattened(json.dumps(flat)) or "") == [{"content": "m1"}, {"content": "m9"}, {"content": "m10"}]


def test_a_huge_index_reserves_nothing():
    assert json.loads(unflattened('{"999999999.message.role":"user"}') or "") == [{"role": "user"}]


def test_nothing_is_nothing():
    assert unflattened(None) is None


@given(st.dictionaries(st.from_regex(r"[0-9a-c.]{0,12}", fullmatch=True), st.text() | st.integers() | st.none()))
def test_any_flattened_keys_are_put_together_somehow(flat):
    json.loads(unflattened(json.dumps(flat)) or "")


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["gen_ai.choice", "gen_ai.user.message", "gen_ai.content.prompt", "other"]),
                "attributes": st.dictionaries(
                    st.sampled_from(
                        ["content", "message", "role", "tool_calls", "gen_ai.prompt", "gen_ai.event.content"]
                    ),
                    st.none() | st.integers() | st.sampled_from(["{}", "[1]", '{"content":"x"}', "x"]) | st.just([1]),
                ),
            }
        )
    )
)
def test_any_events_are_messages_or_nothing(events):
    messages_of_events(json.dumps(events))


def test_the_details_event_carries_whole_messages():
    found = messages_of_events(
        json.dumps(
            [
                {
                    "name": "gen_ai.client.inference.operation.details",
                    "attributes": {
                        "gen_ai.input.messages": [{"role": "user", "parts": []}],
                        "gen_ai.output.messages": "[]",
                        "gen_ai.system_instructions": "be brief",
                    },
                }
            ]
        )
    )
    assert found == ('[{"role":"user","parts":[]}]', "[]", "be brief", None)
