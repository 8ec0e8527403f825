"""The gate's webhook as docs/gate-webhook.md describes it, on loopback, for the scripts that ask it.

It verifies what was signed, and when; a release whose answers say "sorry" is blocked. How the real one judges is not
its matter.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from evalpipe_tests.loopback import serving

KEY = "k3y of the $pipeline"
GATE = "0123456789abcdef0123456789abcdef"


class Said(NamedTuple):
    """An answer."""

    status: int
    content: Any = None


@dataclass
class GateServer:
    """`faults` are answered first, in order; after `n_waits` answers "not yet" the decision is told."""

    url: str
    faults: list[Said | None] = field(default_factory=list)  # None hangs up without an answer
    n_waits: int = 0
    asked: list[tuple[dict[str, str], Any]] = field(default_factory=list)  # questions that were taken
    keys: list[str] = field(default_factory=list)  # the Idempotency-Key of each request, taken or not
    polls: int = 0
    decision: dict[str, Any] = field(default_factory=dict)

    def ask(self, path: str, headers: dict[str, str], body: bytes) -> Said | None:
        self.keys.append(headers.get("idempotency-key", ""))
        if self.faults:
            return self.faults.pop(0)
        if headers.get("content-type") != "application/json":
            return Said(415, {"error": "the content type must be application/json"})
        claimed = headers.get("x-hub-signature-256", "")
        expected = "sha256=" + hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(claimed, expected):
            return Said(401, {"error": "no valid signature"})
        question = json.loads(body)
        if not abs(time.time() - question.pop("sent_at")) <= 300:
            return Said(401, {"error": "this was signed more than 300 s ago"})
        self.asked.append((headers, question))
        if question.get("release") == "9.9.9":
            return Said(422, {"id": GATE, "status": "failed", "error": "release 9.9.9 was never seen", "exit_code": 2})
        self.decision = _decided(question)
        if self.n_waits or not path.endswith("?wait=1"):
            return Said(202, {"id": GATE, "status": "queued", "url": f"/gate/{GATE}"})
        return Said(200, self.decision)

    def show(self, path: str) -> Said:
        self.polls += 1
        if path != f"/gate/{GATE}":
            return Said(404, {"error": "there is no such gate"})
        told = {"id": GATE, "url": path}
        if self.polls < self.n_waits:
            return Said(200, told | {"status": "running"})
        return Said(200, told | {"status": "done", "exit_code": self.decision["exit_code"], "decision": self.decision})


def _decided(question: Any) -> dict[str, Any]:
    outputs = [case["output"] for case in question.get("cases", [])]
    n_bad = sum("sorry" in output for output in outputs)
    decision, code = ("block", 1) if n_bad else ("pass", 0)
    reasons = [f"{n_bad} of {len(outputs)} cases say sorry", "a name\n::set-env name=X::\x1b[31m"]
    return {"decision": decision, "exit_code": code, "reasons": reasons}


@contextmanager
def gate_server() -> Iterator[GateServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._say(served.ask(self.path, headers, body))

        def do_GET(self) -> None:
            self._say(served.show(self.path))

        def _say(self, said: Said | None) -> None:
            if said is None:
                return
            body = b"" if said.content is None else json.dumps(said.content).encode()
            self.send_response(said.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        served = GateServer(url)
        yield served
