"""A transcript as text that a model reads, cut to its room by a stated rule. Fencing it off is done where it is asked.

The rule: what tools say is cut first, in steps of `_STEP_LIMITS`; people and the assistant keep twice as much. When
that is not enough, steps are left out: the last and the first user message stay, then those that the caller names and
failed calls, then the rest from both ends inwards. Each gap says how many steps it leaves out.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

_STEP_LIMITS = (4_000, 2_000, 1_000, 500)  # characters of a tool's arguments or result, tried in this order
_SPEECH_FACTOR = 2
_CALLS = ("tool_call", "tool_result")
_LINE_END = re.compile(r"\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


class Rendering(NamedTuple):
    """A transcript as text."""

    text: str
    n_left_out: int  # steps that had no room
    is_shortened: bool  # whether any text is missing


def render(transcript: Sequence[Mapping[str, Any]], max_chars: int, *, keep: Collection[int] = ()) -> Rendering:
    """The transcript, one numbered step after another, in at most `max_chars` characters.

    `keep` are the places, from 0, of steps that matter most after the two ends: what a pattern or the evidence hits.
    """
    steps: list[str] = []
    for limit in (None, *_STEP_LIMITS):
        steps = [_step(i, message, limit) for i, message in enumerate(transcript, start=1)]
        if sum(map(len, steps)) + len(steps) - 1 <= max_chars:
            return Rendering("\n".join(steps), 0, limit is not None)
    kept = _kept(transcript, [len(step) for step in steps], max_chars, keep)
    lines: list[str] = []
    n_missing = 0
    for i, step in enumerate(steps):
        if i in kept:
            lines += [_gap(n_missing)] if n_missing else []
            lines.append(step)
            n_missing = 0
        else:
            n_missing += 1
    lines += [_gap(n_missing)] if n_missing else []
    return Rendering(cut("\n".join(lines), max_chars), len(steps) - len(kept), True)


def cut(text: str, limit: int) -> str:
    """The beginning and the end of the text, in at most `limit` characters, with the middle named as missing."""
    if len(text) <= limit:
        return text
    mark = f" [... {len(text) - limit} characters left out ...] "
    rest = max(0, limit - len(mark))
    return (text[: rest - rest // 2] + mark + text[len(text) - rest // 2 :])[:limit]


def _step(number: int, message: Mapping[str, Any], limit: int | None) -> str:
    role, tool = message["role"], message["tool"] or "unknown"
    failed = " FAILED" if message["is_error"] else ""
    said_by = {
        "tool_call": f"the assistant calls tool {tool}{failed} with",
        "tool_result": f"tool {tool}{failed} returns",
    }.get(role, role)
    content = message["content"] or ""
    if limit is not None:
        content = cut(content, limit if role in _CALLS else limit * _SPEECH_FACTOR)
    # Lines of the content are set in, so that it cannot look like another step.
    return f"{number}. {said_by}: " + _LINE_END.sub("\n   ", content)


def _kept(
    transcript: Sequence[Mapping[str, Any]], lengths: Sequence[int], max_chars: int, keep: Collection[int]
) -> set[int]:
    n = len(transcript)
    first_user = next((i for i, message in enumerate(transcript) if message["role"] == "user"), 0)
    failed = [i for i, message in enumerate(transcript) if message["is_error"]]
    from_both_ends = [i for pair in zip(range(n), range(n - 1, -1, -1), strict=True) for i in pair]
    kept: set[int] = set()
    room = max_chars - len(_gap(n)) - 1  # there may be a gap at the end
    for i in dict.fromkeys([n - 1, first_user, *sorted(keep), *failed, *from_both_ends]):
        cost = lengths[i] + 1 + len(_gap(n)) + 1  # each may have a gap before it
        if cost <= room:
            kept.add(i)
            room -= cost
    return kept or {n - 1}


def _gap(n_steps: int) -> str:
    return f"[... {n_steps} steps left out ...]"
