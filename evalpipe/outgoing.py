"""One HTTP request to an address that the user has set, and to no other: it follows no redirect.

What is asked and what an answer means is the caller's; so are tries and waiting. Addresses and headers may hold
secrets, so no error here repeats them.
"""

from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from evalpipe.errors import UndeliveredError

_MAX_ANSWER_BYTES = 16 * 1024 * 1024  # of which a hundred comments of the greatest length take some 7 MB


class UnreachableError(UndeliveredError):
    """There was no answer. The message is the kind of failure alone, such as ConnectionRefusedError."""


class Answer(NamedTuple):
    """What was answered, whatever its status."""

    status: int
    headers: Message  # read by name in any case
    body: bytes  # cut after 16 MiB

    @property
    def is_taken(self) -> bool:
        return 200 <= self.status < 300


def send(method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_s: float) -> Answer:
    """The answer of `url`, which is http:// or https://. Raises UnreachableError for anything that is no answer."""
    try:
        if not url.startswith(("http://", "https://")):
            raise UnreachableError("no http:// or https:// address")
        request = Request(url, data=body, headers=dict(headers), method=method)
        with build_opener(_NoRedirects).open(request, timeout=timeout_s) as response:
            return Answer(response.status, response.headers, response.read(_MAX_ANSWER_BYTES))
    except HTTPError as error:
        with error:
            return Answer(error.code, error.headers, _said_with(error))
    except (URLError, OSError, HTTPException, ValueError) as error:
        # Its text may hold the address.
        kind = type(error.reason if isinstance(error, URLError) else error).__name__
        raise UnreachableError(kind) from None


class _NoRedirects(HTTPRedirectHandler):
    """An address that moved is for the user to change: what is told goes to no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _said_with(error: HTTPError) -> bytes:
    """The body of an error, which only explains it: one that breaks off is as good as none."""
    try:
        return error.read(_MAX_ANSWER_BYTES)
    except (OSError, HTTPException):
        return b""
