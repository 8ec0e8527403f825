"""Schedules at given times: what they ask for, with which key, and what they leave alone."""

from datetime import UTC, datetime

import dagster as dg
import polars as pl
import pytest

from evalpipe.definitions import defs
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.schedules import SCHEDULES, nightly_annotations, nightly_verdicts
from evalpipe.home import Home
from evalpipe.tables import LABELS, VERDICTS

NIGHT = datetime(2026, 3, 20, 3, tzinfo=UTC)


def asked(
    schedule: dg.ScheduleDefinition, home: Home, at: datetime, *, is_running: str = ""
) -> list[dg.RunRequest] | str:
    """The runs that the schedule asks for at this time, or why it asks for none."""
    with dg.instance_for_test() as instance:
        if is_running:
            instance.create_run_for_job(defs.resolve_job_def(is_running))
        resources = {"home": HomeResource(root=str(home.root), at=at.isoformat())}
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, resources=resources)
        ticked = schedule.evaluate_tick(context)
    return list(ticked.run_requests or []) or ticked.skip_message or ""


def test_a_night_judges_again_what_the_sensor_could_not_under_a_key_of_that_night(home_copy: Home):
    assert "was judged" in str(asked(nightly_verdicts, home_copy, NIGHT))
    day = home_copy.lake.read(VERDICTS)["day"].max()
    home_copy.lake.replace(VERDICTS, VERDICTS.empty(), partition=day, made_from=1)
    (request,) = asked(nightly_verdicts, home_copy, NIGHT)
    assert isinstance(request, dg.RunRequest)
    assert str(request.run_key).startswith(f"nightly_verdicts:2026-03-20:{day}:{day}:")
    assert request.tags["dagster/asset_partition_range_start"] == str(day)
    assert asked(nightly_verdicts, home_copy, NIGHT, is_running="verdicts_job") == "verdicts_job is running"


def test_a_night_takes_annotations_in_again_only_where_something_is_left(home_copy: Home):
    assert asked(nightly_annotations, home_copy, NIGHT) == "every annotation is in labels and issues"
    home_copy.lake.replace(LABELS, home_copy.lake.read(LABELS, pl.col("is_failure")), made_from=1)
    (request,) = asked(nightly_annotations, home_copy, NIGHT)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "nightly_annotations:2026-03-20"
    assert asked(nightly_annotations, home_copy, NIGHT, is_running="annotations_job") == "annotations_job is running"


@pytest.mark.parametrize(
    ("name", "job", "cron"),
    [
        ("annotation_cycle", "annotation_cycle_job", "0 6 * * 1"),
        ("nightly_maintenance", "maintenance_job", "0 2 * * *"),
        ("nightly_annotations", "annotations_job", "30 2 * * *"),
        ("nightly_verdicts", "verdicts_job", "0 3 * * *"),
        ("nightly_coverage", "coverage_job", "30 3 * * *"),
        ("monthly_pruning", "prune_job", "0 4 1 * *"),
    ],
)
def test_what_runs_when_in_utc(name: str, job: str, cron: str):
    (schedule,) = [schedule for schedule in SCHEDULES if schedule.name == name]
    assert (schedule.job_name, schedule.cron_schedule) == (job, cron)
    assert schedule.execution_timezone in (None, "UTC")
