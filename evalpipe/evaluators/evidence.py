"""Where in a conversation the evidence of an explanation stands: what it quotes, and the calls that it counts.

An explanation is what rules.reason, LearnedModel.explain or a judge's critique said. What is missing in a trace
stands nowhere, so `not: ...` and `no "..."` mark nothing. A passage that is not found marks nothing either.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from evalpipe.evaluators.view import NUMBER_MEANINGS, TEXT_MEANINGS
from evalpipe.evaluators.words import NUMBER

_MIN_QUOTE_CHARS = 6  # of a judge: a shorter one stands in many places
_MAX_PASSAGES = 40  # of one conversation: beyond it everything is marked, and so nothing
_BEGIN, _END = r"(?:^|; )", r"(?=; |$)"
_MEANING = "|".join(re.escape(meaning) for meaning in TEXT_MEANINGS.values())
_FIELD_OF = {meaning: name for name, meaning in TEXT_MEANINGS.items()}
_NUMBER_OF = {meaning: name for name, meaning in NUMBER_MEANINGS.items()}
_RULE_TEXT = re.compile(
    rf'{_BEGIN}(?:(?P<field>{_MEANING})|[^";]*?(?P<by>the user|the assistant)) '
    rf'(?:contains|matches a pattern with|is similar to|says) "(?P<text>.*?)"{_END}'
)
_RULE_ARGUMENT = re.compile(rf'{_BEGIN}the argument [^"]*? of tool "(?P<tool>.*?)" is "(?P<text>.*?)"{_END}')
_RULE_TOOL = re.compile(
    rf'{_BEGIN}(?:the last tool call is|tool) "(?P<tool>(?:[^"\\]|\\.)*)"'
    rf'(?P<rest>[^;]*?(?: tool "(?P<then>.*?)")?){_END}'
)
_RULE_NUMBER = re.compile(rf"{_BEGIN}(?P<what>{'|'.join(map(re.escape, NUMBER_MEANINGS.values()))}) is ")
_LEARNED_WORDS = re.compile(rf'{_BEGIN}"(?P<text>[^"]*)" in (?P<field>{_MEANING})')
_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|«([^»]+)»')


class Passage(NamedTuple):
    """A piece of a step of the transcript (from 0); '' is the whole step."""

    step: int
    text: str


def passages(explanation: str | None, kind: str, transcript: Sequence[Mapping[str, Any]]) -> list[Passage]:
    """What the explanation of a verdict on this TRACES transcript points at; `kind` is rule, learned or judge."""
    if not explanation:
        return []
    found = {"rule": _of_rule, "learned": _of_learned, "judge": _of_judge}[kind](explanation, transcript)
    return list(dict.fromkeys(found))[:_MAX_PASSAGES]


def _of_rule(explanation: str, transcript: Sequence[Mapping[str, Any]]) -> Iterator[Passage]:
    for said in _RULE_TEXT.finditer(explanation):
        field = _FIELD_OF[said["field"]] if said["field"] else said["by"].removeprefix("the ")
        yield from _quoted(said["text"], _steps_of(field, transcript), transcript)
    for said in _RULE_ARGUMENT.finditer(explanation):
        yield from _quoted(said["text"], _calls(transcript, said["tool"]), transcript)
    for said in _RULE_TOOL.finditer(explanation):
        if " not " not in said["rest"]:
            names = [said["tool"], *([said["then"]] if said["then"] else [])]
            yield from (Passage(step, "") for name in names for step in _calls(transcript, name))
    for said in _RULE_NUMBER.finditer(explanation):
        if (steps := _STEPS_OF_NUMBER.get(_NUMBER_OF[said["what"]])) is not None:
            yield from (Passage(step, "") for step in steps(transcript))


def _of_learned(explanation: str, transcript: Sequence[Mapping[str, Any]]) -> Iterator[Passage]:
    for said in _LEARNED_WORDS.finditer(explanation):
        words = [r"\d+" if word == NUMBER else re.escape(word) for word in said["text"].split()]
        pattern = re.compile(r"(?<!\w)" + r"[^\w]+".join(words) + r"(?!\w)", re.IGNORECASE)
        for step in _steps_of(_FIELD_OF[said["field"]], transcript):
            if match := pattern.search(transcript[step]["content"] or ""):
                yield Passage(step, match[0])
                break


def _of_judge(explanation: str, transcript: Sequence[Mapping[str, Any]]) -> Iterator[Passage]:
    # What a judge objects to is most often what was answered last.
    steps = [step for step, one in enumerate(transcript) if one["role"] != "system"][::-1]
    for quote in _QUOTED.finditer(explanation):
        text = next(filter(None, quote.groups())).strip(" .…")
        if len(text) >= _MIN_QUOTE_CHARS:
            yield from _quoted(text, steps, transcript)


def _quoted(text: str, steps: Sequence[int], transcript: Sequence[Mapping[str, Any]]) -> Iterator[Passage]:
    """The first step that holds the text; explanations put it on one line."""
    words = text.split()
    if not words:
        return
    pattern = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+".join(map(re.escape, words)), re.IGNORECASE)
    for step in steps:
        if match := pattern.search(transcript[step]["content"] or ""):
            yield Passage(step, match[0])
            return


def _steps_of(field: str, transcript: Sequence[Mapping[str, Any]]) -> list[int]:
    """The steps whose texts make a text field of the view."""
    role = {"request": "user", "final": "assistant", "tool_input": "tool_call", "tool_output": "tool_result"}
    steps = [step for step, one in enumerate(transcript) if one["role"] == role.get(field, field)]
    return {"request": steps[:1], "final": steps[-1:]}.get(field, steps)


def _calls(transcript: Sequence[Mapping[str, Any]], tool: str) -> list[int]:
    return [step for step, one in enumerate(transcript) if one["role"] == "tool_call" and one["tool"] == tool]


def _repeated(transcript: Sequence[Mapping[str, Any]]) -> list[int]:
    """The calls of the tool and arguments that were called most often."""
    calls = [(step, (one["tool"], one["content"])) for step, one in enumerate(transcript) if one["role"] == "tool_call"]
    counts = Counter(call for _, call in calls)
    most = max(counts.values(), default=0)
    return [step for step, call in calls if counts[call] == most] if most > 1 else []


def _failed(transcript: Sequence[Mapping[str, Any]]) -> list[int]:
    return [step for step, one in enumerate(transcript) if one["is_error"]]


_STEPS_OF_NUMBER: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], list[int]]] = {
    "max_identical_calls": _repeated,
    "n_repeats": _repeated,
    "n_tool_errors": _failed,
    "n_ignored_errors": _failed,
}
"""Of numbers that count steps, those steps."""
