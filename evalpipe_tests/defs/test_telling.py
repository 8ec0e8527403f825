"""Each thing is told once: through restarts, outages, events that are dated long before they are known, and retries."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from evalpipe.defs.requests import INPUTS_TAG
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.telling import alert_sensor, failure_sensor
from evalpipe.errors import StateError
from evalpipe.home import Home
from evalpipe.ids import issue_id
from evalpipe.issues.events import event, sighted
from evalpipe.issues.replay import replay
from evalpipe.tables import ISSUE_EVENTS
from evalpipe_tests.webhook import Webhook, webhook

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with webhook() as hook:
        monkeypatch.setenv("EVALPIPE_WEBHOOK_URL", hook.url)
        monkeypatch.setenv("EVALPIPE_ALERTS__MAX_TRIES", "1")
        yield hook


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tick(
    sensor: dg.SensorDefinition, home: Home, instance: dg.DagsterInstance, cursor: str | None, at: datetime = NOW
) -> tuple[str, str | None]:
    """One tick as the daemon evaluates it: why it asks for no run, and the cursor for the next."""
    resource = HomeResource(root=str(home.root), at=at.isoformat())
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"home": resource})
    ticked = sensor.evaluate_tick(context)
    assert not ticked.run_requests
    return ticked.skip_message or "", ticked.cursor


def happened(home: Home, mode: str, at: datetime) -> None:
    """An issue of this failure mode that escalated then."""
    issue = issue_id(mode)
    events = sighted(issue, failure_mode=mode, at=at, trace_id="t")
    for kind, evidence in (("promoted", {}), ("escalated", {"n_flagged": 9, "n_usual": 1.0})):
        events = pl.concat([events, event(replay(events)[issue], kind, author="pipeline", now=at, evidence=evidence)])
    home.lake.append_new(ISSUE_EVENTS, events)


def test_each_is_told_once_though_the_daemon_restarts_and_an_event_is_dated_before_those_told(
    empty_home: Home, hook: Webhook, instance: dg.DagsterInstance
):
    happened(empty_home, "rude", NOW)
    said, cursor = tick(alert_sensor, empty_home, instance, None)
    assert (said, hook.headlines) == ("1 told", ["Escalating: rude"])
    happened(empty_home, "slow", NOW - timedelta(days=20))  # judged late: its evidence is of three weeks ago
    _, cursor = tick(alert_sensor, empty_home, instance, cursor)
    said, cursor = tick(alert_sensor, empty_home, instance, cursor)
    assert said == "0 told"
    assert hook.headlines == ["Escalating: rude", "Escalating: slow"]


def test_at_its_first_tick_a_home_with_a_history_tells_the_last_day(
    empty_home: Home, hook: Webhook, instance: dg.DagsterInstance
):
    happened(empty_home, "old", NOW - timedelta(days=2))
    happened(empty_home, "new", NOW - timedelta(hours=2))
    _, cursor = tick(alert_sensor, empty_home, instance, None)
    tick(alert_sensor, empty_home, instance, cursor)
    assert hook.headlines == ["Escalating: new"]


def test_what_nobody_took_is_told_at_a_later_tick_once(empty_home: Home, hook: Webhook, instance: dg.DagsterInstance):
    happened(empty_home, "rude", NOW)
    hook.answers = [503]
    said, cursor = tick(alert_sensor, empty_home, instance, None)
    assert said == "0 told, 1 wait: the webhook answered 503 Service Unavailable; it is tried again"
    later = NOW + timedelta(days=3)  # longer ago than the first tick looks back
    _, cursor = tick(alert_sensor, empty_home, instance, cursor, later)
    assert hook.taken == []
    hook.answers = []
    _, cursor = tick(alert_sensor, empty_home, instance, cursor, later)
    tick(alert_sensor, empty_home, instance, cursor, later)
    assert hook.headlines == ["Escalating: rude"]


def test_without_an_address_both_skip_and_say_so(empty_home: Home, instance: dg.DagsterInstance):
    happened(empty_home, "rude", NOW)
    assert tick(alert_sensor, empty_home, instance, None) == (
        "EVALPIPE_WEBHOOK_URL is not set: nobody is told",
        None,
    )
    with failures(instance, empty_home) as seen:
        run_of("fragile_job", instance)
        assert "nobody is told" in seen()


class failures:  # noqa: N801  # a context manager
    """What the failure sensor says, tick by tick, of the runs that fail within."""

    def __init__(self, instance: dg.DagsterInstance, home: Home) -> None:
        self.instance, self.home = instance, home

    def __enter__(self) -> "failures":
        _, self.cursor = tick(failure_sensor, self.home, self.instance, None)  # it looks at what fails from here on
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self) -> str:
        said, self.cursor = tick(failure_sensor, self.home, self.instance, self.cursor)
        return said


def run_of(job_name: str, instance: dg.DagsterInstance, tags: dict[str, str] | None = None, **error: str) -> str:
    """A run that fails, and its id."""

    @dg.op
    def fragile() -> None:
        if "decision" in error:
            raise dg.Failure(error["decision"], allow_retries=False)
        raise StateError("table spans: no room\nit is full")

    @dg.graph
    def graph() -> None:
        fragile()

    job = graph.to_job(name=job_name, executor_def=dg.in_process_executor)
    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags or {}).run_id


def test_a_run_that_failed_for_good_is_told_once_with_its_page(
    empty_home: Home, hook: Webhook, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVALPIPE_ALERTS__DAGSTER_URL", "http://127.0.0.1:3000")
    with failures(instance, empty_home) as seen:
        run_id = run_of("fragile_job", instance)
        assert seen() == f"run {run_id} was told"
        seen()
    tick(alert_sensor, empty_home, instance, None)
    (message,) = hook.taken
    assert message["text"].startswith("Run failed: fragile_job\n")
    assert "Why: evalpipe.errors.StateError: table spans: no room\n" in message["text"]
    assert message["text"].endswith(f"http://127.0.0.1:3000/runs/{run_id}")


def test_a_failed_run_that_nobody_took_is_told_by_the_other_sensor(
    empty_home: Home, hook: Webhook, instance: dg.DagsterInstance
):
    hook.answers = [503]
    with failures(instance, empty_home) as seen:
        run_of("fragile_job", instance)
        assert "waits to be told" in seen()
    hook.answers = []
    for _ in range(2):
        tick(alert_sensor, empty_home, instance, None)
    assert hook.headlines == ["Run failed: fragile_job"]


def test_a_run_that_is_tried_again_is_not_told_nor_is_the_decision_of_a_gate(
    empty_home: Home, hook: Webhook, instance: dg.DagsterInstance
):
    with failures(instance, empty_home) as seen:
        run_of("fragile_job", instance, {"dagster/will_retry": "true"})
        assert "Dagster starts it again" in seen()
        run_of("gate_job", instance, decision="rude fails")
        assert "decision of a gate" in seen()
        for said in ("its sensor asks for it again", "its sensor asks for it again", "was told"):
            run_of("observe_job", instance, {INPUTS_TAG: "same"})
            assert said in seen()
    assert hook.headlines == ["Run failed: observe_job"]
