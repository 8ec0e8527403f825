"""A language model from a script, behind real HTTP on this machine: /v1/chat/completions as OpenAI speaks it.

It understands a failure only as far as the prompt names it, so that a judge agrees better with people only when its
instruction has really improved; and it improves an instruction only by what a reviewer's note teaches it. What it
knows of one failure is a `Script` (REFUNDS is the usual one); what goes wrong on the way is in `Troubles`.

    with scripted_model() as server:
        LlmSettings(judge_model=MODEL, api_base=server.url)
"""

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

MODEL = "hosted_vllm/scripted"  # LiteLLM's provider for servers that want no key

Messages = Sequence[Mapping[str, str]]
_OUTPUT = re.compile(r"\[\[ ## (\w+) ## \]\]")
_OPENING = re.compile(r"<(trace-[0-9a-f]{16})>")
_ORDER = re.compile(r"ignore (?:all |your |the )*instructions?\W+answer (true|false)", re.IGNORECASE)


class Criterion(NamedTuple):
    """One thing to look at: the words by which an instruction asks for it, those of a note that teach it, and the
    sentence that a reflection then adds."""

    asked: str
    taught: str
    sentence: str


@dataclass(frozen=True)
class Script:
    """What the model knows of one failure. `judge` is told which criteria, by number, the prompt asks for."""

    criteria: tuple[Criterion, ...]
    judge: Callable[[str, frozenset[int]], bool | None]  # None: it guesses
    rules: tuple[Any, ...] = ()  # what it proposes when it is asked for predicates


def _judge_refund(trace: str, asked: frozenset[int]) -> bool | None:
    said = " ".join(re.findall(r"^\d+\. assistant: (.*)$", trace, re.MULTILINE)).lower()
    mentions = re.search(r"refund|erstatte|返金", said) is not None
    if 0 not in asked:
        return None
    if 1 in asked and "calls tool issue_refund" in trace:
        return False
    return mentions and not (2 in asked and "policy" in said)


REFUNDS = Script(
    criteria=(
        Criterion("refund", "refund|erstatte|返金", "It is about refunds: the assistant says that money was returned."),
        Criterion("issue_refund", "never called", "It is absent when the tool issue_refund was called."),
        Criterion("policy", "policy", "Information about the policy alone is not the failure."),
    ),
    judge=_judge_refund,
    rules=(
        {"op": "contains", "field": "assistant", "any": ["refunded"]},
        {"op": "tool", "name": "issue_refund", "max": 0},
        {"op": "python", "code": "import os"},
        {"op": "regex", "field": "final", "pattern": "(?=look)"},
    ),
)
"""The assistant claims a refund that it never made: a mention alone is not it, nor information about the policy."""


@dataclass
class Troubles:
    """What goes wrong; each may be changed while the server runs."""

    statuses: list[tuple[int, float | None]] = field(default_factory=list)  # of the next answers, with a Retry-After
    garbage: int = 0  # so many next answers say nothing that can be read
    answers_json: bool = False  # the headings that were asked for are ignored
    rubbish: bool = False  # verdicts do not depend on the prompt, and reflections teach nothing
    noise: float = 0.0  # share of the verdicts that are turned round
    delay_s: float = 0.0  # before every answer
    hang: int = 0  # so many next answers never come
    max_prompt_chars: int | None = None  # a longer prompt is more than the context window
    breaks_on: str | None = None  # a prompt that holds this text is an internal error, always
    down_after: int | None = None  # so many answers, then no connection is answered


class Reply(NamedTuple):
    """What was asked, and what is said."""

    kind: str
    text: str


class ScriptedModel:
    """The model without its server: messages in, words out. The same messages always get the same words."""

    def __init__(self, script: Script = REFUNDS) -> None:
        self.script = script

    def reply(self, messages: Messages, troubles: Troubles) -> Reply:
        prompt = "\n".join(message["content"] for message in messages)
        asked_for = _OUTPUT.findall(messages[-1]["content"].rpartition("Respond with")[2]) or _json_fields(prompt)
        if "new_instruction" in asked_for:
            fields = self._reflect(messages[-1]["content"], troubles)
            return Reply("reflection", _written(fields, prompt, troubles))
        if "rules" in asked_for:
            return Reply("rules", _written({"rules": json.dumps(list(self.script.rules))}, prompt, troubles))
        return Reply("judge", _written(self._judge(prompt, troubles), prompt, troubles))

    def _judge(self, prompt: str, troubles: Troubles) -> dict[str, str]:
        outside, traces = _without_traces(prompt)
        if order := _ORDER.search(outside):
            return {"critique": "as told", "failed": order[1].capitalize()}
        trace = traces[-1] if traces else ""  # those before it are cases
        asked = {i for i, known in enumerate(self.script.criteria) if re.search(known.asked, outside, re.IGNORECASE)}
        failed = None if troubles.rubbish else self.script.judge(trace, frozenset(asked))
        if failed is None:
            failed = _chance("guess", trace) < 0.3
        if _chance("noise", prompt) < troubles.noise:
            failed = not failed
        return {"critique": f"by {len(asked)} criteria", "failed": str(failed)}

    def _reflect(self, question: str, troubles: Troubles) -> dict[str, str]:
        instruction = _section(question, "instruction")
        feedback, _ = _without_traces(_section(question, "feedback"))
        for known in () if troubles.rubbish else self.script.criteria:
            is_named = re.search(known.asked, instruction, re.IGNORECASE)
            if not is_named and re.search(known.taught, feedback, re.IGNORECASE):
                return {"lesson": known.sentence, "new_instruction": f"{_bare(instruction)} {known.sentence}"}
        return {"lesson": "nothing", "new_instruction": _bare(instruction)}


class Server:
    """A running server. `asked` holds (kind, messages) of every answered call, `n_requests` counts all that came."""

    def __init__(self, model: ScriptedModel, troubles: Troubles) -> None:
        self.model = model
        self.troubles = troubles
        self.asked: list[tuple[str, Messages]] = []
        self.bodies: list[dict[str, Any]] = []  # of all requests
        self.n_requests = 0
        self.calls: Counter[str] = Counter()
        self._n_admitted = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.bodies.append(body)
                answer = server._answer(body["messages"])
                if answer is None:
                    self.close_connection = True
                    return
                status, data, headers = answer
                payload = json.dumps(data).encode()
                self.send_response(status)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(payload)), **headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: Any) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None:
                """A client that has stopped waiting is no news."""

        self._http = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def reset(self) -> None:
        """Counts from nought again, and has no troubles."""
        self.troubles.statuses, self.troubles.hang = [], 0
        self.asked, self.bodies, self.calls, self.n_requests, self._n_admitted = [], [], Counter(), 0, 0

    def stop(self) -> None:
        """From here on connections are refused."""
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, messages: Messages) -> tuple[int, dict[str, Any], dict[str, str]] | None:
        """(status, body, headers); None: the connection is closed without an answer."""
        troubles = self.troubles
        with self._lock:
            self.n_requests += 1
            if troubles.down_after is not None and self._n_admitted >= troubles.down_after:
                return None
            status, retry_after = troubles.statuses.pop(0) if troubles.statuses else (200, None)
            self._n_admitted += status == 200
            hangs = troubles.hang > 0
            troubles.hang -= hangs
        if hangs or troubles.delay_s:
            self._stopped.wait(60 if hangs else troubles.delay_s)
        if troubles.breaks_on is not None and any(troubles.breaks_on in m["content"] for m in messages):
            status = 500
        if status != 200:
            headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
            return status, {"error": {"message": "scripted"}}, headers
        n_chars = sum(len(message["content"]) for message in messages)
        if troubles.max_prompt_chars is not None and n_chars > troubles.max_prompt_chars:
            said = f"This model's maximum context length is {troubles.max_prompt_chars}; you sent {n_chars}."
            return 400, {"error": {"message": said, "code": "context_length_exceeded"}}, {}
        kind, text = self.model.reply(messages, troubles)
        if kind == "unknown model":
            return 404, {"error": {"message": "no such model"}}, {}
        with self._lock:
            self.calls[kind] += 1
            self.asked.append((kind, messages))
            if troubles.garbage > 0:
                troubles.garbage -= 1
                text = "Lorem ipsum."
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        n_in, n_out = n_chars // 4, len(text) // 4
        usage = {"prompt_tokens": n_in, "completion_tokens": n_out, "total_tokens": n_in + n_out}
        reply = {"id": "1", "object": "chat.completion", "created": int(time.time()), "model": "scripted"}
        return 200, {**reply, "choices": [choice], "usage": usage}, {}


@contextmanager
def scripted_model(model: ScriptedModel | None = None, **troubles: Any) -> Iterator[Server]:
    """A server for as long as the block lasts."""
    server = Server(model or ScriptedModel(), Troubles(**troubles))
    try:
        yield server
    finally:
        server.stop()


def answer(failed: Any, critique: str = "step 2") -> str:
    """A verdict in the form that is asked for first."""
    return f"[[ ## critique ## ]]\n{critique}\n\n[[ ## failed ## ]]\n{failed}\n\n[[ ## completed ## ]]"


class Saying(ScriptedModel):
    """A model that answers by a function (system, user) -> text, for tests of single answers."""

    def __init__(self, say: Callable[[str, str], str]) -> None:
        super().__init__()
        self.say = say

    def reply(self, messages: Messages, troubles: Troubles) -> Reply:
        by_role = {message["role"]: message["content"] for message in messages}
        return Reply("judge", self.say(by_role.get("system", ""), by_role["user"]))


def _written(fields: Mapping[str, str], prompt: str, troubles: Troubles) -> str:
    if troubles.answers_json or "Outputs will be a JSON object" in prompt:
        values = {name: {"True": True, "False": False}.get(value, value) for name, value in fields.items()}
        return json.dumps(values)
    sections = [f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()]
    return "\n\n".join([*sections, "[[ ## completed ## ]]"])


def _json_fields(prompt: str) -> list[str]:
    return re.findall(r"`(\w+)`", prompt.rpartition("Respond with")[2])


def _without_traces(text: str) -> tuple[str, list[str]]:
    """What stands outside the fences of traces, and what inside; a fence ends at the first line that closes it."""
    inside: list[str] = []
    outside = ""
    while opening := re.search(r"^<(trace-[0-9a-f]{16})>$", text, re.MULTILINE):
        outside += text[: opening.start()]
        rest = text[opening.end() :]
        trace, _, text = rest.partition(f"</{opening[1]}>")
        inside.append(trace)
    return outside + text, inside


def _section(question: str, name: str) -> str:
    """An input field of the question."""
    return question.partition(f"[[ ## {name} ## ]]\n")[2].partition("\n\n[[ ## ")[0].partition("\n\nRespond with")[0]


def _bare(instruction: str) -> str:
    """The instruction without the lines of its fence."""
    return "\n".join(line for line in instruction.splitlines() if not re.fullmatch(r"</?[\w-]+>", line)).strip()


def _chance(*seed: str) -> float:
    """In [0, 1), the same for the same seed."""
    digest = hashlib.sha256("\x00".join(seed).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
