"""What people are told, how it is written, that the address stays secret; against a real receiver on loopback."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from pydantic import SecretStr

from evalpipe.alerts import Alert, alerts_now, of_run, payload, post, tell
from evalpipe.errors import UndeliveredError
from evalpipe.ids import issue_id
from evalpipe.issues.events import event, sighted
from evalpipe.issues.replay import replay
from evalpipe.lake.store import Lake
from evalpipe.settings import AlertSettings, load_settings
from evalpipe.tables import EVALUATOR_HEALTH, EVALUATORS, GATE_RUNS, ISSUE_EVENTS
from evalpipe_tests.webhook import Webhook, webhook

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
RUDE = issue_id("rude")


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as hook:
        yield hook


def settings_of(url: str, **other: object) -> AlertSettings:
    return AlertSettings(webhook_url=SecretStr(url), **other)  # type: ignore[arg-type]


def alert(headline: str = "Escalating: rude", why: str = "") -> Alert:
    return Alert("k1", NOON, headline, "12 traces", why, "Read them.", page="/review/issues/iss_1")


def at_once(_: int) -> float:
    return 0.0


def test_an_alert_says_what_why_and_what_next_and_links_to_its_page(hook: Webhook):
    post(alert(why="a new release"), settings_of(hook.url, base_url="https://evals.example.com/"))
    (message,) = hook.taken
    said = [block["text"]["text"] for block in message["blocks"] if "text" in block]
    assert said == [
        "Escalating: rude",
        "12 traces",
        "Why: a new release",
        "Next: Read them.",
        "<https://evals.example.com/review/issues/iss_1|Open it>",
    ]
    assert message["text"].endswith("https://evals.example.com/review/issues/iss_1")


def test_words_of_people_are_plain_text_that_calls_nobody_and_links_nowhere():
    told = payload(alert("Escalating: <!channel> <https://evil|x> & @here\n\x07"), AlertSettings())
    assert told["blocks"][0]["text"] == {
        "type": "plain_text",
        "text": "Escalating: &lt;!channel&gt; &lt;https://evil|x&gt; &amp; @\u200bhere",
        "emoji": False,
    }
    assert {block["text"]["type"] for block in told["blocks"] if "text" in block} == {"plain_text"}


def test_a_text_is_as_long_as_slack_takes_it_also_where_escaping_makes_it_longer():
    told = payload(alert("<" * 149, why="&" * 5_000), AlertSettings())
    texts = [block["text"]["text"] for block in told["blocks"] if "text" in block]
    assert len(texts[0]) <= 150  # of a header
    assert max(len(text) for text in texts) <= 3_000  # of a section
    assert texts[0].endswith("&lt;…")  # cut between two characters, not within one


def test_a_receiver_that_fails_at_first_is_told_once(hook: Webhook):
    hook.answers = [503, 500, 200]
    post(alert(), settings_of(hook.url), wait=at_once)
    assert (len(hook.asked), len(hook.taken)) == (3, 1)


def test_a_receiver_that_always_fails_is_asked_so_often_and_the_error_hides_its_address(hook: Webhook):
    hook.answers = [503]
    with pytest.raises(UndeliveredError, match="503 Service Unavailable") as caught:
        post(alert(), settings_of(hook.url, max_tries=2), wait=at_once)
    assert len(hook.asked) == 2
    assert "s3cret" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_an_address_that_nobody_answers_at_is_in_no_error_or_log(caplog: pytest.LogCaptureFixture):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/s3cret-token"
    caplog.set_level("DEBUG")
    settings = settings_of(url, max_tries=1)
    with pytest.raises(UndeliveredError, match="ConnectionRefusedError") as caught:
        post(alert(), settings)
    assert "s3cret" not in f"{caught.value} {settings!r} {caplog.text}"


@pytest.mark.parametrize("address", ["file:///etc/passwd", "hooks.example.com/s3cret", "http://[s3cret", "http://a b/"])
def test_what_is_no_web_address_is_refused_without_being_repeated(address: str):
    with pytest.raises(UndeliveredError) as caught:
        post(alert(), settings_of(address, max_tries=1))
    assert address not in str(caught.value)


def test_a_redirect_is_not_followed(hook: Webhook):
    hook.answers = [302]
    with pytest.raises(UndeliveredError, match="302 Found"):
        post(alert(), settings_of(hook.url, max_tries=1))


def test_a_message_that_is_refused_keeps_no_other_back_and_is_not_sent_again_at_once(hook: Webhook):
    hook.answers = [400, 200]
    told = tell([alert(), alert()._replace(key="k2", headline="Solved: rude")], settings_of(hook.url))
    assert told.keys == {"k2"}
    assert "400" in str(told.problem)
    assert len(hook.asked) == 2


def test_an_outage_ends_the_telling_so_that_a_tick_is_not_cut_off(hook: Webhook):
    hook.answers = [503]
    told = tell([alert(), alert()._replace(key="k2")], settings_of(hook.url, max_tries=1))
    assert (told.keys, len(hook.asked)) == (frozenset(), 1)


def test_of_a_failed_run_the_first_line_of_its_error_is_told():
    told = payload(
        of_run("r-1", "observe_job", "\nOSError: disk\n  at line 3", NOON), AlertSettings(dagster_url="http://d")
    )
    assert "Why: OSError: disk" in [block["text"]["text"] for block in told["blocks"] if "text" in block]
    assert told["text"].endswith("http://d/runs/r-1")


def test_the_pipelines_findings_are_told_and_what_people_decide_is_not(tmp_path: Path):
    lake = Lake(tmp_path)
    events = sighted(RUDE, failure_mode="rude", at=NOON, trace_id="t")
    for kind, author, evidence in (
        ("promoted", "pipeline", {}),
        ("escalated", "pipeline", {"n_flagged": 40, "n_usual": 9.5}),
        ("calmed", "pipeline", {}),
        ("fix_claimed", "pipeline", {"gate_id": "g2", "release": "1.5"}),
        ("deployed", "pipeline", {"since": NOON.isoformat(), "release": "1.5"}),
        ("verified", "pipeline", {"reason": "0 of 400 traces flagged"}),
        ("recurred", "pipeline", {"reason": "9 of 50 traces flagged", "release": "1.6"}),
        ("resolved", "ada", {}),
    ):
        events = pl.concat([events, event(replay(events)[RUDE], kind, author=author, now=NOON, evidence=evidence)])
    lake.append_new(ISSUE_EVENTS, events)
    told = alerts_now(lake)
    assert [each.headline for each in told] == [
        "Escalating: rude",
        "Fix claimed: rude",
        "Solved: rude",
        "Returned: rude",
    ]
    assert told[0].happened == "40 traces were flagged in a few hours, where 9.5 are usual."
    assert told[3].happened == "A solved failure is back in release 1.6."
    assert {each.page for each in told} == {f"/review/issues/{RUDE}"}


def test_gates_that_blocked_and_evaluators_that_were_retired_or_demoted_are_told(tmp_path: Path):
    lake = Lake(tmp_path)
    gates = [
        {"gate_id": f"g_{said}", "decided_at": NOON, "decision": said, "reasons": [f"it {said}s"]}
        for said in ("block", "pass")
    ]
    filled = {"release": "1.5", "source": "release", "n_cases": 9, "n_evaluators": 2}
    lake.append_new(
        GATE_RUNS, GATE_RUNS.conform(pl.DataFrame(gates).with_columns(**{k: pl.lit(v) for k, v in filled.items()}))
    )
    evaluator = {"evaluator_id": "ev_1", "issue_id": RUDE, "failure_mode": "rude", "kind": "rule", "artifact": "{}"}
    evaluator |= {
        "artifact_sha256": "",
        "n_positives": 1,
        "n_negatives": 1,
        "labels_fingerprint": 1,
        "created_at": NOON,
    }
    versions = [(1, "active", "made"), (2, "retired", "its issue was ignored")]
    rows = [evaluator | {"version": n, "status": status, "reason": why} for n, status, why in versions]
    lake.append_new(EVALUATORS, EVALUATORS.conform(pl.DataFrame(rows)))
    health = {"evaluator_id": "ev_1", "version": 1, "issue_id": RUDE, "n_recent": 30, "n_recent_failures": 9}
    health |= {"n_prequential": 30, "finding": "drifted", "is_demoted": True, "has_traffic_shifted": True}
    health |= {"reason": "0.8 when made, 0.2 since", "confidence": 0.9}
    lake.append_new(EVALUATOR_HEALTH, EVALUATOR_HEALTH.conform(pl.DataFrame([health])))
    told = {each.headline: each.why for each in alerts_now(lake)}
    assert told == {
        "Gate blocked release 1.5": "it blocks",
        "Evaluator retired: rude": "its issue was ignored",
        "Evaluator demoted: rude": "0.8 when made, 0.2 since",
    }


def test_the_address_comes_from_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVALPIPE_WEBHOOK_URL", "http://127.0.0.1/s3cret")
    monkeypatch.setenv("EVALPIPE_ALERTS__BASE_URL", "https://evals.example.com")
    settings = load_settings()
    assert settings.alerts.base_url == "https://evals.example.com"
    assert "s3cret" not in repr(settings) + json.dumps(settings.model_dump(mode="json"))
