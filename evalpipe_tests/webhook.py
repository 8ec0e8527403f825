"""A webhook on loopback: it keeps what it is told, and answers with the statuses that a test has lined up."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from evalpipe_tests.loopback import serving


class Webhook:
    """`answers` are the next statuses, the last of which is given for ever; without any it takes everything."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/hooks/s3cret-token"
        self.answers: list[int] = []
        self.asked: list[dict[str, Any]] = []
        self.taken: list[dict[str, Any]] = []

    @property
    def headlines(self) -> list[str]:
        return [message["blocks"][0]["text"]["text"] for message in self.taken]

    def receive(self, message: dict[str, Any]) -> int:
        status = 200 if not self.answers else self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.asked.append(message)
        if status == 200:
            self.taken.append(message)
        return status


@contextmanager
def webhook() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(hook.receive(json.loads(body)))
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        hook = Webhook(url)
        yield hook
