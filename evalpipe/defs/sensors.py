"""Sensors: what landed is taken in, and just the issues whose labels changed are generated again."""

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg

from evalpipe.dagster_home import ISSUE_TAG
from evalpipe.defs.jobs import ANNOTATED, JUDGED, OBSERVED, annotations_job, generate_job, observe_job, verdicts_job
from evalpipe.defs.partitions import BY_ISSUE
from evalpipe.defs.resources import HomeResource
from evalpipe.ids import content_hash
from evalpipe.plan import due_issues, stale, traffic_days
from evalpipe.ranges import day_ranges, days_around
from evalpipe.tables import SPANS

_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"


_MAX_FAILURES = 3  # of runs with the same inputs: what failed three times needs a person
_INPUTS_TAG = "evalpipe/inputs"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


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
    inputs = [[asset.asset, sorted(asset.should_be.items()), sorted(asset.made_from.items())] for asset in waiting]
    return _until_it_fails_for_good(context, "observe_job", touched, content_hash(inputs))


def _until_it_fails_for_good(
    context: dg.SensorEvaluationContext, job_name: str, days: Sequence[str], inputs: str
) -> dg.SensorResult | dg.SkipReason:
    """A run for each range of days. One that failed is started again, unless it fails on the same inputs again."""
    going_on = dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED)
    if context.instance.get_runs(going_on, limit=1):
        return dg.SkipReason(f"{job_name} is running; what it leaves is asked for when it has ended")
    failed = dg.RunsFilter(job_name=job_name, statuses=[dg.DagsterRunStatus.FAILURE], tags={_INPUTS_TAG: inputs})
    n_failed = len(context.instance.get_runs(failed, limit=_MAX_FAILURES))
    if n_failed >= _MAX_FAILURES:
        return dg.SkipReason(
            f"{job_name} failed {n_failed} times on the same input; look at its last run, then rerun it"
        )
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                job_name=job_name,
                run_key=f"{job_name}:{first}:{last}:{inputs}:{n_failed}",
                tags={_RANGE_START: first, _RANGE_END: last, _INPUTS_TAG: inputs},
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
        return _judging(inputs, JUDGED)
    if inputs := stale(opened, "verdict_counts", now).should_be:
        going_on = dg.RunsFilter(job_name="verdicts_job", statuses=_UNFINISHED)
        if context.instance.get_runs(going_on, limit=1):
            return dg.SkipReason("verdicts_job is running; it counts what it has judged")
        # Judged days whose counting was cut off: they are not judged again for it.
        return _judging(inputs, JUDGED[1:])
    return dg.SkipReason("every day in the window was judged by the suite as it stands")


def _judging(inputs: Mapping[str, int], assets: Sequence[str]) -> dg.SensorResult:
    """A run for each range of days, of these assets of the job."""
    # The key of a run is its inputs, so that Dagster starts it once.
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                job_name="verdicts_job",
                run_key=f"verdicts_job:{first}:{last}:"
                + content_hash([inputs[day] for day in sorted(inputs) if first <= day <= last]),
                tags={_RANGE_START: first, _RANGE_END: last},
                asset_selection=[dg.AssetKey(asset) for asset in assets],
            )
            for first, last in day_ranges(list(inputs))
        ]
    )


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Quality, coverage and the report follow their inputs.",
)

SENSORS: Sequence[dg.SensorDefinition] = [landing_sensor, annotation_sensor, judging_sensor, automation]
