"""A gate told to GitHub: one commit status, and one comment on the pull request that is kept up to date.

What is said is rendered by render/; who asks for it is the command line's or the webhook's matter. Nothing is sent
without a token. The token is in no message, log or error, and it goes to the API address of the settings alone, never
to one that a request names.
Source: GitHub REST API, "Commit statuses", "Issue comments", "Rate limits for the REST API".
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from evalpipe.errors import InputError, SettingsError, UndeliveredError
from evalpipe.gate.decide import Answer as Decided
from evalpipe.gate.render.plain import plain_terminal
from evalpipe.outgoing import Answer, UnreachableError, send
from evalpipe.settings import GithubSettings

_T = TypeVar("_T")

MARKER = "<!-- evalpipe-gate -->"
"""Begins the comment, unseen, so that the next gate finds it."""

_API_VERSION = "2022-11-28"
_MAX_DESCRIPTION = 140  # characters of a status
_MAX_BODY = 65_536  # characters of a comment
_PER_PAGE = 100  # comments; the most that GitHub gives
_MAX_PAGES = 50  # 5,000 comments: a pull request with more gets a second comment rather than a long wait
_LONGEST_WAIT_S = 60.0  # between two tries; GitHub may ask for an hour, for which no pipeline waits
_WHOLE_HOUR_S = 3_600.0
_NO_TOKEN = (
    "there is no token for GitHub, so nothing can be told there. "
    "Set EVALPIPE_GITHUB_TOKEN; in GitHub Actions: EVALPIPE_GITHUB_TOKEN: ${{ github.token }}"
)

_STATES: Mapping[Decided, str] = {"pass": "success", "block": "failure", "abstain": "error"}
_REPOSITORY = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}", re.ASCII)
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_WEB_ADDRESS = re.compile(r"https?://[^\s\x00-\x1f\x7f\"<>\\]{1,2000}")
_PULL_REF = re.compile(r"refs/pull/([1-9][0-9]{0,9})/(?:head|merge)")
_NOT_IN_A_STATUS = re.compile("[\U00010000-\U0010ffff]")  # GitHub: "description doesn't accept 4-byte Unicode"


@dataclass(frozen=True)
class GithubContext:
    """The commit that was judged. Raises InputError for anything that could turn an address into another."""

    repository: str  # OWNER/NAME
    sha: str  # of the commit, whole
    pull_request: int | None = None  # its number
    target_url: str | None = None  # where the status leads: the run of the pipeline, or the gate's page

    def __post_init__(self) -> None:
        if _REPOSITORY.fullmatch(self.repository) is None:
            raise InputError(f"{self.repository!r} is no GitHub repository. Give OWNER/NAME (GITHUB_REPOSITORY)")
        if _SHA.fullmatch(self.sha) is None:
            raise InputError(f"{self.sha!r} is no whole commit hash. Give its 40 hex digits (GITHUB_SHA)")
        if self.pull_request is not None and (isinstance(self.pull_request, bool) or self.pull_request < 1):
            raise InputError(f"{self.pull_request!r} is no number of a pull request. Give it as in its address")
        if self.target_url is not None and _WEB_ADDRESS.fullmatch(self.target_url) is None:
            raise InputError(f"{self.target_url!r} is no web address. Give one that begins with https://")

    def __str__(self) -> str:
        of = f", pull request {self.pull_request}" if self.pull_request else ""
        return f"{self.repository}, commit {self.sha[:12]}{of}"


class Reported(NamedTuple):
    """What GitHub took. `problems` says of the rest what failed, and what to do."""

    is_status_set: bool
    comment: Literal["created", "updated"] | None
    problems: tuple[str, ...] = ()

    @property
    def taken(self) -> tuple[str, ...]:
        """What GitHub took, in words."""
        status = ("status set",) if self.is_status_set else ()
        return (*status, f"comment {self.comment}") if self.comment else status


def context_from(environ: Mapping[str, str]) -> GithubContext | None:
    """What GitHub Actions says of its run; None elsewhere.

    For a pull request the commit is its head, which GITHUB_SHA is not. Another CI sets GITHUB_REPOSITORY, GITHUB_SHA
    and, for a pull request, GITHUB_REF=refs/pull/NUMBER/head. Raises InputError for a value of the wrong form, and for
    an event that cannot be read, without which the wrong commit would be marked.
    """
    repository, sha = environ.get("GITHUB_REPOSITORY"), environ.get("GITHUB_SHA")
    if not repository or not sha:
        return None
    ref = _PULL_REF.fullmatch(environ.get("GITHUB_REF", ""))
    number = int(ref.group(1)) if ref else None
    pull_request = _event_of(environ.get("GITHUB_EVENT_PATH")).get("pull_request")
    if isinstance(pull_request, dict):
        head = pull_request.get("head")
        sha = str(head.get("sha")) if isinstance(head, dict) else ""
        number = pull_request.get("number")
        if not isinstance(number, int):
            raise InputError("the event at GITHUB_EVENT_PATH has a pull request without a number")
    server, run_id = environ.get("GITHUB_SERVER_URL", "https://github.com"), environ.get("GITHUB_RUN_ID", "")
    is_run = re.fullmatch("[0-9]+", run_id) is not None
    url = f"{server.rstrip('/')}/{repository}/actions/runs/{run_id}" if is_run else None
    return GithubContext(repository, sha, number, url)


def settings_from(environ: Mapping[str, str], settings: GithubSettings) -> GithubSettings:
    """The settings with the API of the GitHub that runs this pipeline, unless the user has set another.

    Raises SettingsError without a token.
    """
    if settings.token is None:
        raise SettingsError(_NO_TOKEN)
    api_url = environ.get("GITHUB_API_URL")
    return settings.model_copy(update={"api_url": api_url}) if api_url and not _is_api_set(settings) else settings


def report(
    decided: Decided,
    headline: str,
    context: GithubContext,
    settings: GithubSettings,
    *,
    markdown: str,
    sleep: Callable[[float], None] = time.sleep,
) -> Reported:
    """Set the commit's status and, on a pull request, write the comment or bring it up to date.

    `headline` is the status, `markdown` the comment, each cut at GitHub's limit. What fails is in `problems` and never
    an error: the decision stands without it. It takes at most `max_tries` requests of `timeout_s` for each, and a
    minute between two.
    """
    if settings.token is None:
        return Reported(False, None, (_NO_TOKEN,))
    client = _Client(settings, context, sleep)
    problems: list[str] = []
    status: dict[str, str] = {
        "state": _STATES[decided],
        "context": settings.context,
        "description": _description(headline),
        **({"target_url": context.target_url} if context.target_url else {}),
    }
    is_status_set = False
    try:
        client.trying(lambda: client.ask("POST", f"/statuses/{context.sha}", status, "statuses: write"))
        is_status_set = True
    except UndeliveredError as error:
        problems.append(f"GitHub has no status of {context}: {error}")
    comment: Literal["created", "updated"] | None = None
    if context.pull_request is not None:
        try:
            # A comment whose answer was lost may stand: every try looks for it anew.
            comment = client.trying(lambda: _comment(client, context, _comment_body(markdown)))
        except UndeliveredError as error:
            problems.append(f"GitHub has no comment on {context}: {error}")
    return Reported(is_status_set, comment, tuple(problems))


class _Client:
    """Asks one repository's part of the API, with one token."""

    def __init__(self, settings: GithubSettings, context: GithubContext, sleep: Callable[[float], None]) -> None:
        assert settings.token is not None
        self._token = settings.token.get_secret_value()
        self._api = settings.api_url.rstrip("/")
        self._repository = f"/repos/{context.repository}"
        self._settings = settings
        self._sleep = sleep

    def trying(self, what: Callable[[], _T]) -> _T:
        """Do it, again where that may help. Raises UndeliveredError."""
        return Retrying(
            retry=retry_if_exception_type(_LaterError),
            stop=stop_after_attempt(self._settings.max_tries),
            wait=_wait_s,
            sleep=self._sleep,
            reraise=True,
        )(what)

    def ask(self, method: str, path: str, content: Mapping[str, Any] | None, permission: str) -> Answer:
        """Ask the repository. Raises UndeliveredError, of the kind _LaterError where another try may help."""
        answer = self._send(method, self._repository + path, content)
        if not answer.is_taken:
            raise _refusal(answer, permission, self._token)
        return answer

    def login(self) -> str | None:
        """Whose token it is; None where that is not told, as to a token of GitHub Actions."""
        answer = self._send("GET", "/user", None)
        if answer.status == 403 and not _is_limit(answer):
            return None
        if not answer.is_taken:
            raise _refusal(answer, "metadata: read", self._token)
        said = _json(answer)
        login = said.get("login") if isinstance(said, dict) else None
        return login if isinstance(login, str) else None

    def _send(self, method: str, path: str, content: Mapping[str, Any] | None) -> Answer:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "User-Agent": "evalpipe",
            "X-GitHub-Api-Version": _API_VERSION,
            "Content-Type": "application/json",
        }
        body = None if content is None else json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        timeout_s = self._settings.timeout_s
        try:
            return send(method, self._api + path, headers=headers, body=body, timeout_s=timeout_s)
        except UnreachableError as error:
            raise _LaterError(f"its API cannot be reached ({error}). See EVALPIPE_GITHUB__API_URL") from None


class _LaterError(UndeliveredError):
    """Another try may help, after `wait_s` seconds if GitHub said so."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait_s if isinstance(error, _LaterError) else None
    return min(2.0 ** (state.attempt_number - 1), _LONGEST_WAIT_S) if asked is None else asked


def _refusal(answer: Answer, permission: str, token: str) -> UndeliveredError:
    """What an answer that is no success means."""
    said = _message(answer, token)
    if _is_limit(answer):
        used_up = f"the token's rate limit is used up ({answer.status}){said}. Start it again later"
        wait_s = _asked_wait_s(answer)
        return UndeliveredError(used_up) if wait_s > _LONGEST_WAIT_S else _LaterError(used_up, wait_s)
    match answer.status:
        case 401:
            return UndeliveredError(f"it does not know the token (401){said}. Set EVALPIPE_GITHUB_TOKEN to a valid one")
        case 403:
            fork = "a pull request from a fork gets a token that may only read"
            return UndeliveredError(f"the token may not (403){said}. It needs {permission}; {fork}")
        case 404:
            return UndeliveredError(
                f"it finds no such repository, or the token may not see it (404){said}. It needs {permission}"
            )
        case 422:
            return UndeliveredError(
                f"it does not take it (422){said}. Is the commit in that repository? One commit and context "
                "can have 1,000 statuses"
            )
        case status if status >= 500 or status == 408:
            return _LaterError(f"it answered {status}{said}. Start it again later")
        case status:
            return UndeliveredError(f"it answered {status}{said}. See EVALPIPE_GITHUB__API_URL")


def _is_limit(answer: Answer) -> bool:
    """Whether it is a rate limit: 429, or 403 in one of the ways that tell it from a missing permission."""
    if answer.status == 429:
        return True
    headers = answer.headers
    return answer.status == 403 and (
        headers.get("retry-after") is not None
        or headers.get("x-ratelimit-remaining") == "0"
        or b"secondary rate limit" in answer.body
    )


def _asked_wait_s(answer: Answer) -> float:
    """How long GitHub wants to be left alone, in s. Without a word it means a minute, or that the hour is used up."""
    asked = answer.headers.get("retry-after", "")
    if re.fullmatch("[0-9]{1,9}", asked):
        return float(asked)
    return _WHOLE_HOUR_S if answer.headers.get("x-ratelimit-remaining") == "0" else _LONGEST_WAIT_S


def _message(answer: Answer, token: str) -> str:
    """What GitHub says of it, on one line, without the token; empty when it says nothing."""
    said = _json(answer)
    message = said.get("message") if isinstance(said, dict) else None
    line = plain_terminal(message).replace(token, "***")[:200].rstrip(" .") if isinstance(message, str) else ""
    return f": {line}" if line else ""


def _comment(client: _Client, context: GithubContext, body: str) -> Literal["created", "updated"]:
    permission = "pull-requests: write"
    mine = _standing_comment(client, context, permission)
    if mine is None:
        client.ask("POST", f"/issues/{context.pull_request}/comments", {"body": body}, permission)
        return "created"
    client.ask("PATCH", f"/issues/comments/{mine}", {"body": body}, permission)
    return "updated"


def _standing_comment(client: _Client, context: GithubContext, permission: str) -> int | None:
    """The id of the comment that an earlier gate wrote; None without one.

    Anybody may write the marker, and then change what stands under it: so only the token's own user's comment counts,
    or, where GitHub does not tell who that is, a bot's.
    """
    login = client.login()
    for page in range(1, _MAX_PAGES + 1):
        path = f"/issues/{context.pull_request}/comments?per_page={_PER_PAGE}&page={page}"
        answer = client.ask("GET", path, None, permission)
        said = _json(answer)
        for comment in said if isinstance(said, list) else ():
            if isinstance(comment, dict) and _is_mine(comment, login):
                return comment["id"]
        if 'rel="next"' not in answer.headers.get("link", ""):
            break
    return None


def _is_mine(comment: Mapping[str, Any], login: str | None) -> bool:
    user, comment_id = comment.get("user"), comment.get("id")
    if not isinstance(user, dict) or not isinstance(comment_id, int):
        return False
    is_own = user.get("type") == "Bot" if login is None else user.get("login") == login
    return is_own and str(comment.get("body") or "").startswith(MARKER)


def _comment_body(markdown: str) -> str:
    body = f"{MARKER}\n{markdown}"
    if len(body) <= _MAX_BODY:
        return body
    end = "\n\n</details>\n\nCut here: the whole summary is longer than a comment may be.\n"
    kept = body[: _MAX_BODY - len(end)]
    kept = kept[: kept.rfind("\n") + 1] or kept
    is_open = kept.count("<details>") > kept.count("</details>")
    return kept + (end if is_open else end.replace("</details>\n\n", ""))


def _description(headline: str) -> str:
    line = _NOT_IN_A_STATUS.sub("\ufffd", plain_terminal(headline))
    return line if len(line) <= _MAX_DESCRIPTION else line[: _MAX_DESCRIPTION - 1].rstrip() + "…"


def _event_of(path: str | None) -> Mapping[str, Any]:
    if not path:
        return {}
    try:
        event = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"GITHUB_EVENT_PATH: the event at {path} cannot be read as JSON. Correct or unset it"
        ) from error
    return event if isinstance(event, dict) else {}


def _is_api_set(settings: GithubSettings) -> bool:
    return settings.api_url != GithubSettings().api_url


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError:
        return None
