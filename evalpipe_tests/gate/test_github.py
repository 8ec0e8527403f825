"""What GitHub is told of a gate, against a server that speaks its API."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from evalpipe.errors import InputError, SettingsError
from evalpipe.gate.decide import Answer as Decided
from evalpipe.gate.github import MARKER, GithubContext, Reported, context_from, report, settings_from
from evalpipe.gate.judge import GateOutcome
from evalpipe.settings import GithubSettings
from evalpipe_tests.gate.github_server import Github, Said, Token, github
from evalpipe_tests.gate.made import answers, flags, judge, suite

TOKEN = "ghs_s3cret"
SHA = "a" * 40
COMMIT = GithubContext("acme/shop", SHA)
PULL = GithubContext("acme/shop", SHA, 7, "https://github.com/acme/shop/actions/runs/12")
ROBOT = "github-actions[bot]"


@pytest.fixture
def api() -> Iterator[Github]:
    with github() as api:
        api.tokens[TOKEN] = Token()
        yield api


def outcome_of(folder: Path, decision: Decided, *, failure: str = "says sorry") -> GateOutcome:
    made = flags(1, "sorry", failure_mode=failure)
    outputs = {"pass": ["fine"] * 10, "block": ["sorry"] * 10, "abstain": ["fine"] * 10}[decision]
    mcc = None if decision == "abstain" else 0.9
    outcome = judge(answers(folder, *outputs), suite(made, mcc=mcc, mcc_lower=None if mcc is None else 0.7))
    assert outcome.decision.decision == decision
    return outcome


class Told:
    """Reports to `api`; `slept` is how long it waited between tries, in s, which takes no time here."""

    def __init__(self, api: Github, folder: Path, token: str = TOKEN, **settings: Any) -> None:
        self.settings = GithubSettings(token=SecretStr(token), api_url=api.url, **settings)
        self.slept: list[float] = []
        self._folder = folder

    def of(
        self,
        context: GithubContext = COMMIT,
        decision: Decided = "block",
        *,
        markdown: str = "## Blocked",
        failure: str = "says sorry",
    ) -> Reported:
        outcome = outcome_of(self._folder, decision, failure=failure)
        decided = outcome.decision
        return report(
            decided.decision, decided.headline, context, self.settings, markdown=markdown, sleep=self.slept.append
        )


@pytest.fixture
def told(api: Github, tmp_path: Path) -> Told:
    return Told(api, tmp_path)


@pytest.mark.parametrize(("decision", "state"), [("pass", "success"), ("block", "failure"), ("abstain", "error")])
def test_a_decision_is_the_status_of_its_commit(api: Github, told: Told, decision: Decided, state: str):
    assert told.of(COMMIT, decision) == Reported(True, None)
    (status,) = api.statuses
    assert (status["sha"], status["state"], status["context"]) == (SHA, state, "evalpipe/gate")
    assert "target_url" not in status
    (asked,) = api.asked
    assert asked.headers["accept"] == "application/vnd.github+json"
    assert asked.headers["x-github-api-version"] == "2022-11-28"


def test_a_status_leads_to_the_run_and_its_description_is_of_the_form_that_github_takes(api: Github, told: Told):
    assert told.of(PULL, failure="\U0001f600" * 300 + "\n").is_status_set
    (status,) = api.statuses
    assert status["target_url"] == "https://github.com/acme/shop/actions/runs/12"
    assert len(status["description"]) <= 140
    assert "\n" not in status["description"]


def test_the_first_gate_writes_a_comment_and_the_next_one_changes_it(api: Github, told: Told):
    assert told.of(PULL, markdown="## Blocked\n").comment == "created"
    assert told.of(PULL, "pass", markdown="## Passed\n").comment == "updated"
    assert [comment["body"] for comment in api.comments] == [f"{MARKER}\n## Passed\n"]


def test_the_comment_is_found_on_a_later_page(api: Github, told: Told):
    for n in range(150):
        api.comment("ada", f"comment {n}")
    api.comment(ROBOT, f"{MARKER}\nold")
    for n in range(60):
        api.comment("ada", f"comment {n}")
    assert told.of(PULL, markdown="new").comment == "updated"
    assert api.comments[150]["body"] == f"{MARKER}\nnew"
    assert len(api.comments) == 211
    pages = [asked.path for asked in api.asked if asked.method == "GET" and "page=" in asked.path]
    assert [path.partition("?")[2] for path in pages] == ["per_page=100&page=1", "per_page=100&page=2"]


def test_a_comment_of_a_person_with_the_marker_is_left_alone(api: Github, told: Told):
    api.comment("mallory", f"{MARKER}\nAll is well")
    api.comment(ROBOT, f"quoting: {MARKER}")
    assert told.of(PULL).comment == "created"
    assert api.comments[0]["body"] == f"{MARKER}\nAll is well"


def test_a_token_of_a_person_changes_that_persons_comment_alone(api: Github, tmp_path: Path):
    api.tokens["ghp_ada"] = Token("ada")
    api.comment(ROBOT, f"{MARKER}\nof another gate")
    api.comment("ada", f"{MARKER}\nold")
    assert Told(api, tmp_path, "ghp_ada").of(PULL, markdown="new").comment == "updated"
    assert [comment["body"] for comment in api.comments] == [f"{MARKER}\nof another gate", f"{MARKER}\nnew"]


def test_a_summary_that_is_too_long_is_cut_between_two_lines_with_its_part_closed(api: Github, told: Told):
    markdown = "## Blocked\n<details><summary>cases</summary>\n" + "- a failing case\n" * 5_000 + "\n</details>\n"
    assert told.of(PULL, markdown=markdown).comment == "created"
    body = api.comments[0]["body"]
    assert 65_000 < len(body) <= 65_536
    kept, _, end = body.partition("\n\n</details>")
    assert kept.endswith("- a failing case\n")
    assert "longer than a comment" in end


def test_a_server_that_fails_at_first_is_asked_again(api: Github, told: Told):
    api.faults = [Said(502), Said(503, {"message": "Service unavailable"})]
    assert told.of() == Reported(True, None)
    assert told.slept == [1.0, 2.0]


def test_a_server_that_always_fails_is_asked_so_often_and_then_it_is_a_problem(api: Github, told: Told):
    api.faults = [Said(500)] * 99
    reported = told.of()
    assert (reported.is_status_set, len(api.asked)) == (False, 4)
    (problem,) = reported.problems
    assert problem == (f"GitHub has no status of acme/shop, commit {SHA[:12]}: it answered 500. Start it again later")


@pytest.mark.parametrize(
    ("fault", "waited"),
    [
        (Said(429, {"message": "slow down"}, {"Retry-After": "17"}), [17.0]),
        (Said(403, {"message": "You have exceeded a secondary rate limit."}, {"Retry-After": "3"}), [3.0]),
        # Without a word GitHub asks to be left alone for a minute at least.
        (Said(403, {"message": "You have exceeded a secondary rate limit."}), [60.0]),
    ],
)
def test_a_rate_limit_is_waited_for_as_github_asks(api: Github, told: Told, fault: Said, waited: list[float]):
    api.faults = [fault]
    assert told.of().is_status_set
    assert told.slept == waited


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "1800"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1900000000"}]
)
def test_a_limit_that_lasts_long_is_not_waited_for(api: Github, told: Told, headers: dict[str, str]):
    api.faults = [Said(403, {"message": "API rate limit exceeded"}, headers)]
    (problem,) = told.of().problems
    assert "rate limit is used up (403): API rate limit exceeded" in problem
    assert (told.slept, len(api.asked)) == ([], 1)


def test_a_comment_whose_answer_was_lost_is_not_written_twice(api: Github, told: Told):
    api.loses = 1
    assert told.of(PULL).comment == "updated"
    assert len(api.comments) == 1


def test_a_token_without_a_permission_is_told_which_it_needs_and_is_not_tried_again(api: Github, told: Told):
    api.tokens[TOKEN].may = frozenset()
    reported = told.of(PULL)
    assert (reported.is_status_set, reported.comment, told.slept) == (False, None, [])
    status, comment = reported.problems
    assert "(403): Resource not accessible by integration. It needs statuses: write" in status
    assert "It needs pull-requests: write" in comment


def test_a_status_that_may_not_be_set_keeps_no_comment_back(api: Github, told: Told):
    api.tokens[TOKEN].may = frozenset({"pull-requests"})
    reported = told.of(PULL)
    assert (reported.is_status_set, reported.comment, len(reported.problems)) == (False, "created", 1)


@pytest.mark.parametrize(
    ("token", "context", "said"),
    [
        ("ghs_old", COMMIT, "does not know the token (401): Bad credentials. Set EVALPIPE_GITHUB_TOKEN"),
        (TOKEN, GithubContext("acme/other", SHA), "finds no such repository, or the token may not see it (404)"),
        (TOKEN, GithubContext("acme/shop", "b" * 40), "(422): No commit found for SHA: bbbb"),
    ],
)
def test_what_github_refuses_is_a_problem_that_says_what_to_do(
    api: Github, tmp_path: Path, token: str, context: GithubContext, said: str
):
    told = Told(api, tmp_path, token)
    (problem,) = told.of(context).problems
    assert said in problem
    assert (told.slept, len(api.asked)) == ([], 1)


def test_the_token_is_in_no_problem_even_where_the_server_repeats_it(
    api: Github, told: Told, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG")
    api.faults = [Said(400, {"message": f"bad header Bearer {TOKEN}\x1b[31m"})]
    (problem,) = told.of().problems
    assert "bad header Bearer ***" in problem
    assert TOKEN not in f"{problem} {told.settings!r} {caplog.text}"
    assert "\x1b" not in problem


def test_a_redirect_takes_the_token_nowhere(api: Github, told: Told):
    with github() as elsewhere:
        api.faults = [Said(307, None, {"Location": f"{elsewhere.url}/repos/acme/shop/statuses/{SHA}"})]
        (problem,) = told.of().problems
        assert "it answered 307" in problem
        assert elsewhere.asked == []


def test_an_api_that_nobody_answers_at_is_a_problem(tmp_path: Path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    told = Told(Github(url), tmp_path, max_tries=2)
    (problem,) = told.of().problems
    assert "cannot be reached (ConnectionRefusedError). See EVALPIPE_GITHUB__API_URL" in problem
    assert told.slept == [1.0]


def test_nothing_is_sent_without_a_token(api: Github):
    reported = report("pass", "It may ship", PULL, GithubSettings(api_url=api.url), markdown="")
    assert (reported.is_status_set, reported.comment, api.asked) == (False, None, [])
    assert "Set EVALPIPE_GITHUB_TOKEN" in reported.problems[0]


@pytest.mark.parametrize(
    "parts",
    [
        ("acme", SHA),
        ("acme/shop/..", SHA),
        ("../shop", SHA),
        ("acme/..", SHA),
        ("acme/shop?x=", SHA),
        ("acme/shop\n", SHA),
        ("acme/sh%2e", SHA),
        ("acme/shop", "a" * 39),
        ("acme/shop", "main"),
        ("acme/shop", SHA + "\n"),
        ("acme/shop", SHA, 0),
        ("acme/shop", SHA, True),
        ("acme/shop", SHA, None, "javascript:alert(1)"),
        ("acme/shop", SHA, None, "https://a b"),
    ],
)
def test_nothing_untrusted_builds_an_address(parts: tuple[Any, ...]):
    with pytest.raises(InputError):
        GithubContext(*parts)


def actions(**other: str) -> dict[str, str]:
    """The environment of a run of GitHub Actions."""
    return {
        "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_SHA": SHA,
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_RUN_ID": "12",
        **other,
    }


def test_a_push_is_reported_on_its_commit():
    context = context_from(actions(GITHUB_REF="refs/heads/main"))
    assert context == GithubContext("acme/shop", SHA, None, "https://github.com/acme/shop/actions/runs/12")


def test_a_pull_request_is_reported_on_its_head_and_not_on_the_merge_that_is_tested(tmp_path: Path):
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": {"sha": "b" * 40}}}))
    context = context_from(actions(GITHUB_EVENT_PATH=str(event), GITHUB_REF="refs/pull/7/merge"))
    assert context is not None
    assert (context.sha, context.pull_request) == ("b" * 40, 7)


def test_another_ci_names_the_pull_request_by_its_ref():
    context = context_from({"GITHUB_REPOSITORY": "acme/shop", "GITHUB_SHA": SHA, "GITHUB_REF": "refs/pull/7/head"})
    assert context == GithubContext("acme/shop", SHA, 7)


def test_outside_a_pipeline_there_is_no_context():
    assert context_from({"PATH": "/bin"}) is None


@pytest.mark.parametrize("text", ["{", '{"pull_request": {"number": 7}}', '{"pull_request": {"head": {"sha": "x"}}}'])
def test_an_event_that_cannot_be_used_marks_no_wrong_commit(tmp_path: Path, text: str):
    event = tmp_path / "event.json"
    event.write_text(text)
    with pytest.raises(InputError):
        context_from(actions(GITHUB_EVENT_PATH=str(event)))


def test_the_api_is_that_of_the_github_that_runs_the_pipeline_unless_another_is_set():
    environ, token = {"GITHUB_API_URL": "https://ghe.acme.com/api/v3"}, SecretStr(TOKEN)
    assert settings_from(environ, GithubSettings(token=token)).api_url == "https://ghe.acme.com/api/v3"
    own = GithubSettings(token=token, api_url="https://proxy.acme.com")
    assert settings_from(environ, own).api_url == "https://proxy.acme.com"
    with pytest.raises(SettingsError, match="EVALPIPE_GITHUB_TOKEN"):
        settings_from(environ, GithubSettings())
