from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evalpipe.review.desk.sheet import Mark, SheetStep, steps_of


def step(role: str, content: str | None, tool: str | None = None, is_error: bool | None = None) -> dict[str, Any]:
    return {"role": role, "content": content, "tool": tool, "is_error": is_error}


def proof(signal: str, step: int | None, text: str | None) -> dict[str, Any]:
    return {"signal": signal, "step": step, "text": text}


TALK = [
    step("user", "where is it"),
    step("tool_call", '{"id":1}', "search"),
    step("tool_result", "lost", "search", True),
    step("assistant", "It is lost."),
]


def test_a_call_and_its_result_are_one_step():
    assert steps_of(TALK, []) == [
        SheetStep(0, "user", "where is it"),
        SheetStep(1, "tool", "", "search", '{\n  "id": 1\n}', "lost", is_error=True),
        SheetStep(2, "assistant", "It is lost."),
    ]


def test_results_go_to_the_calls_of_their_tool_in_order():
    talk = [
        step("tool_call", "a1", "a"),
        step("tool_call", "b1", "b"),
        step("tool_call", "a2", "a"),
        step("tool_result", "from b1", "b"),
        step("tool_result", "from a1", "a"),
        step("tool_result", "from a2", "a"),
    ]
    pairs = [(one.arguments, one.result) for one in steps_of(talk, [])]
    assert pairs == [("a1", "from a1"), ("b1", "from b1"), ("a2", "from a2")]


def test_a_call_without_a_result_and_a_result_without_a_call_stand_alone():
    talk = [step("tool_result", "early", "a"), step("tool_call", None, "a"), step("tool_result", "other", "b")]
    assert [(one.tool, one.arguments, one.result) for one in steps_of(talk, [])] == [
        ("a", None, "early"),
        ("a", "", None),
        ("b", None, "other"),
    ]


def test_evidence_is_marked_in_the_field_that_shows_its_step():
    evidence = [
        proof("frustration", 0, "where"),
        proof("repetition", 1, '"id":1'),
        proof("ignored_error", 2, None),
        proof("hedging", 3, "is lost"),
    ]
    marks = [one.marks for one in steps_of(TALK, evidence)]
    assert marks == [
        [Mark("content", 0, 5, "frustration")],
        # {, a line break and two blanks stand before it, and a blank within.
        [Mark("arguments", 4, 11, "repetition"), Mark("result", 0, 4, "ignored_error")],
        [Mark("content", 3, 10, "hedging")],
    ]


def test_evidence_of_the_whole_trace_or_of_what_is_not_shown_marks_nothing():
    evidence = [proof("cost", None, None), proof("hedging", 3, "maybe"), proof("hedging", 9, None)]
    assert all(not one.marks for one in steps_of(TALK, evidence))


def test_a_longer_passage_gives_way_to_those_within_it():
    evidence = [proof("refusal", 3, None), proof("hedging", 3, "is"), proof("unsupported", 3, "is lost")]
    (marks,) = (one.marks for one in steps_of(TALK, evidence)[2:])
    # It is lost.   is: 3-5, is lost: 3-10, all: 0-11
    assert marks == [
        Mark("content", 0, 3, "refusal"),
        Mark("content", 3, 5, "hedging"),
        Mark("content", 5, 10, "unsupported"),
        Mark("content", 10, 11, "refusal"),
    ]


texts = st.text("ab ", max_size=12)
messages = st.builds(
    step,
    st.sampled_from(["system", "user", "assistant", "tool_call", "tool_result"]),
    st.none() | texts,
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, True, False]),
)
proofs = st.builds(proof, st.sampled_from(["x", "y"]), st.none() | st.integers(0, 9), st.none() | texts)


@given(st.lists(messages, max_size=10), st.lists(proofs, max_size=8))
def test_any_transcript_is_shown_whole_with_marks_that_do_not_overlap(talk: list, evidence: list):
    shown = steps_of(talk, evidence)
    fields = [text for one in shown for text in (one.arguments, one.result) if text is not None]
    fields += [one.content for one in shown if one.role != "tool"]
    assert sorted(fields) == sorted(message["content"] or "" for message in talk)
    assert [one.index for one in shown] == list(range(len(shown)))
    for one in shown:
        text = {"content": one.content, "arguments": one.arguments or "", "result": one.result or ""}
        assert all(0 <= mark.start < mark.end <= len(text[mark.field]) for mark in one.marks)
        neighbours = zip(one.marks, one.marks[1:], strict=False)
        assert all((a.field, a.end) <= (b.field, b.start) or a.field < b.field for a, b in neighbours)
