"""Sensors: what landed is taken in, and just the issues whose labels changed are generated again."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import dagster as dg

from evalpipe.defs.jobs import annotations_job, generate_job, landing_job, observe_job, verdicts_job
from evalpipe.defs.partitions import BY_ISSUE
from evalpipe.defs.resources import HomeResource
from evalpipe.ids import content_hash
from evalpipe.plan import due_issues, expected, stale
from evalpipe.ranges import day_ranges

_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"


@dg.sensor(
    jobs=[landing_job, observe_job],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="New raw segments: enter them, and make the days that they touch again.",
)
def landing_sensor(home: HomeResource) -> dg.SensorResult | dg.SkipReason:
    opened = home.open()
    days = stale(opened, "spans").partitions
    if not days:
        return dg.SkipReason("every landed segment is in spans")
    reach = opened.settings.observe.window_days
    now = expected(opened, "spans")
    near = {str(date.fromisoformat(day) + timedelta(days=step)) for day in days for step in range(-reach, reach + 1)}
    touched = sorted(near & now.keys())
    requests = [dg.RunRequest(job_name="landing_job", run_key=f"landing:{content_hash(sorted(now.items()))}")]
    return dg.SensorResult(run_requests=[*requests, *_range_requests("observe_job", touched, now)])


@dg.sensor(
    jobs=[annotations_job, generate_job],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="New annotations: take them in, then generate the evaluators of the issues whose labels changed.",
)
def annotation_sensor(home: HomeResource) -> dg.SensorResult | dg.SkipReason:
    opened = home.open()
    for asset in ("annotations", "issue_events", "labels", "issues"):
        if stale(opened, asset).partitions:
            inputs = sorted(expected(opened, asset).items())
            return dg.SensorResult(
                run_requests=[dg.RunRequest(job_name="annotations_job", run_key=f"{asset}:{content_hash(inputs)}")]
            )
    due = due_issues(opened)
    if not due:
        return dg.SkipReason("no issue gained enough labels since its evaluator was generated")
    return dg.SensorResult(
        dynamic_partitions_requests=[BY_ISSUE.build_add_request([issue.issue_id for issue in due])],
        run_requests=[
            dg.RunRequest(
                job_name="generate_job",
                partition_key=issue.issue_id,
                run_key=f"{issue.issue_id}:{issue.labels_fingerprint}",
                tags={"evalpipe/reason": issue.reason[:200]},
            )
            for issue in due
        ],
    )


@dg.sensor(
    jobs=[verdicts_job],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="New traffic or a new evaluator: judge the days that lack its verdicts.",
)
def judging_sensor(home: HomeResource) -> dg.SensorResult | dg.SkipReason:
    opened = home.open()
    days = stale(opened, "verdicts").partitions
    if not days:
        return dg.SkipReason("every day in the window was judged by the suite as it stands")
    return dg.SensorResult(run_requests=_range_requests("verdicts_job", days, expected(opened, "verdicts")))


def _range_requests(job_name: str, days: Sequence[str], inputs: Mapping[str, int]) -> list[dg.RunRequest]:
    """One run for each range of days; its key is its inputs, so that Dagster starts it once."""
    return [
        dg.RunRequest(
            job_name=job_name,
            run_key=f"{job_name}:{first}:{last}:{content_hash([inputs[day] for day in days if first <= day <= last])}",
            tags={_RANGE_START: first, _RANGE_END: last},
        )
        for first, last in day_ranges(days)
    ]


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Quality, coverage and the report follow their inputs.",
)

SENSORS: Sequence[dg.SensorDefinition] = [landing_sensor, annotation_sensor, judging_sensor, automation]
