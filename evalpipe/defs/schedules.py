"""Schedules: the weekly annotation cycle, nightly coverage, nightly upkeep of the tables."""

from datetime import timedelta

import dagster as dg

from evalpipe.defs.jobs import annotation_cycle_job, coverage_job, maintenance_job


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


nightly_coverage = dg.ScheduleDefinition(
    name="nightly_coverage",
    job=coverage_job,
    cron_schedule="30 3 * * *",
    description="Coverage and its report once a night, also when no label changed: traffic did.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

nightly_maintenance = dg.ScheduleDefinition(
    name="nightly_maintenance",
    job=maintenance_job,
    cron_schedule="0 2 * * *",
    description="Many small commits of a day become few files; what no version needs and what has expired goes.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

SCHEDULES = [annotation_cycle, nightly_coverage, nightly_maintenance]
