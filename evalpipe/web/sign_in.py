"""Who sits at the review page: a reviewer with a token, or, on a machine of one's own, a name taken from a list.

The cookie holds the token itself, out of reach of scripts, and each request is checked anew: what is revoked is out at
once. Tokens are made and kept by review/tokens.py; what the page shows is review_pages.py's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from evalpipe.review.desk.tokens import has_tokens, reviewer_of
from evalpipe.web.review_templates import page

SIGN_IN = "/review/sign-in"

_COOKIE = "evalpipe_reviewer"
_COOKIE_AGE_S = 90 * 24 * 3600  # a quarter: one who reads two hours a week does not sign in every week


class SignInNeededError(Exception):
    """Nobody is signed in, or their token was revoked."""


@dataclass(frozen=True)
class Door:
    """Lets reviewers in.

    Without any token issued it asks for no more than a name, which is right for one's own machine, and is closed on
    every other address.
    """

    tokens: Path
    only_loopback: bool
    reviewers: Callable[[], list[str]]  # who has a queue

    def reviewer(self, request: Request) -> str:
        """Who sends this request. Raises SignInNeededError; HTTPException (403) while the door is closed."""
        presented = unquote(request.cookies.get(_COOKIE, ""))
        name = self._name_of(presented) if presented else None
        if name is None:
            self._require_open()
            raise SignInNeededError
        return name

    def writer(self, request: Request, form: dict[str, str]) -> str:
        """Who sends the form. Raises HTTPException (409) when somebody else has signed in since it was shown."""
        reviewer = self.reviewer(request)
        if form.get("reviewer", reviewer) != reviewer:
            raise HTTPException(
                409,
                f"This page was opened by {form['reviewer']}, and now {reviewer} is signed in here, so nothing was "
                "saved. Sign in as the one whose answer it is.",
            )
        return reviewer

    def form(self, request: Request) -> Response:
        """The page to sign in on. A token in the address moves behind its #, which reaches no log and no other site."""
        self._require_open()
        if token := request.query_params.get("token"):
            return RedirectResponse(f"{SIGN_IN}#{quote(token)}", 303)
        return self._form()

    def sign_in(self, request: Request, form: dict[str, str]) -> Response:
        """Set the cookie for a good `token`, or without tokens for the name of a `reviewer`; else the form again."""
        self._require_open()
        presented = form.get("token") or form.get("reviewer") or ""
        if self._name_of(presented) is None:
            return self._form(is_refused=True)
        response = RedirectResponse("/review", 303)
        response.set_cookie(
            _COOKIE,
            quote(presented),
            max_age=_COOKIE_AGE_S,
            path="/review",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    def sign_out(self) -> Response:
        """Forget who this is."""
        response = RedirectResponse(SIGN_IN, 303)
        response.delete_cookie(_COOKIE, path="/review", httponly=True, samesite="strict")
        return response

    def _name_of(self, presented: str) -> str | None:
        if has_tokens(self.tokens):
            return reviewer_of(self.tokens, presented)
        return presented if self.only_loopback and presented in self.reviewers() else None

    def _form(self, *, is_refused: bool = False) -> Response:
        by_token = has_tokens(self.tokens)
        names = [] if by_token else self.reviewers()
        return page("sign_in", status=403 if is_refused else 200, by_token=by_token, names=names, is_refused=is_refused)

    def _require_open(self) -> None:
        if not self.only_loopback and not has_tokens(self.tokens):
            raise HTTPException(
                403,
                "This server can be reached from other machines and nobody has a key to the review page yet, so it is "
                "closed. Whoever runs it makes one with: evalpipe reviewers invite NAME",
            )
