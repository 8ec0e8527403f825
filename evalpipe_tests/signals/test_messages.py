from evalpipe.signals.messages import message_frame
from evalpipe_tests.signals.made import YESTERDAY, frame, made_id, trace


def test_steps_are_numbered_in_their_trace_and_positions_rise_with_time():
    late = trace(9, ("user", "and now?"), session_id="s")
    early = trace(3, ("user", "hello"), ("assistant", "good day"), session_id="s")
    rows = message_frame(frame(late, early), frame())
    assert rows.select("trace_id", "position", "step", "content").rows() == [
        (made_id(4), 0, 0, "hello"),
        (made_id(4), 1, 1, "good day"),
        (made_id(10), 2, 0, "and now?"),
    ]


def test_earlier_traces_come_first_and_are_not_of_today():
    before = trace(5, ("user", "hello"), session_id="s", day=YESTERDAY, start_unix_ns=0)
    rows = message_frame(frame(trace(6, ("user", "again"), session_id="s")), frame(before))
    assert rows.select("content", "is_today").rows() == [("hello", False), ("again", True)]


def test_a_trace_that_is_in_both_is_of_today():
    row = trace(1, ("user", "hello"))
    assert message_frame(frame(row), frame(row))["is_today"].to_list() == [True]


def test_a_trace_without_a_session_is_a_session_of_its_own():
    assert message_frame(frame(trace(1, ("user", "hello"), session_id=None)), frame())["session_key"].item() == made_id(
        2
    )


def test_what_a_step_does_not_say_is_filled_and_a_trace_without_steps_has_no_row():
    silent = trace(1) | {"transcript": [{"role": "tool_call", "content": None, "tool": None, "is_error": None}]}
    (row,) = message_frame(frame(silent, trace(2)), frame()).iter_rows(named=True)
    assert (row["content"], row["tool"], row["is_error"]) == ("", "(unnamed)", False)


def test_no_traces_have_no_messages():
    assert message_frame(frame(), frame()).is_empty()
