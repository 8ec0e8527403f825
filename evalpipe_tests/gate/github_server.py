"""As much of GitHub's REST API as the gate speaks, over real HTTP on loopback.

Statuses, comments of several users, pages with a Link header, tokens with permissions, faults that a test lines up.
Source: docs.github.com/rest, "Commit statuses", "Issue comments", "Using pagination", "Rate limits for the REST API".
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from evalpipe_tests.loopback import serving


class Said(NamedTuple):
    """An answer."""

    status: int
    content: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012  # a default that nobody changes


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    content: Any


@dataclass
class Token:
    """Who it is of, and what it may do. GitHub Actions' own is of a bot and may not ask who it is."""

    login: str = "github-actions[bot]"
    may: frozenset[str] = frozenset({"statuses", "pull-requests"})

    @property
    def user(self) -> dict[str, str]:
        return {"login": self.login, "type": "Bot" if self.login.endswith("[bot]") else "User"}


@dataclass
class Github:
    """One repository, acme/shop, with one commit and pull request 7. `faults` are answered first, in order."""

    url: str
    tokens: dict[str, Token] = field(default_factory=dict)
    shas: set[str] = field(default_factory=lambda: {"a" * 40})
    statuses: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    faults: list[Said] = field(default_factory=list)
    loses: int = 0  # so many next comments are written, and the answer is a 502

    def comment(self, login: str, body: str) -> None:
        self.comments.append({"id": 1_000 + len(self.comments), "user": Token(login).user, "body": body})

    def answer(self, asked: Asked) -> Said:
        self.asked.append(asked)
        if self.faults:
            return self.faults.pop(0)
        kind, _, value = asked.headers.get("authorization", "").partition(" ")
        token = self.tokens.get(value)
        if kind != "Bearer" or token is None:
            return Said(401, {"message": "Bad credentials"})
        url = urlsplit(asked.path)
        if url.path == "/user":
            if token.login.endswith("[bot]"):
                return Said(403, {"message": "Resource not accessible by integration"})
            return Said(200, token.user)
        if not url.path.startswith("/repos/acme/shop/"):
            return Said(404, {"message": "Not Found"})
        rest = url.path.removeprefix("/repos/acme/shop")
        if found := re.fullmatch("/statuses/([0-9a-f]+)", rest):
            return self._status(found.group(1), asked, token)
        if rest == "/issues/7/comments" and asked.method == "GET":
            return self._page(url.path, parse_qs(url.query))
        if rest == "/issues/7/comments" and asked.method == "POST":
            return self._write(asked, token, None)
        if (found := re.fullmatch("/issues/comments/([0-9]+)", rest)) and asked.method == "PATCH":
            return self._write(asked, token, int(found.group(1)))
        return Said(404, {"message": "Not Found"})

    def _status(self, sha: str, asked: Asked, token: Token) -> Said:
        if "statuses" not in token.may:
            return Said(403, {"message": "Resource not accessible by integration"})
        if sha not in self.shas:
            return Said(422, {"message": f"No commit found for SHA: {sha}"})
        description = asked.content.get("description") or ""
        if asked.content.get("state") not in ("error", "failure", "pending", "success"):
            return Said(422, {"message": "Validation Failed"})
        if len(description) > 140 or any(ord(char) > 0xFFFF for char in description):
            return Said(422, {"message": "Validation Failed", "errors": [{"field": "description"}]})
        self.statuses.append({"sha": sha, **asked.content})
        return Said(201, self.statuses[-1])

    def _page(self, path: str, query: dict[str, list[str]]) -> Said:
        size, page = min(int(query.get("per_page", ["30"])[0]), 100), int(query.get("page", ["1"])[0])
        shown = self.comments[(page - 1) * size : page * size]
        is_more = len(self.comments) > page * size
        link = f'<{self.url}{path}?per_page={size}&page={page + 1}>; rel="next"'
        return Said(200, shown, {"Link": link} if is_more else {})

    def _write(self, asked: Asked, token: Token, comment_id: int | None) -> Said:
        if "pull-requests" not in token.may:
            return Said(403, {"message": "Resource not accessible by integration"})
        body = asked.content["body"]
        if len(body) > 65_536:
            return Said(422, {"message": "Validation Failed: body is too long (maximum is 65536 characters)"})
        if comment_id is None:
            self.comment(token.login, body)
        else:
            (known,) = [comment for comment in self.comments if comment["id"] == comment_id]
            known["body"] = body
        if self.loses:
            self.loses -= 1
            return Said(502, {"message": "Server Error"})
        return Said(200 if comment_id else 201, self.comments[-1])


@contextmanager
def github() -> Iterator[Github]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = served.answer(Asked(self.command, self.path, headers, json.loads(content) if content else None))
            body = json.dumps(said.content).encode()
            self.send_response(said.status)
            for name, value in {**said.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815  # named by http.server

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        served = Github(url)
        yield served
