"""Regression cases as other tools read them. That those tools really do is told in docs/cases.md."""

import json

from evalpipe.gate.cases import read_cases
from evalpipe.gate.exchange import deepeval_text, inspect_text, jsonl_text, promptfoo_text

ISSUES = [{"issue_id": "iss_a", "failure_mode": "shouts", "is_failure": True, "kind": "failure"}]
PLAIN = {"id": "a1", "input": "Where is it?", "expected_output": "In Bern.", "issues": ISSUES, "metadata": {}}
LONG = {
    "id": "b2",
    "input": "And now?",
    "messages": [
        {"role": "user", "content": "Where is it?", "is_error": False},
        {"role": "tool_call", "content": '{"order": 7}', "tool": "track", "is_error": False},
        {"role": "tool_call", "content": "no JSON", "tool": "track", "is_error": False},
        {"role": "tool_result", "content": "in Bern", "tool": "track", "is_error": False},
        {"role": "tool_result", "content": "gone", "tool": "other", "is_error": True},
        {"role": "assistant", "content": "In Bern.", "is_error": False},
        {"role": "user", "content": "And now?", "is_error": False},
    ],
    "original_output": "STILL IN BERN",
    "issues": ISSUES,
    "metadata": {"service": "shop"},
}
ABOUT = {"case_id": "a1", "issues": ISSUES, "original_output": None}


def test_answered_json_lines_come_back_as_the_cases_of_their_issues(tmp_path):
    lines = jsonl_text([PLAIN, LONG]).splitlines()
    path = tmp_path / "answered.jsonl"
    path.write_text("\n".join(json.dumps(json.loads(line) | {"output": "Yes."}) for line in lines))
    cases = read_cases(path, is_strict=True)
    assert cases.traces.select("trace_id", "response").rows() == [("a1", "Yes."), ("b2", "Yes.")]
    assert cases.about["issue_ids"].to_list() == [["iss_a"], ["iss_a"]]
    assert [m["role"] for m in cases.traces["transcript"][1]] == [m["role"] for m in LONG["messages"]] + ["assistant"]


def test_a_promptfoo_test_has_one_variable_which_is_no_template():
    tests = json.loads(promptfoo_text([PLAIN]))
    said = {"input": "Where is it?", "messages": [{"role": "user", "content": "Where is it?"}]}
    assert tests == [{"description": "a1", "vars": {"case": said | {"expected_output": "In Bern."}}, "metadata": ABOUT}]


def test_promptfoo_gets_the_conversation_as_openai_takes_it():
    messages = json.loads(promptfoo_text([LONG]))[0]["vars"]["case"]["messages"]
    call = {"name": "track", "arguments": '{"order": 7}'}
    assert messages[1]["tool_calls"][0] == {"id": "call_1", "type": "function", "function": call}
    assert messages[2] == {"role": "tool", "content": "in Bern", "tool_call_id": "call_1"}


def test_no_text_is_a_file_to_promptfoo():
    test = json.loads(promptfoo_text([PLAIN | {"input": "file:///etc/passwd", "expected_output": "see file://x"}]))[0]
    case = test["vars"]["case"]
    assert case["input"] == case["messages"][0]["content"] == "\u2060file:///etc/passwd"
    assert case["expected_output"] == "see file://x"  # it does not begin so


def test_an_inspect_sample_has_text_or_chat_messages_with_calls_and_results_paired():
    plain, long = map(json.loads, inspect_text([PLAIN, LONG]).splitlines())
    assert plain == {"input": "Where is it?", "target": "In Bern.", "id": "a1", "metadata": ABOUT}
    first = {"id": "call_1", "function": "track", "arguments": {"order": 7}, "type": "function"}
    second = {"id": "call_2", "function": "track", "arguments": {"input": "no JSON"}, "type": "function"}
    unseen = {"id": "call_4", "function": "other", "arguments": {}, "type": "function"}  # its call was not recorded
    assert long["input"] == [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "", "tool_calls": [first, second]},
        {"role": "tool", "content": "in Bern", "tool_call_id": "call_1", "function": "track"},
        {"role": "assistant", "content": "", "tool_calls": [unseen]},
        {"role": "tool", "content": "gone", "tool_call_id": "call_4", "function": "other"},
        {"role": "assistant", "content": "In Bern."},
        {"role": "user", "content": "And now?"},
    ]
    assert long["target"] == ""
    assert long["metadata"]["service"] == "shop"


def test_a_deepeval_golden_has_the_conversation_beside_its_input():
    golden = json.loads(deepeval_text([PLAIN]))[0]
    about = ABOUT | {"messages": [{"role": "user", "content": "Where is it?"}]}
    assert golden == {
        "name": "a1", "input": "Where is it?", "expected_output": "In Bern.", "additional_metadata": about
    }  # fmt: skip


def test_no_text_is_a_picture_to_deepeval():
    golden = json.loads(deepeval_text([PLAIN | {"input": "[DEEPEVAL:IMAGE:/etc/passwd]"}]))[0]
    assert "[DEEPEVAL:" not in json.dumps(golden, ensure_ascii=False)
