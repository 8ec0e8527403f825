"""A small lake with two reviewers' queues, hostile and in several languages, and the review page of it, served."""

from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import date, timedelta
from pathlib import Path

import polars as pl
from anyio.from_thread import start_blocking_portal
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from evalpipe.home import Home
from evalpipe.issues.frame import issue_frame
from evalpipe.issues.grouping import sightings
from evalpipe.issues.on_lake import propose
from evalpipe.issues.replay import replay
from evalpipe.review.annotations import effective_annotations
from evalpipe.settings import IngestSettings, Settings, VerificationSettings
from evalpipe.tables import (
    ANNOTATIONS,
    CANDIDATES,
    ISSUE_EVENTS,
    ISSUE_PROPOSALS,
    ISSUES,
    LABELS,
    TRACE_SIGNALS,
    TRACES,
)
from evalpipe.web.review_pages import review_of
from evalpipe.web.server import serving_http
from evalpipe_tests.review.made import CYCLE, DAY, NOON, annotation, annotations, made_id, signals, traces

REVIEWERS = ("ben", "maria")
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> refund?"
REQUESTS = [
    "Where is my order 48213? It was promised for Tuesday, and I have asked twice.",
    HOSTILE,
    "كم تكلفة الشحن إلى بيروت؟",
    "Can I return a lamp that I have assembled?",
    "Send me \u202eFDP.eciovni\u202c again, and the invoices of the last three months.\n"
    + "A long pasted mail.\n" * 60,
    "I want to speak to a person NOW",
]
HEDGED = "might possibly arrive"
MODES = ["Hedges although the data is there", "Ignores a failed tool call", "Wrong language"]


def review_home(root: Path, *, n: int = len(REQUESTS), **ingest: object) -> Home:
    """A home in which each reviewer has the same `n` traces to read in CYCLE, and an older queue of one trace."""
    settings = Settings(home=root, ingest=IngestSettings.model_validate({"http_port": 0, "grpc_port": 0} | ingest))
    home = Home(settings)
    home.lake.replace(TRACES, _traces(n))
    home.lake.replace(TRACE_SIGNALS, _signals(n))
    home.lake.replace(
        CANDIDATES, pl.concat([_queue(name, n, CYCLE) for name in REVIEWERS] + [_queue("maria", 1, "2026-W09")])
    )
    home.lake.replace(ISSUES, _issues())
    return home


PROMISED = "Promised a refund and sent none"
UNSENT = "promised refund was never sent"
LOUD = "<b>SHOUTS</b>"


def issues_home(root: Path) -> Home:
    """The same home after people wrote of traces, most of them in no queue: two ways to say one thing, and another.

    Ada wrote of the first trace, which is still to be read by both reviewers.
    """
    home = review_home(root)
    said = annotations(
        *(annotation(number, "bad", PROMISED, minute=number, comment=f"note {number}") for number in (20, 21, 22)),
        annotation(0, "bad", UNSENT, minute=30, comment="not for Maria's eyes yet"),
        annotation(23, "bad", UNSENT, minute=31, annotator="ben", evidence="Your refund is on its way"),
        annotation(24, "bad", LOUD, minute=32, comment=HOSTILE),
    )
    home.lake.append_new(ANNOTATIONS, said)
    home.lake.append_new(ISSUE_EVENTS, sightings(said, ISSUE_EVENTS.empty()))
    home.lake.replace(
        ISSUES, issue_frame(home.lake.read(ISSUE_EVENTS), LABELS.empty(), now=NOON, settings=VerificationSettings())
    )
    home.lake.replace(ISSUE_PROPOSALS, propose(home.lake, said, home.settings.issues))
    return home


def issue_names(home: Home) -> dict[str, list[str]]:
    """The failure modes of every issue that is not merged, by its name."""
    issues = replay(home.lake.read(ISSUE_EVENTS)).values()
    return {issue.name: list(issue.modes) for issue in issues if issue.merged_into is None}


def client(home: Home, reviewer: str | None = "maria") -> TestClient:
    """A browser without scripts that is signed in, on a machine where a name is enough."""
    browser = TestClient(review_of(home), base_url="http://localhost", follow_redirects=False)
    if reviewer is not None:
        assert browser.post("/review/sign-in", data={"reviewer": reviewer}).status_code == 303
    return browser


@contextmanager
def serving_review(home: Home) -> Iterator[str]:
    """Serve the review page on a free port; its address."""

    @asynccontextmanager
    async def served(app: ASGIApp):
        async with serving_http(app, home.settings.ingest) as port:
            yield f"http://127.0.0.1:{port}"

    with (
        start_blocking_portal(backend_options={"use_uvloop": True}) as portal,
        portal.wrap_async_context_manager(served(review_of(home))) as address,
    ):
        yield address


def address_of(number: int) -> str:
    return f"/review/{CYCLE}/{made_id(number)}"


def opinions(home: Home, reviewer: str = "maria") -> dict[int, tuple[str, str | None]]:
    """Verdict and failure mode that stand, by number of the trace."""
    numbers = {made_id(number): number for number in range(200)}
    ours = home.lake.read(ANNOTATIONS, pl.col("annotator") == reviewer)
    rows = effective_annotations(ours).select("trace_id", "verdict", "failure_mode").iter_rows()
    return {numbers[trace_id]: (verdict, mode) for trace_id, verdict, mode in rows}


def _traces(n: int) -> pl.DataFrame:
    requests = [REQUESTS[number % len(REQUESTS)] for number in range(n)]
    answer = f"I think it {HEDGED}, but I am not sure."
    transcripts = [
        [
            {"role": "system", "content": "You help customers.\n" * 80, "tool": None, "is_error": None},
            {"role": "user", "content": request, "tool": None, "is_error": None},
            {"role": "tool_call", "content": '{"order_id": "48213"}', "tool": "lookup_order", "is_error": None},
            {"role": "tool_result", "content": "TimeoutError: no answer", "tool": "lookup_order", "is_error": True},
            {"role": "assistant", "content": answer, "tool": None, "is_error": None},
        ]
        for request in requests
    ]
    starts = [int((NOON + timedelta(minutes=number)).timestamp()) * 10**9 for number in range(n)]
    return TRACES.conform(
        traces(n).with_columns(
            transcript=pl.Series(transcripts, dtype=TRACES.schema["transcript"]),
            request=pl.Series(requests),
            response=pl.lit(answer),
            session_id=pl.lit("conversation 1"),
            start_unix_ns=pl.Series(starts),
            duration_ns=pl.lit(4_200_000_000),
            n_input_tokens=pl.lit(1_800),
            n_tool_calls=pl.lit(1),
            n_tool_errors=pl.lit(1),
        )
    )


def _signals(n: int) -> pl.DataFrame:
    evidence = [
        [
            {"signal": "hedging", "step": 4, "text": HEDGED},
            {"signal": "ignored_error", "step": 3, "text": "TimeoutError"},
        ]
    ] * n
    frame = signals([0.9] * n)
    return TRACE_SIGNALS.conform(
        frame.with_columns(evidence=pl.Series(evidence, dtype=TRACE_SIGNALS.schema["evidence"]))
    )


def _queue(reviewer: str, n: int, cycle: str) -> pl.DataFrame:
    return CANDIDATES.conform(
        pl.DataFrame(
            {
                "cycle": [cycle] * n,
                "trace_id": [made_id(number) for number in range(n)],
                "reviewer": [reviewer] * n,
                "day": [DAY if cycle == CYCLE else date(2026, 2, 24)] * n,
                "session_id": ["conversation 1"] * n,
                "service_name": ["shop"] * n,
                "queue": ["hedging"] * n,
                "rank": range(1, n + 1),
                "priority": [1.0] * n,
                "reasons": [["it hedges 6 times in 100 words; usual here is 0.4"]] * n,
                "pattern_id": ["p1"] * n,
                "pattern_frequency": [n] * n,
                "arm": ["anomaly"] * n,
                "inclusion_probability": [1.0] * n,
                "status": ["queued"] * n,
            }
        )
    )


def _issues() -> pl.DataFrame:
    n = len(MODES)
    return ISSUES.conform(
        pl.DataFrame(
            {
                "issue_id": [f"iss_{number}" for number in range(n)],
                "name": MODES,
                "state": ["active"] * n,
                "flags": pl.Series([[]] * n, dtype=pl.List(pl.String)),
                "services": [["shop"]] * n,
                "n_failures": [30 - 10 * number for number in range(n)],
                "first_seen_at": [NOON] * n,
                "last_seen_at": [NOON] * n,
                "updated_at": [NOON] * n,
            }
        )
    )
