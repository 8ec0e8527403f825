"""Sensors: what landed is taken in, and just the issues whose labels changed are generated again."""

from collections.abc import Sequence
from datetime import date

import dagster as dg

from evalpipe.dagster_home import ISSUE_TAG
from evalpipe.defs.jobs import (
    ANNOTATED,
    FOLLOWING,
    JUDGED,
    OBSERVED,
    annotations_job,
    coverage_job,
    generate_job,
    observe_job,
    verdicts_job,
)
from evalpipe.defs.partitions import BY_ISSUE
from evalpipe.defs.requests import (
    MAX_FAILURES,
    asked_again_tags,
    inputs_of,
    is_made_now,
    is_running,
    judging,
    n_failed,
    needs_a_person,
    range_tags,
)
from evalpipe.defs.resources import HomeResource
from evalpipe.ids import content_hash
from evalpipe.plan import due_issues, stale, traffic_days
from evalpipe.ranges import day_ranges, days_around
from evalpipe.tables import SPANS


@dg.sensor(
    jobs=[observe_job],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="What has landed, and traces that have closed: make the days that they touch again.",
)
def landing_sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult | dg.SkipReason:
    opened, now = home.open(), home.now()
    opened.absorb(now)
    waiting = [stale(opened, asset, now) for asset in OBSERVED]
    days = {day for asset in waiting for day in asset.partitions}
    if not days:
        return dg.SkipReason("every landed segment is in spans and traces")
    # New spans of a day make the traces of the days beside it stale, which is seen only afterwards.
    new_spans = next(asset for asset in waiting if asset.asset == SPANS.name).partitions
    reach = opened.settings.observe.window_days
    beside = {near for day in new_spans for near in days_around(date.fromisoformat(day), reach)}
    touched = sorted(days | {str(day) for day in beside.intersection(traffic_days(opened))})
    return _until_it_fails_for_good(context, "observe_job", touched, inputs_of(waiting))


def _until_it_fails_for_good(
    context: dg.SensorEvaluationContext, job_name: str, days: Sequence[str], inputs: str
) -> dg.SensorResult | dg.SkipReason:
    """A run for each range of days. One that failed is started again, unless it fails on the same inputs again."""
    if is_running(context.instance, job_name):
        return dg.SkipReason(f"{job_name} is running; what it leaves is asked for when it has ended")
    failures = n_failed(context.instance, job_name, inputs)
    if failures >= MAX_FAILURES:
        return needs_a_person(job_name)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                job_name=job_name,
                run_key=f"{job_name}:{first}:{last}:{inputs}:{failures}",
                tags=range_tags(first, last) | asked_again_tags(inputs),
            )
            for first, last in day_ranges(days)
        ]
    )


@dg.sensor(
    jobs=[annotations_job, generate_job],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="New annotations: take them in, then generate the evaluators of the issues whose labels changed.",
)
def annotation_sensor(home: HomeResource) -> dg.SensorResult | dg.SkipReason:
    opened = home.open()
    for asset in ANNOTATED:
        if inputs := stale(opened, asset, home.now()).should_be:
            run_key = f"{asset}:{content_hash(sorted(inputs.items()))}"
            return dg.SensorResult(run_requests=[dg.RunRequest(job_name="annotations_job", run_key=run_key)])
    due = due_issues(opened)
    if not due:
        return dg.SkipReason("no issue gained enough labels since its evaluator was generated")
    return dg.SensorResult(
        dynamic_partitions_requests=[BY_ISSUE.build_add_request([issue.issue_id for issue in due])],
        run_requests=[
            dg.RunRequest(
                job_name="generate_job",
                partition_key=issue.issue_id,
                run_key=f"{issue.issue_id}:{issue.labels_fingerprint}:{issue.n_tries}",
                tags={"evalpipe/reason": issue.reason[:200], ISSUE_TAG: issue.issue_id},
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
def judging_sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult | dg.SkipReason:
    opened, now = home.open(), home.now()
    if inputs := stale(opened, "verdicts", now).should_be:
        return dg.SensorResult(run_requests=judging(inputs, JUDGED))
    if inputs := stale(opened, "verdict_counts", now).should_be:
        if is_running(context.instance, "verdicts_job"):
            return dg.SkipReason("verdicts_job is running; it counts what it has judged")
        # Judged days whose counting was cut off: they are not judged again for it.
        return dg.SensorResult(run_requests=judging(inputs, JUDGED[1:]))
    return dg.SkipReason("every day in the window was judged by the suite as it stands")


@dg.sensor(
    jobs=[coverage_job],
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="What changed tables without a run of Dagster's, as a gate in CI or a decision on a page does: rates, "
    "the issues' states, verifications and coverage follow it.",
)
def lifecycle_sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult | dg.SkipReason:
    opened, now = home.open(), home.now()
    waiting = [asset for asset in (stale(opened, name, now) for name in FOLLOWING) if asset.partitions]
    if not waiting:
        return dg.SkipReason("rates, states, verifications and coverage follow from what is known")
    inputs, names = inputs_of(waiting), [asset.asset for asset in waiting]
    if is_made_now(context.instance, "coverage_job", FOLLOWING):
        return dg.SkipReason("a run makes them; what it leaves is asked for when it has ended")
    if context.cursor != inputs:
        # What follows a run of Dagster's is asked for by the automation, within its interval.
        said = f"{', '.join(names)}: asked for if they are still as they are at the next tick"
        return dg.SensorResult(skip_reason=said, cursor=inputs)
    failures = n_failed(context.instance, "coverage_job", inputs)
    if failures >= MAX_FAILURES:
        return needs_a_person("coverage_job")
    request = dg.RunRequest(
        job_name="coverage_job",
        run_key=f"lifecycle:{inputs}:{failures}",
        tags=asked_again_tags(inputs),
        asset_selection=[dg.AssetKey(name) for name in names],
    )
    return dg.SensorResult(run_requests=[request], cursor=inputs)


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Quality, coverage and the report follow their inputs.",
)

SENSORS: Sequence[dg.SensorDefinition] = [
    landing_sensor,
    annotation_sensor,
    judging_sensor,
    lifecycle_sensor,
    automation,
]
