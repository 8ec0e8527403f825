import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.traces.messages import Step, message_list, plain_text, steps_of

CALL = Step("tool_call", '{"id":7}', tool="get_order", call_id="c1")
CONVERSATION = [
    Step("user", "where is it?"),
    CALL,
    Step("tool_result", "sent", call_id="c1"),
    Step("assistant", "Sent."),
]
WITH_NAME = [*CONVERSATION[:2], Step("tool_result", "sent", tool="get_order", call_id="c1"), CONVERSATION[3]]


def function_call(arguments):
    return {"id": "c1", "type": "function", "function": {"name": "get_order", "arguments": arguments}}


FORMS = {
    "openai": [
        {"role": "user", "content": "where is it?"},
        {"role": "assistant", "content": None, "tool_calls": [function_call('{"id":7}')]},
        {"role": "tool", "content": "sent", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Sent."},
    ],
    "openai with parts and structured arguments": [
        {"role": "user", "content": [{"type": "text", "text": "where is it?"}]},
        {"role": "assistant", "content": "", "tool_calls": [function_call({"id": 7})]},
        {"role": "tool", "content": [{"type": "text", "text": "sent"}], "tool_call_id": "c1"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Sent."}]},
    ],
    "a request body": {
        "model": "m",
        "messages": [
            {"role": "user", "content": "where is it?"},
            {"role": "assistant", "tool_calls": [function_call('{"id":7}')]},
            {"role": "tool", "content": "sent", "tool_call_id": "c1"},
            {"role": "assistant", "content": "Sent."},
        ],
    },
    "gen_ai parts": [
        {"role": "user", "parts": [{"type": "text", "content": "where is it?"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "tool_call", "id": "c1", "name": "get_order", "arguments": {"id": 7}},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "sent"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Sent."}], "finish_reason": "stop"},
    ],
    "gen_ai parts as the registry's example has it": [
        {"role": "user", "parts": [{"type": "text", "content": "where is it?"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "get_order", "arguments": '{"id":7}'}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "result": "sent"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Sent."}]},
    ],
    "anthropic blocks": [
        {"role": "user", "content": "where is it?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "get_order", "input": {"id": 7}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sent"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Sent."}]},
    ],
    "openinference put together": [
        {"role": "user", "contents": [{"type": "text", "text": "where is it?"}]},
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "get_order", "arguments": '{"id":7}'}}]},
        {"role": "tool", "content": "sent", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Sent."},
    ],
    "langchain": [
        [
            {"type": "human", "content": "where is it?"},
            {"type": "ai", "content": "", "tool_calls": [{"id": "c1", "name": "get_order", "args": {"id": 7}}]},
            {"type": "tool", "content": "sent", "tool_call_id": "c1"},
            {"type": "ai", "content": "Sent."},
        ]
    ],
    "openai responses": {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "where is it?"}]},
            {"type": "function_call", "call_id": "c1", "name": "get_order", "arguments": '{"id":7}'},
            {"type": "function_call_output", "call_id": "c1", "output": "sent"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Sent."}]},
        ]
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_one_conversation_in_every_form(form):
    assert message_list(json.dumps(FORMS[form])) in (CONVERSATION, WITH_NAME)


def test_a_response_body_is_the_message_of_its_choice():
    body = {"id": "r1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Sent."}}]}
    assert message_list(json.dumps(body)) == [Step("assistant", "Sent.")]


def test_serialised_langchain_messages():
    message = {"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": {"content": "hi"}}
    assert message_list(json.dumps([message])) == [Step("user", "hi")]


def test_text_around_a_call_keeps_its_place():
    content = [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
        {"type": "text", "text": "Done."},
    ]
    assert [
        (s.role, s.content) for s in message_list(json.dumps([{"role": "assistant", "content": content}])) or []
    ] == [
        ("assistant", "Let me look."),
        ("tool_call", "{}"),
        ("assistant", "Done."),
    ]


def test_an_error_that_a_result_says_is_kept():
    block = {"type": "tool_result", "tool_use_id": "c1", "content": "no", "is_error": True}
    assert message_list(json.dumps([{"role": "user", "content": [block]}])) == [
        Step("tool_result", "no", call_id="c1", is_error=True)
    ]


def test_media_are_named():
    content = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:..."}}]
    assert message_list(json.dumps([{"role": "user", "content": content}])) == [Step("user", "see\n[image_url]")]


def test_a_result_that_is_data_stays_data():
    response = [{"order": 1}, {"order": 2}]
    part = {"type": "tool_call_response", "id": "c1", "response": response}
    (step,) = message_list(json.dumps([{"role": "tool", "parts": [part]}])) or []
    assert json.loads(step.content) == response


@pytest.mark.parametrize("text", ["hello", "[1, 2]", '{"a": 1}', '"quoted"', "[", "{}"])
def test_what_is_no_message_list_is_one_message_as_it_stands(text):
    assert message_list(text) is None
    assert steps_of(text, "user") == [Step("user", text)]


@pytest.mark.parametrize(
    "text",
    [
        '{"question": "where is it?"}',
        '{"args": ["where is it?"], "kwargs": {}}',
        '{"args": [], "kwargs": {"query": "where is it?"}}',
        '{"input": "where is it?"}',
    ],
)
def test_the_only_words_that_a_decorator_recorded_are_what_was_said(text):
    assert steps_of(text, "user") == [Step("user", "where is it?")]


@pytest.mark.parametrize(
    "text",
    [
        '{"order_id": "1042"}',
        '{"question": "where is it?", "language": "en"}',
        '{"args": ["where is it?"], "kwargs": {"query": "en"}}',
        '{"args": ["where", "is it?"], "kwargs": {}}',
        '{"args": 1, "kwargs": [2]}',
        '{"question": 7}',
        '{"question": {}}',
    ],
)
def test_more_than_words_stays_whole(text):
    assert steps_of(text, "user") == [Step("user", text)]


def test_a_call_with_nothing_has_no_steps():
    assert steps_of('{"args": [], "kwargs": {}}', "user") == []


def test_messages_without_a_content_are_none():
    assert steps_of('[{"role": "assistant", "finish_reason": "stop"}]', "assistant") == []
    assert steps_of('[{"role": "user"}, {"role": "user", "content": "hi"}]', "user") == [Step("user", "hi")]


def test_nothing_has_no_steps():
    assert steps_of(None, "user") == steps_of("", "user") == steps_of(" ", "user") == steps_of("[]", "user") == []


def test_instructions_are_the_text_of_their_parts():
    assert plain_text("be brief") == "be brief"
    assert plain_text('[{"type":"text","content":"be"},{"type":"text","content":"brief"}]') == "be\nbrief"
    assert plain_text('[{"role":"system","content":"be brief"}]') == "be brief"
    assert plain_text("[not json") == "[not json"
    assert plain_text(None) == ""


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["user", "tool", "text", "human"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "parts", "tool_calls", "type", "id", "name", "function", "arguments"])
            | st.sampled_from(["messages", "message", "choices", "kwargs", "text", "input", "response", "is_error"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_has_steps_with_known_roles(value):
    text = json.dumps(value)
    for step in steps_of(text, "user"):
        assert step.role in ("system", "user", "assistant", "tool_call", "tool_result")
        assert isinstance(step.content, str)
        assert isinstance(step.tool, str | None)
        assert isinstance(step.call_id, str | None)
    assert isinstance(plain_text(text), str)


@pytest.mark.parametrize(
    "deep", ["[" * 1_000 + "]" * 1_000, '[{"role":"user","content":' + "[" * 900 + "]" * 900 + "}]"]
)
def test_nesting_as_deep_as_json_allows_is_no_crash(deep):
    assert isinstance(plain_text(deep), str)
    steps_of(deep, "user")
