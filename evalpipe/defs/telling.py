"""Sensors that tell people: each thing once, however often the daemon restarts; what nobody took waits for a tick.

What is told and how it is written is in alerts.py.
"""

import json
import time
from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from evalpipe.alerts import Alert, alerts_now, of_run, tell, untold
from evalpipe.defs.requests import INPUTS_TAG, MAX_FAILURES, n_failed
from evalpipe.defs.resources import HomeResource
from evalpipe.settings import AlertSettings

_ALERT_TAG = "evalpipe/alert"  # of a failed run: waiting, or told
_FIRST = timedelta(days=1)  # told at the first tick: what is older was there before anybody asked to be told
_BUDGET_S = 15.0  # a tick is cut off after 60 s, and three tries of the last message may take 40
_NOBODY = "EVALPIPE_WEBHOOK_URL is not set: nobody is told"


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tell people what became of issues, gates and evaluators, each thing once, by EVALPIPE_WEBHOOK_URL.",
)
def alert_sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult | dg.SkipReason:
    opened = home.open()
    settings = opened.settings.alerts
    if settings.webhook_url is None:
        return dg.SkipReason(_NOBODY)
    now, alerts = home.now(), alerts_now(opened.lake)
    # An event is dated by its evidence, so that one may come to be known long after it: no time says what was told.
    before = _told_before(context.cursor)
    if before is None:
        before = {alert.key for alert in alerts} - {alert.key for alert in untold(alerts, (), now - _FIRST)}
    failures = {run.run_id: of_failed(context.instance, run) for run in _waiting(context.instance)}
    due = [*failures.values(), *untold(alerts, before)]
    ends = time.monotonic() + _BUDGET_S
    told = tell(due, settings, is_time=lambda: time.monotonic() < ends)
    for run_id, failure in failures.items():
        if failure.key in told.keys:
            context.instance.add_run_tags(run_id, {_ALERT_TAG: "told"})
    # Only what still stands is remembered: an evaluator that is demoted again is told again.
    cursor = json.dumps(sorted((before | told.keys) & {alert.key for alert in alerts}))
    n_left = len(due) - len(told.keys)
    left = f", {n_left} wait: {told.problem or 'the next tick goes on'}" if n_left else ""
    return dg.SensorResult(skip_reason=f"{len(told.keys)} told{left}", cursor=cursor)


@dg.run_failure_sensor(
    name="failure_sensor",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tell people of a run that failed and that nothing tries again, by EVALPIPE_WEBHOOK_URL.",
)
def failure_sensor(context: dg.RunFailureSensorContext, home: HomeResource) -> dg.SkipReason:
    settings = home.open().settings.alerts
    if settings.webhook_url is None:
        return dg.SkipReason(_NOBODY)
    run = context.dagster_run
    if reason := _why_untold(context.instance, run):
        return dg.SkipReason(f"run {run.run_id} is not told: {reason}")
    return _tell_of(context.instance, run, settings)


def _tell_of(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: AlertSettings) -> dg.SkipReason:
    told = tell([of_failed(instance, run)], settings)
    # Dagster asks about each failure once, so what nobody took is left to the other sensor.
    instance.add_run_tags(run.run_id, {_ALERT_TAG: "waiting" if told.problem else "told"})
    return dg.SkipReason(f"run {run.run_id} {f'waits to be told: {told.problem}' if told.problem else 'was told'}")


def of_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Alert:
    """The alert of a run that failed."""
    record = instance.get_run_record_by_id(run.run_id)
    assert record is not None
    return of_run(run.run_id, run.job_name, _error_of(instance, run.run_id)[1], record.update_timestamp)


def _why_untold(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Why nobody need look at this failure; None when somebody must."""
    if run.tags.get(_ALERT_TAG) == "told":
        return "it was told before"
    if run.tags.get("dagster/will_retry") == "true":
        return "Dagster starts it again"
    inputs = run.tags.get(INPUTS_TAG)
    if inputs is not None and n_failed(instance, run.job_name, inputs) < MAX_FAILURES:
        return "its sensor asks for it again"
    if run.job_name == "gate_job" and _error_of(instance, run.run_id)[0] == "Failure":
        return "it is the decision of a gate, which is told as such"
    return None


def _error_of(instance: dg.DagsterInstance, run_id: str) -> tuple[str, str]:
    """The class and the words of the first error of a run, at its root: Dagster wraps what an asset raises."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        if event is not None and (error := event.step_failure_data.error) is not None:
            while error.cause is not None:
                error = error.cause
            return error.cls_name or "", error.message
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE):
        return "", entry.dagster_event.message or "" if entry.dagster_event else ""
    return "", ""


def _waiting(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(tags={_ALERT_TAG: "waiting"}), ascending=True)


def _told_before(cursor: str | None) -> set[str] | None:
    """The keys of what was told; None at the first tick."""
    return None if cursor is None else set(json.loads(cursor))


TELLING: Sequence[dg.SensorDefinition] = [alert_sensor, failure_sensor]
