"""The spans of one trace -> its transcript: what was said and done, in order, each step once.

Instrumentation differs in what a model call carries: most carry the whole history so far, some one turn, some
nothing but text. The longest history is the best witness; tool spans say what was really called and whether it
worked; where there are no messages at all, the root's input and output and the tool spans in time order remain.
"""

from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from evalpipe.traces.messages import Step, message_list, plain_text, steps_of


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A model call: its times in ns, and its texts as SPANS has them."""

    start: int
    end: int
    input: str | None
    output: str | None
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool span."""

    start: int
    end: int
    name: str | None
    call_id: str | None
    input: str | None
    output: str | None
    is_success: bool | None
    status_message: str | None = None


@dataclass(frozen=True, slots=True)
class TraceParts:
    """What a transcript is made from. The lists are in order of start; `input` and `output` are the root's."""

    input: str | None
    output: str | None
    model_calls: list[ModelCall] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)


class Transcript(NamedTuple):
    """The steps, and the message that the trace answers."""

    steps: list[Step]
    request: str | None
    response: str | None


def transcript_of(parts: TraceParts) -> Transcript:
    """The transcript of one trace. `request` is the root's input, else the last user message before the first model
    call (what stands before it is history), else the first user message. `response` is the last assistant message.
    """
    root_input, root_output = steps_of(parts.input, "user"), steps_of(parts.output, "assistant")
    steps = _conversation(parts.model_calls, root_input)
    if not any(step.role in ("user", "assistant") for step in steps):
        steps = [step for step in steps if step.role == "system"] + root_input
        steps = _with_tools(steps, parts.tool_calls, []) + root_output
    else:
        if not any(step.role == "user" for step in steps):
            n_system = sum(step.role == "system" for step in steps)
            steps[n_system:n_system] = [step for step in root_input if step.role == "user"]
        steps = _with_tools(steps, parts.tool_calls, parts.model_calls)
        said = {_letters(step.content) for step in steps if step.role == "assistant"}
        # What the application made of the model's words is what the user saw.
        steps += [step for step in root_output if step.role == "assistant" and _letters(step.content) not in said]
    return Transcript(steps, _request(parts, root_input, steps), _last(steps, "assistant"))


def _request(parts: TraceParts, root_input: list[Step], steps: list[Step]) -> str | None:
    asked = _last(root_input, "user")
    if asked is None and parts.model_calls:
        asked = _last(steps_of(parts.model_calls[0].input, "user"), "user")
    return asked if asked is not None else next((step.content for step in steps if step.role == "user"), None)


def _letters(text: str) -> str:
    """A text without its white space: JSON that was laid out anew says the same."""
    return "".join(text.split())


def _last(steps: list[Step], role: str) -> str | None:
    return next((step.content for step in reversed(steps) if step.role == role), None)


def _conversation(calls: list[ModelCall], root_input: list[Step]) -> list[Step]:
    """What the model calls say, without looking at tool spans."""
    if not calls:
        return []
    base, history = _longest_history(calls)
    if history is not None and (len(calls) == 1 or any(step.role not in ("system", "user") for step in history)):
        steps = history + _output(calls[base])
        later = calls[base + 1 :]
    else:  # Each call carries its own turn only.
        steps, later = [], calls
    for call in later:
        steps = _joined(steps, _input(call, root_input))
        steps += [step for step in _output(call) if not _same(step, steps[-1] if steps else None)]
    return _with_instructions(steps, calls)


def _longest_history(calls: list[ModelCall]) -> tuple[int, list[Step] | None]:
    """The call with the longest message list (the last of equals) and the list; the others are not even parsed."""
    by_length = sorted(range(len(calls)), key=lambda i: (len(calls[i].input or ""), i), reverse=True)
    for i in by_length:
        history = message_list(calls[i].input)
        if history is not None:
            return i, history
    return len(calls) - 1, None


def _input(call: ModelCall, root_input: list[Step]) -> list[Step]:
    """A prompt in plain text that holds the user's words is a template round them: the words are what was said."""
    asked = _last(root_input, "user")
    if asked and asked in (call.input or "") and message_list(call.input) is None:
        return root_input
    return steps_of(call.input, "user")


def _output(call: ModelCall) -> list[Step]:
    return [replace(s, role="assistant") if s.role == "user" else s for s in steps_of(call.output, "assistant")]


def _joined(steps: list[Step], more: list[Step]) -> list[Step]:
    """`steps` and then `more` without the part of it that repeats their end (a window over the same history)."""
    more = [step for step in more if step.role != "system" or not steps]
    for n_shared in range(min(len(steps), len(more)), 0, -1):
        if all(_same(a, b) for a, b in zip(steps[-n_shared:], more, strict=False)):
            return steps + more[n_shared:]
    last = {step.role: step for step in steps}
    while more and _same(more[0], last.get(more[0].role)):  # a second model reads the same question
        more = more[1:]
    return steps + more


def _same(step: Step, other: Step | None) -> bool:
    return other is not None and (step.role, step.content, step.tool) == (other.role, other.content, other.tool)


def _with_instructions(steps: list[Step], calls: list[ModelCall]) -> list[Step]:
    """System instructions that were sent apart stand first, those of the first call that has any, once."""
    text = next((text for call in calls if (text := plain_text(call.instructions))), None)
    if text is None or any(step.role == "system" and step.content == text for step in steps):
        return steps
    return [Step("system", text), *steps]


def _with_tools(steps: list[Step], tools: list[ToolCall], calls: list[ModelCall]) -> list[Step]:
    """Steps with what the tool spans know: names, results, errors, and calls that no message mentions."""
    matches = _matches(steps, tools)
    results = {step.call_id for step in steps if step.role == "tool_result" and step.call_id}
    name_of = {step.call_id: step.tool for step in steps if step.role == "tool_call" and step.call_id}
    out: list[Step] = []
    n_unanswered = sum(step.role == "tool_call" for step in steps) - sum(step.role == "tool_result" for step in steps)
    owed: deque[ToolCall | None] = deque()  # calls whose results carry no id, in order
    for step, tool in zip(steps, matches, strict=True):
        if step.role == "tool_call":
            out.append(replace(step, tool=step.tool or (tool.name if tool else None)))
            if step.call_id in results:
                continue
            if tool is not None and n_unanswered > 0:
                n_unanswered -= 1
                out.append(_result(tool))
            else:
                owed.append(tool)
        elif step.role == "tool_result":
            if tool is None and step.call_id not in name_of and owed:
                tool = owed.popleft()
            out.append(_completed(step, tool, name_of.get(step.call_id) if step.call_id else None))
        else:
            out.append(step)
    used = {id(tool) for tool in matches if tool is not None}
    return _inserted(out, [tool for tool in tools if id(tool) not in used], calls)


def _matches(steps: list[Step], tools: list[ToolCall]) -> list[ToolCall | None]:
    """The tool span of each step, by call id, else the next unused of that name. One serves a call and its result."""
    by_id: dict[str | None, deque[ToolCall]] = defaultdict(deque)
    by_name: dict[str | None, deque[ToolCall]] = defaultdict(deque)
    mentioned = {step.call_id for step in steps if step.call_id}
    for tool in tools:
        if tool.call_id in mentioned:
            by_id[tool.call_id].append(tool)
        else:
            by_name[tool.name].append(tool)
    of_call: dict[str | None, ToolCall] = {}
    found: list[ToolCall | None] = []
    for step in steps:
        match: ToolCall | None = None
        if step.role == "tool_call":
            # Some applications name the first call of every turn alike, so a span is used up.
            waiting = by_id[step.call_id] or by_name[step.tool]
            match = waiting.popleft() if waiting else None
            if match is not None and step.call_id:
                of_call[step.call_id] = match
        elif step.role == "tool_result" and step.call_id:
            waiting = by_id[step.call_id]
            match = of_call.get(step.call_id) or (waiting.popleft() if waiting else None)
        found.append(match)
    return found


def _completed(step: Step, tool: ToolCall | None, name: str | None) -> Step:
    if tool is None:
        return replace(step, tool=step.tool or name)
    is_error = step.is_error if tool.is_success is None else not tool.is_success
    return replace(
        step,
        content=step.content or tool.output or tool.status_message or "",
        tool=step.tool or name or tool.name,
        is_error=is_error,
    )


def _result(tool: ToolCall) -> Step:
    is_error = None if tool.is_success is None else not tool.is_success
    content = tool.output or (tool.status_message if is_error else None) or ""
    return Step("tool_result", content, tool=tool.name, call_id=tool.call_id, is_error=is_error)


def _inserted(steps: list[Step], tools: list[ToolCall], calls: list[ModelCall]) -> list[Step]:
    """Put calls that no message mentions before the words of the model call that came next after them."""
    place_of: dict[int, list[ToolCall]] = defaultdict(list)
    for tool in tools:
        following = next((call for call in calls if call.start >= tool.end), None)
        spoken = (following.output or "").strip() if following else None
        places = [i for i, step in enumerate(steps) if step.role == "assistant" and step.content.strip() == spoken]
        if not places and following:
            places = [i for i, step in enumerate(steps) if step.role == "assistant"][-1:]
        place_of[places[-1] if places else len(steps)].append(tool)
    out: list[Step] = []
    for i, step in enumerate([*steps, None]):
        for tool in place_of.get(i, []):
            out += [Step("tool_call", tool.input or "", tool.name, tool.call_id), _result(tool)]
        if step is not None:
            out.append(step)
    return out
