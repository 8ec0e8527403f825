"""Regression cases in the forms that other tools read. Which cases there are is replay.py.

Trace text must stay text there: what a tool would take for a template, a file or a picture is kept from acting.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Case = Mapping[str, Any]

_NO_BREAK = "\u2060"  # word joiner: not seen, and nothing matches across it


def jsonl_text(cases: Sequence[Case]) -> str:
    """One case a line: answered, with `output` added, it is what `evalpipe gate --cases` reads."""
    return "".join(_json(case) + "\n" for case in cases)


def promptfoo_text(cases: Sequence[Case]) -> str:
    """A promptfoo tests file, as JSON: each test has the one variable `case`, so that prompts say {{ case.input }}.

    promptfoo renders variables that are text as Nunjucks templates, which can run code, and makes several tests of
    those that are lists; within an object neither happens. Text that begins with file:// it would read from disk even
    there, so such a text begins with a word joiner. Checked with promptfoo 0.121.20.
    """
    return _json([_promptfoo_test(case) for case in cases], indent=1) + "\n"


def inspect_text(cases: Sequence[Case]) -> str:
    """An Inspect dataset, as JSON lines of Sample fields: input (text, or chat messages), target, id, metadata."""
    return "".join(_json(_inspect_sample(case)) + "\n" for case in cases)


def deepeval_text(cases: Sequence[Case]) -> str:
    """DeepEval goldens, as JSON for EvaluationDataset.add_goldens_from_json_file.

    DeepEval takes [DEEPEVAL:IMAGE:path] in a text for a picture and reads that file; a word joiner keeps it text.
    """
    return _json([_deepeval_golden(case) for case in cases], indent=1) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Case]], str]] = {
    "jsonl": jsonl_text,
    "promptfoo": promptfoo_text,
    "inspect": inspect_text,
    "deepeval": deepeval_text,
}
"""How cases are written, by the name of the format."""


def _promptfoo_test(case: Case) -> dict[str, Any]:
    messages = [_as_openai(message) for message in _chat(case)]
    said = {"input": case["input"], "messages": messages, "expected_output": case.get("expected_output")}
    test = {
        "description": case["id"],
        "vars": {"case": {key: value for key, value in said.items() if value is not None}},
        "metadata": _about(case),
    }
    return _changed(test, lambda text: _NO_BREAK + text if text.lstrip().lower().startswith("file:") else text)


def _inspect_sample(case: Case) -> dict[str, Any]:
    return {
        "input": _chat(case) if "messages" in case else case["input"],
        "target": case.get("expected_output", ""),
        "id": case["id"],
        "metadata": _about(case),
    }


def _deepeval_golden(case: Case) -> dict[str, Any]:
    golden = {
        "name": case["id"],
        "input": case["input"],
        "expected_output": case.get("expected_output"),
        "additional_metadata": _about(case) | {"messages": _chat(case)},
    }
    return _changed(golden, lambda text: text.replace("[DEEPEVAL:", f"[{_NO_BREAK}DEEPEVAL:"))


def _about(case: Case) -> dict[str, Any]:
    return {
        "case_id": case["id"],
        "issues": case["issues"],
        "original_output": case.get("original_output"),
        **case.get("metadata", {}),
    }


def _chat(case: Case) -> list[dict[str, Any]]:
    """The conversation up to and with the input, as Inspect's chat messages. Calls are named by their place, and a
    result answers the oldest call of its tool that waits for one; a result whose call was not recorded gets a call."""
    messages: list[dict[str, Any]] = []
    waiting: dict[str, list[str]] = {}  # by tool, the calls that have no result yet
    for n_steps, step in enumerate(case.get("messages") or [{"role": "user", "content": case["input"]}]):
        role, content, tool = step["role"], step.get("content") or "", step.get("tool") or "tool"
        call_id = f"call_{n_steps}"
        if role not in ("tool_call", "tool_result"):
            messages.append({"role": role, "content": content})
            continue
        if role == "tool_call" or not waiting.get(tool):
            call = {"id": call_id, "function": tool, "arguments": _arguments(content if role == "tool_call" else "")}
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": ""})
            messages[-1].setdefault("tool_calls", []).append(call | {"type": "function"})
            waiting.setdefault(tool, []).append(call_id)
        if role == "tool_result":
            messages.append(
                {"role": "tool", "content": content, "tool_call_id": waiting[tool].pop(0), "function": tool}
            )
    return messages


def _as_openai(message: dict[str, Any]) -> dict[str, Any]:
    """The chat message as OpenAI's API takes it: a call is wrapped, and its arguments are text."""
    if "tool_calls" not in message:
        return {key: value for key, value in message.items() if key != "function"}
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["function"], "arguments": _json(call["arguments"])},
        }
        for call in message["tool_calls"]
    ]
    return message | {"tool_calls": calls}


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        value = text
    return value if isinstance(value, dict) else {"input": value}


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """The same JSON value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _changed(item, change) for key, item in value.items()}
    return [_changed(item, change) for item in value] if isinstance(value, list) else value


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
