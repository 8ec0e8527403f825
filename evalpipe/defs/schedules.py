"""Schedules: the weekly annotation cycle, and nightly upkeep of coverage."""

import dagster as dg

from evalpipe.defs.jobs import annotation_cycle_job, coverage_job

annotation_cycle = dg.build_schedule_from_partitioned_job(
    annotation_cycle_job,
    name="annotation_cycle",
    description="Every Monday at 06:00 UTC, before the reviewers start: the queue of the week that ended.",
    hour_of_day=6,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

nightly_coverage = dg.ScheduleDefinition(
    name="nightly_coverage",
    job=coverage_job,
    cron_schedule="30 3 * * *",
    description="Coverage and its report once a night, also when no label changed: traffic did.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

SCHEDULES = [annotation_cycle, nightly_coverage]
