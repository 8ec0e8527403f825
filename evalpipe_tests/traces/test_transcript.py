import json

from hypothesis import given
from hypothesis import strategies as st

from evalpipe.traces.transcript import ModelCall, ToolCall, TraceParts, transcript_of


def user(text):
    return {"role": "user", "content": text}


def assistant(text=None, *calls):
    made = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
    return {"role": "assistant", "content": text, **({"tool_calls": made} if made else {})}


def result(call_id, text):
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def model(at, messages, output, instructions=None):
    given_input = messages if isinstance(messages, str | None) else json.dumps(messages)
    given_output = output if isinstance(output, str | None) else json.dumps(output)
    return ModelCall(at, at + 5, given_input, given_output, instructions)


def tool(at, name, call_id=None, arguments="{}", output="ok", works: bool | None = True, message=None):
    return ToolCall(at, at + 5, name, call_id, arguments, output, works, message)


def read(**parts):
    """Role, tool, content and error of each step."""
    fields = {"input": None, "output": None, **parts}
    return [(s.role, s.tool, s.content, s.is_error) for s in transcript_of(TraceParts(**fields)).steps]


ASK, LOOK = ("c1", "get_order", '{"id":7}'), ("c2", "get_user", "{}")
HISTORY = [
    user("hi"),
    assistant("Hello, which order?"),
    user("7"),
    assistant(None, ASK),
    result("c1", "sent"),
    assistant("It is sent."),
    user("thanks"),
]
CONVERSATION = [
    ("user", None, "hi", None),
    ("assistant", None, "Hello, which order?", None),
    ("user", None, "7", None),
    ("tool_call", "get_order", '{"id":7}', None),
    ("tool_result", "get_order", "sent", False),
    ("assistant", None, "It is sent.", None),
    ("user", None, "thanks", None),
    ("assistant", None, "You are welcome.", None),
]


def whole_history_calls():
    return [
        model(0, HISTORY[:1], "Hello, which order?", "be brief"),
        model(10, HISTORY[:3], [HISTORY[3]]),
        model(30, HISTORY[:5], "It is sent."),
        model(40, HISTORY, "You are welcome."),
    ]


def test_calls_that_carry_the_whole_history_give_the_conversation_once():
    steps = read(model_calls=whole_history_calls(), tool_calls=[tool(20, "get_order", "c1", output="sent")])
    assert steps == [("system", None, "be brief", None), *CONVERSATION]


def test_the_roots_words_are_not_said_again():
    steps = read(
        input="hi",
        output="You are welcome.",
        model_calls=whole_history_calls(),
        tool_calls=[tool(20, "get_order", "c1", output="sent")],
    )
    assert steps[1:] == CONVERSATION


def test_a_window_over_the_history_is_joined_where_it_overlaps():
    calls = [
        model(0, HISTORY[:5], "It is sent."),
        model(40, HISTORY[5:], "You are welcome."),  # the application forgot the beginning
    ]
    steps = read(model_calls=calls, tool_calls=[tool(20, "get_order", "c1", output="sent")])
    assert steps == CONVERSATION


def test_calls_that_carry_one_turn_each_are_put_after_one_another():
    calls = [model(0, [user("hi")], "Hello, which order?"), model(10, [user("7")], "It is sent.")]
    assert [(role, text) for role, _, text, _ in read(model_calls=calls)] == [
        ("user", "hi"),
        ("assistant", "Hello, which order?"),
        ("user", "7"),
        ("assistant", "It is sent."),
    ]


def test_a_router_and_an_answerer_that_read_one_question_ask_it_once():
    calls = [model(0, [user("refund?")], "billing"), model(10, [user("refund?")], "Yes, in 30 days.")]
    assert [text for _, _, text, _ in read(model_calls=calls)] == ["refund?", "billing", "Yes, in 30 days."]


def test_a_template_round_the_question_is_not_what_the_user_said():
    calls = [model(0, "Answer this: refund? Context: 30 days.", "Yes, in 30 days.")]
    assert read(input="refund?", output="Yes, in 30 days.", model_calls=calls) == [
        ("user", None, "refund?", None),
        ("assistant", None, "Yes, in 30 days.", None),
    ]


def test_without_messages_the_root_and_the_tools_in_time_order_remain():
    steps = read(
        input="where is it?",
        output="Sent.",
        tool_calls=[tool(10, "get_user", output="ada"), tool(20, "get_order", arguments='{"id":7}', output="sent")],
    )
    assert steps == [
        ("user", None, "where is it?", None),
        ("tool_call", "get_user", "{}", None),
        ("tool_result", "get_user", "ada", False),
        ("tool_call", "get_order", '{"id":7}', None),
        ("tool_result", "get_order", "sent", False),
        ("assistant", None, "Sent.", None),
    ]


def test_tool_calls_that_no_message_mentions_stand_before_the_answer_that_followed_them():
    calls = [
        model(0, [user("hi")], "Which order?"),
        model(30, [user("hi"), assistant("Which order?"), user("7")], "Sent."),
        model(60, [user("hi"), assistant("Which order?"), user("7"), assistant("Sent."), user("bye")], "Bye."),
    ]
    steps = read(model_calls=calls, tool_calls=[tool(20, "get_order", output="sent")])
    assert [(role, text) for role, _, text, _ in steps] == [
        ("user", "hi"),
        ("assistant", "Which order?"),
        ("user", "7"),
        ("tool_call", "{}"),
        ("tool_result", "sent"),
        ("assistant", "Sent."),
        ("user", "bye"),
        ("assistant", "Bye."),
    ]


def test_a_failed_call_is_an_error_whatever_its_message_says():
    history = [user("7"), assistant(None, ASK), result("c1", "?")]
    calls = [model(0, history[:1], history[1:2]), model(20, history, "Sorry.")]
    steps = read(model_calls=calls, tool_calls=[tool(10, "get_order", "c1", works=False)])
    assert ("tool_result", "get_order", "?", True) in steps


def test_a_last_call_without_a_message_after_it_gets_its_result_from_the_span():
    calls = [model(0, [user("7")], [assistant("Moment.", ASK, LOOK)])]
    tools = [tool(10, "get_order", "c1", output="sent"), tool(12, "get_user", "c2", None, None, False, "no such user")]
    assert read(model_calls=calls, tool_calls=tools) == [
        ("user", None, "7", None),
        ("assistant", None, "Moment.", None),
        ("tool_call", "get_order", '{"id":7}', None),
        ("tool_result", "get_order", "sent", False),
        ("tool_call", "get_user", "{}", None),
        ("tool_result", "get_user", "no such user", True),
    ]


def test_parallel_calls_keep_their_own_results():
    messages = [user("7"), assistant(None, ASK, LOOK), result("c1", "sent"), result("c2", "ada")]
    tools = [tool(10, "get_user", "c2", output="ada", works=False), tool(10, "get_order", "c1", output="sent")]
    steps = read(model_calls=[model(20, messages, "Sent.")], tool_calls=tools)
    assert steps[1:5] == [
        ("tool_call", "get_order", '{"id":7}', None),
        ("tool_call", "get_user", "{}", None),
        ("tool_result", "get_order", "sent", False),
        ("tool_result", "get_user", "ada", True),
    ]


def test_spans_without_call_ids_are_matched_by_name_and_order():
    messages = [
        *(user("7"), assistant(None, ("a", "f", "1")), result("a", "x")),
        *(assistant(None, ("b", "f", "2")), result("b", "y")),
    ]
    tools = [tool(1, "f", works=False), tool(2, "f", works=True)]
    steps = read(model_calls=[model(20, messages, "Done.")], tool_calls=tools)
    assert [s for s in steps if s[0] == "tool_result"] == [
        ("tool_result", "f", "x", True),
        ("tool_result", "f", "y", False),
    ]


def test_an_application_that_names_every_call_alike_is_matched_in_order():
    again = ("c1", "get_order", '{"id":8}')
    messages = [
        *(user("7"), assistant(None, ASK), result("c1", "x"), assistant("One."), user("8")),
        *(assistant(None, again), result("c1", "y")),
    ]
    tools = [tool(1, "get_order", "c1", works=False), tool(9, "get_order", "c1", works=True)]
    steps = read(model_calls=[model(20, messages, "Two.")], tool_calls=tools)
    assert [(s[2], s[3]) for s in steps if s[0] == "tool_result"] == [("x", True), ("y", False)]


def test_a_call_without_a_span_has_an_unknown_outcome():
    messages = [user("7"), assistant(None, ASK), result("c1", "sent")]
    assert read(model_calls=[model(0, messages, "Sent.")])[2] == ("tool_result", "get_order", "sent", None)


def test_a_history_that_was_cut_by_an_attribute_limit_gives_way_to_one_that_can_be_read():
    cut = json.dumps(HISTORY)[:-5]
    calls = [model(0, HISTORY[:3], "It is sent."), model(10, cut, "You are welcome.")]
    steps = read(model_calls=calls)
    assert steps[:3] == CONVERSATION[:3]
    assert steps[-1] == ("assistant", None, "You are welcome.", None)


def test_what_the_application_made_of_the_answer_is_said_last():
    calls = [model(0, [user("hi")], '{"answer":"hello"}')]
    transcript = transcript_of(TraceParts("hi", "Hello!", calls))
    assert transcript.response == "Hello!"
    assert transcript.request == "hi"


def test_the_request_is_the_turn_that_the_trace_answers_not_the_first_of_the_session():
    assert transcript_of(TraceParts(None, None, [model(0, HISTORY, "Welcome.")])).request == "thanks"
    assert transcript_of(TraceParts("thanks", None, [model(0, HISTORY, "Welcome.")])).request == "thanks"


def test_a_greeting_before_the_first_words_is_kept():
    calls = [model(0, [], "Welcome!"), model(10, [assistant("Welcome!"), user("hi")], "How can I help?")]
    transcript = transcript_of(TraceParts("hi", "How can I help?", calls))
    assert [step.content for step in transcript.steps] == ["Welcome!", "hi", "How can I help?"]
    assert transcript.request == "hi"


def test_of_nothing_there_is_nothing():
    assert transcript_of(TraceParts(None, None)) == ([], None, None)


MESSAGES = st.lists(
    st.sampled_from([user("a"), user("b"), assistant("c"), assistant(None, ASK), assistant("d", LOOK)]), max_size=5
)
TEXTS = MESSAGES | st.sampled_from([None, "", "a", "plain", "[", "{}"])
TOOL_SPANS = st.tuples(st.sampled_from(["get_order", "get_user", None]), st.sampled_from(["c1", "c2", None]))


@given(
    st.sampled_from([None, "a", "plain"]),
    st.sampled_from([None, "c", "plain"]),
    st.lists(st.tuples(TEXTS, TEXTS), max_size=4),
    st.lists(TOOL_SPANS, max_size=4),
)
def test_every_tool_span_is_in_the_transcript_once(root_input, root_output, calls, tools):
    parts = TraceParts(
        root_input,
        root_output,
        [model(10 * i, messages, output) for i, (messages, output) in enumerate(calls)],
        [tool(10 * i + 5, name, call_id, output=f"result {i}") for i, (name, call_id) in enumerate(tools)],
    )
    steps = transcript_of(parts).steps
    results = [step.content for step in steps if step.role == "tool_result"]
    assert sorted(results) == [f"result {i}" for i in range(len(tools))]
    assert sum(step.role == "tool_call" for step in steps) >= len(tools)
