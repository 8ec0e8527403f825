"""What people are told when something needs them: rows of the lake -> alerts -> Slack-compatible JSON -> one POST.

Who is told lies in `settings.alerts`; when, and that each is told once, in defs/telling.py. Nothing is sent anywhere
but to the address that the user has set, and that address is in no message, log or error.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from http.client import responses
from itertools import accumulate
from typing import Any, NamedTuple
from urllib.parse import quote

import polars as pl
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_exponential

from evalpipe.errors import UndeliveredError
from evalpipe.ids import content_hash
from evalpipe.issues.events import PIPELINE
from evalpipe.issues.replay import Issues, replay, root_of
from evalpipe.lake.store import Lake
from evalpipe.outgoing import UnreachableError, send
from evalpipe.settings import AlertSettings
from evalpipe.tables import EVALUATOR_HEALTH, EVALUATORS, GATE_RUNS, ISSUE_EVENTS

_MAX_HEADLINE = 150  # Slack's limit of a header
_MAX_TEXT = 600  # what is glanced at; Slack's limit of a section is 3,000
_MAX_NAME = 80
_LONGEST_WAIT_S = 4.0  # between two tries,
_TOGETHER_S = 30.0  # after which none begins: a sensor must have answered within a minute
_CANNOT_TAKE = frozenset({400, 413, 415, 422})  # this message, where another may well be taken

_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@\u200b"}  # Mattermost calls everybody at a bare @channel
_TOLD_KINDS = ("escalated", "recurred", "refuted", "verified", "fix_claimed")


class Alert(NamedTuple):
    """One thing that happened. `key` is the same whenever it is looked at, so that it is told once."""

    key: str
    at: datetime  # when it happened, by the evidence; it may have become known much later
    headline: str
    happened: str
    why: str
    what_next: str
    page: str = ""  # its path under `base_url`
    is_of_dagster: bool = False  # `page` is under `dagster_url`


def alerts_now(lake: Lake) -> list[Alert]:
    """Everything in the lake that is worth telling, told or not, in order of time.

    What the pipeline found of an issue (a person knows what a person decided), gates that blocked, evaluators that
    were retired or stand demoted.
    """
    events = lake.read(ISSUE_EVENTS)
    issues = replay(events)
    of_issues = of_events(events, issues)
    of_gates = [_of_gate(row) for row in lake.read(GATE_RUNS, pl.col("decision") == "block").iter_rows(named=True)]
    columns = ("evaluator_id", "version", "issue_id", "failure_mode", "created_at", "status", "reason")
    evaluators = lake.scan(EVALUATORS).select(columns).collect()
    of_evaluators = of_retired(evaluators, issues) + of_demoted(lake.read(EVALUATOR_HEALTH), evaluators, issues)
    return sorted([*of_issues, *of_gates, *of_evaluators], key=lambda alert: (alert.at, alert.key))


def of_events(events: pl.DataFrame, issues: Issues) -> list[Alert]:
    """Of ISSUE_EVENTS: what the pipeline found out that somebody should look at."""
    told = events.unique("event_id").filter(pl.col("author") == PIPELINE, pl.col("kind").is_in(_TOLD_KINDS))
    return [_of_event(row, issues) for row in told.iter_rows(named=True) if row["issue_id"] in issues]


def _of_event(row: Mapping[str, Any], issues: Issues) -> Alert:
    issue = root_of(issues, row["issue_id"])
    name, said = _cut(issue.name, _MAX_NAME), json.loads(row["evidence"])
    in_release = f" in release {said['release']}" if said.get("release") else ""
    match row["kind"]:
        case "escalated":
            words = (
                f"Escalating: {name}",
                f"{said['n_flagged']} traces were flagged in a few hours, where {said['n_usual']} are usual.",
                "Its rate in traffic is above what is usual at this hour of the week, beyond chance.",
                "Read its newest traces, and see whether a release or a service changed.",
            )
        case "recurred":
            words = (
                f"Returned: {name}",
                f"A solved failure is back{in_release}.",
                said.get("reason", ""),
                "Stop or roll back that release, or withdraw the fix; the gate blocks it again.",
            )
        case "refuted":
            words = (
                f"Fix does not work: {name}",
                f"The fix{in_release} was looked for in traffic, and it is not there.",
                said.get("reason", ""),
                "Read the traces that people confirmed, and fix it again.",
            )
        case "verified":
            words = (
                f"Solved: {name}",
                f"The failure is gone from traffic{in_release}.",
                said.get("reason", ""),
                "Nothing. Traffic is watched for its return.",
            )
        case _:
            words = (
                f"Fix claimed: {name}",
                f"A gate passes that had failed for it{in_release}.",
                "",
                "Deploy it; then its traffic is verified, and reviewers are asked to read some of it.",
            )
    return Alert(_key("issue", row["event_id"]), row["at"], *words, page=_issue_page(issue.issue_id))


def _of_gate(row: Mapping[str, Any]) -> Alert:
    judged = f"release {row['release']}" if row["release"] else "a release"
    return Alert(
        key=_key("gate", row["gate_id"]),
        at=row["decided_at"],
        headline=f"Gate blocked {_cut(judged, _MAX_NAME)}",
        happened=f"{row['n_evaluators']} evaluators judged {row['n_cases']} cases.",
        why="; ".join(row["reasons"]),
        what_next=f"Read artifacts/gates/{row['gate_id']}/gate.html, and fix what it names before this is deployed.",
        page=f"/review/gates/{quote(row['gate_id'], safe='')}",
    )


def of_retired(evaluators: pl.DataFrame, issues: Issues) -> list[Alert]:
    """Of EVALUATORS: the versions that say that an evaluator was retired."""
    retired = evaluators.filter(pl.col("status") == "retired")
    return [
        Alert(
            key=_key("retired", row["evaluator_id"], row["version"]),
            at=row["created_at"],
            headline=f"Evaluator retired: {_name(row['issue_id'], issues, row['failure_mode'])}",
            happened="It judges nothing any more; its history stays.",
            why=row["reason"],
            what_next=f"Nothing, if that is so. Otherwise: evalpipe evaluators restore {row['issue_id']}",
            page=_issue_page(row["issue_id"]),
        )
        for row in retired.iter_rows(named=True)
    ]


def of_demoted(health: pl.DataFrame, evaluators: pl.DataFrame, issues: Issues) -> list[Alert]:
    """Of EVALUATOR_HEALTH: the evaluators that stand demoted. `at` is when that version was made: no later is kept."""
    demoted = health.filter("is_demoted").join(
        evaluators.select("evaluator_id", "version", "failure_mode", "created_at"), on=["evaluator_id", "version"]
    )
    return [
        Alert(
            key=_key("demoted", row["evaluator_id"], row["version"]),
            at=row["created_at"],
            headline=f"Evaluator demoted: {_name(row['issue_id'], issues, row['failure_mode'])}",
            happened="It watches and blocks no release until it agrees with people again.",
            why=row["reason"],
            what_next="Read what people and it disagree on; new annotations let it be generated again.",
            page=_issue_page(row["issue_id"]),
        )
        for row in demoted.iter_rows(named=True)
    ]


def of_run(run_id: str, job: str, error: str, at: datetime) -> Alert:
    """A run that failed and is not tried again; of `error` the first line is told."""
    return Alert(
        key=_key("run", run_id),
        at=at,
        headline=f"Run failed: {_cut(job, _MAX_NAME)}",
        happened=f"Run {run_id} of {job} failed, and nothing tries it again.",
        why=next((line for line in error.splitlines() if line.strip()), "no error was logged"),
        what_next="Look at the run in the Dagster UI, mend what it names, and start it again there.",
        page=f"/runs/{quote(run_id, safe='')}",
        is_of_dagster=True,
    )


def payload(alert: Alert, settings: AlertSettings) -> dict[str, Any]:
    """The alert as Slack and what is compatible with it take it.

    All of its words may have come from people or traces: they are plain text, in which nothing is a link, a mention or
    a format.
    """
    told = (alert.happened, alert.why and f"Why: {alert.why}", f"Next: {alert.what_next}")
    lines = [_plain(line, _MAX_TEXT) for line in told if line]
    headline = _plain(alert.headline, _MAX_HEADLINE)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _text(headline)},
        *({"type": "section", "text": _text(line)} for line in lines),
        {"type": "context", "elements": [_text(f"{alert.at:%Y-%m-%d %H:%M} UTC")]},
    ]
    url = _url(alert, settings)
    if url is not None:
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": f"<{url}|Open it>"}})
    return {"text": "\n".join((headline, *lines, *((url,) if url else ()))), "blocks": blocks}


def post(alert: Alert, settings: AlertSettings, *, wait: Callable[[int], float] | None = None) -> None:
    """Tell it, trying `max_tries` times. Raises UndeliveredError when nobody took it.

    `wait` says how many seconds to wait after each number of tries; doubling from half a second unless given.
    """
    assert settings.webhook_url is not None
    address = settings.webhook_url.get_secret_value()
    if not address.startswith(("http://", "https://")):
        raise UndeliveredError("EVALPIPE_WEBHOOK_URL is no http:// or https:// address. Set it to one")
    body = json.dumps(payload(alert, settings), ensure_ascii=False).encode()
    doubling = wait_exponential(multiplier=0.5, max=_LONGEST_WAIT_S)
    for turn in Retrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, UndeliveredError) and not isinstance(error, _RefusedError)
        ),
        stop=stop_after_attempt(settings.max_tries) | stop_after_delay(_TOGETHER_S),
        wait=doubling if wait is None else lambda state: wait(state.attempt_number),
        reraise=True,
    ):
        with turn:
            _post_once(address, body, settings.timeout_s)


class _RefusedError(UndeliveredError):
    """The receiver will not take this however often it is sent; it may take another."""


class Told(NamedTuple):
    """What became of some alerts; `problem` is why the first of those that were not told was not."""

    keys: frozenset[str]
    problem: str | None


def tell(alerts: Sequence[Alert], settings: AlertSettings, *, is_time: Callable[[], bool] = lambda: True) -> Told:
    """Tell these in order while there `is_time`. One that is refused keeps no other back; an outage ends it."""
    told: set[str] = set()
    problem: str | None = None
    for alert in alerts:
        if not is_time():
            break
        try:
            post(alert, settings)
        except UndeliveredError as error:
            problem = problem or str(error)
            if not isinstance(error, _RefusedError):
                break
        else:
            told.add(alert.key)
    return Told(frozenset(told), problem)


def untold(alerts: Sequence[Alert], told: Collection[str], since: datetime | None = None) -> list[Alert]:
    """Those whose key is not in `told`, and, if given, that happened from `since` on."""
    return [alert for alert in alerts if alert.key not in told and (since is None or alert.at >= since)]


def _post_once(address: str, body: bytes, timeout_s: float) -> None:
    try:
        answer = send("POST", address, headers={"Content-Type": "application/json"}, body=body, timeout_s=timeout_s)
    except UnreachableError as error:
        raise UndeliveredError(f"the webhook cannot be reached ({error}); it is tried again") from None
    if not answer.is_taken:
        reason = responses.get(answer.status, "without a reason")
        said = f"the webhook answered {answer.status} {reason}; it is tried again"
        raise (_RefusedError if answer.status in _CANNOT_TAKE else UndeliveredError)(said)


def _url(alert: Alert, settings: AlertSettings) -> str | None:
    base = settings.dagster_url if alert.is_of_dagster else settings.base_url
    return f"{base.rstrip('/')}{alert.page}" if base and alert.page else None


def _issue_page(issue_id: str) -> str:
    return f"/review/issues/{quote(issue_id, safe='')}"


def _name(issue_id: str, issues: Issues, otherwise: str) -> str:
    return _cut(issues[issue_id].name if issue_id in issues else otherwise, _MAX_NAME)


def _key(*parts: str | int) -> str:
    return content_hash(list(parts), 12)


def _text(plain: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": plain, "emoji": False}


def _plain(text: str, max_chars: int) -> str:
    """The text on one line, cut, in which a receiver finds neither markup nor anybody to call."""
    pieces = [_ESCAPED.get(char, char) for char in _cut(text, max_chars)]
    lengths = accumulate(len(piece) for piece in pieces)
    n_fitting = sum(length < max_chars for length in lengths)  # an escaped text may be too long where its own is not
    return "".join(pieces[:n_fitting]) + ("…" if n_fitting < len(pieces) else "")


def _cut(text: str, max_chars: int) -> str:
    line = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    return line if len(line) <= max_chars else line[: max_chars - 1].rstrip() + "…"
