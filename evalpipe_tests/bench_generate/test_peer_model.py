import json

from evalpipe_tests.bench_generate.peer_model import PeerModel
from evalpipe_tests.scripted_model import Troubles

FENCE = "trace-0123456789abcdef"
CLAIM = f"<{FENCE}>\n1. user: my lamp\n2. assistant: your money was refunded\n</{FENCE}>"
POLICY = f"<{FENCE}>\n1. user: my lamp\n2. assistant: our policy is that a refund takes five days\n</{FENCE}>"
INSTRUCTION = "It is about refunds. Information about the policy is not the failure."


def asked(*contents: str) -> str:
    roles = ["system", "user"][-len(contents) :]
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    return PeerModel().reply(messages, Troubles()).text


def test_evidently_is_answered_with_a_category():
    prompt = f"{INSTRUCTION}\n___text_starts_here___\n{{}}\n___text_ends_here___\nReturn category"

    assert json.loads(asked(prompt.format(CLAIM)))["category"] == "FAIL"
    assert json.loads(asked(prompt.format(POLICY)))["category"] == "PASS"


def test_mlflow_is_answered_with_a_result_whatever_quotes_the_trace():
    system = f"{INSTRUCTION}\n\n- result (bool): The evaluation rating/result"

    for quoted in (json.dumps({"trace": CLAIM}), json.dumps(str({"trace": CLAIM}))):
        assert json.loads(asked(system, f"inputs: {quoted}"))["result"] is True
    assert json.loads(asked(system, f"inputs: {json.dumps({'trace': POLICY})}"))["result"] is False


def test_a_reflection_learns_from_notes_and_not_from_traces():
    prompt = "<prompt>\nsays what it did not do\n</prompt>\n<rows>\n<input>{}</input>{}</rows> inside <new_prompt> tag"
    note = "<human_reasoning>It claims a refund.</human_reasoning>"

    assert "It is about refunds" in asked(prompt.format(CLAIM, note))
    assert asked(prompt.format(CLAIM, "")) == "<new_prompt>says what it did not do</new_prompt>"


def test_scores_alone_teach_nothing():
    system = "Your input fields are:\n1. `current_instruction` (str)"
    rows = [{"Inputs": {"inputs": CLAIM}, "Feedback": "This trajectory got a score of False."}]
    user = "[[ ## current_instruction ## ]]\nbe strict {{ inputs }}\n\n[[ ## examples_with_feedback ## ]]\n"

    assert json.loads(asked(system, user + json.dumps(rows))) == {"new_instruction": "be strict {{ inputs }}"}
    rows[0]["Feedback"] = "It claims a refund."
    assert "It is about refunds" in json.loads(asked(system, user + json.dumps(rows)))["new_instruction"]
