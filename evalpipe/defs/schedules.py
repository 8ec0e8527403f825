"""Schedules: the weekly queue, what the sensors could not finish, nightly measures and upkeep, monthly pruning. UTC."""

from datetime import timedelta

import dagster as dg

from evalpipe.defs.jobs import (
    ANNOTATED,
    JUDGED,
    annotation_cycle_job,
    annotations_job,
    coverage_job,
    maintenance_job,
    prune_job,
    verdicts_job,
)
from evalpipe.defs.requests import is_running, judging
from evalpipe.defs.resources import HomeResource
from evalpipe.plan import stale


@dg.schedule(
    job=annotation_cycle_job,
    cron_schedule="0 6 * * 1",
    description="Every Monday at 06:00 UTC, before the reviewers start: the queue of the week that ended.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def annotation_cycle(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    # Not the newest partition, as a schedule made from the job would take: that is the week that has just begun.
    last_monday = context.scheduled_execution_time.date() - timedelta(days=7)
    return dg.RunRequest(partition_key=last_monday.isoformat(), run_key=f"annotation_cycle:{last_monday}")


@dg.schedule(
    job=annotations_job,
    cron_schedule="30 2 * * *",
    description="Annotations, labels and issues that are still not made at night: a run of their sensor failed.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def nightly_annotations(context: dg.ScheduleEvaluationContext, home: HomeResource) -> dg.RunRequest | dg.SkipReason:
    if is_running(context.instance, "annotations_job"):
        return dg.SkipReason("annotations_job is running")
    opened, now = home.open(), home.now()
    waiting = [asset for asset in ANNOTATED if stale(opened, asset, now).partitions]
    if not waiting:
        return dg.SkipReason("every annotation is in labels and issues")
    return dg.RunRequest(run_key=f"nightly_annotations:{context.scheduled_execution_time.date()}")


@dg.schedule(
    job=verdicts_job,
    cron_schedule="0 3 * * *",
    description="Days that still lack verdicts or their counts at night: a run of the judging sensor failed.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def nightly_verdicts(context: dg.ScheduleEvaluationContext, home: HomeResource) -> list[dg.RunRequest] | dg.SkipReason:
    if is_running(context.instance, "verdicts_job"):
        return dg.SkipReason("verdicts_job is running")
    opened, now = home.open(), home.now()
    prefix = f"nightly_verdicts:{context.scheduled_execution_time.date()}"
    for assets in (JUDGED, JUDGED[1:]):
        if inputs := stale(opened, assets[0], now).should_be:
            return judging(inputs, assets, prefix)
    return dg.SkipReason("every day in the window was judged by the suite as it stands")


nightly_coverage = dg.ScheduleDefinition(
    name="nightly_coverage",
    job=coverage_job,
    cron_schedule="30 3 * * *",
    description="Rates, states, verifications, coverage and its report once a night, whatever happened to their runs.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

nightly_maintenance = dg.ScheduleDefinition(
    name="nightly_maintenance",
    job=maintenance_job,
    cron_schedule="0 2 * * *",
    description="Many small commits of a day become few files; what no version needs and what has expired goes.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

monthly_pruning = dg.ScheduleDefinition(
    name="monthly_pruning",
    job=prune_job,
    cron_schedule="0 4 1 * *",
    description="On the first of the month, after the night's measures: evaluators that outlived their use retire.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

SCHEDULES = [
    annotation_cycle,
    nightly_annotations,
    nightly_verdicts,
    nightly_coverage,
    nightly_maintenance,
    monthly_pruning,
]
