"""How sensors and schedules ask for runs: ranges of days, keys by which Dagster starts a run once, what goes on."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from evalpipe.defs.retries import NEVER_STARTED_AGAIN
from evalpipe.ids import content_hash
from evalpipe.plan import Stale
from evalpipe.ranges import day_ranges

INPUTS_TAG = "evalpipe/inputs"
"""Run tag: a hash of the inputs that a sensor asked for the run with."""

MAX_FAILURES = 3
"""Of runs with the same inputs: what failed three times needs a person."""

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def range_tags(first: str, last: str) -> dict[str, str]:
    """Tags of a run that makes the days from `first` to `last`."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def inputs_of(waiting: Iterable[Stale]) -> str:
    """A hash of what these assets should be made from, and of what they were made from last."""
    return content_hash(
        [[each.asset, sorted(each.should_be.items()), sorted(each.made_from.items())] for each in waiting]
    )


def judging(inputs: Mapping[str, int], assets: Sequence[str], prefix: str = "verdicts_job") -> list[dg.RunRequest]:
    """A run of verdicts_job for each range of days, of these assets of it; its key is `prefix` and its inputs."""
    return [
        dg.RunRequest(
            job_name="verdicts_job",
            run_key=f"{prefix}:{first}:{last}:"
            + content_hash([inputs[day] for day in sorted(inputs) if first <= day <= last]),
            tags=range_tags(first, last),
            asset_selection=[dg.AssetKey(asset) for asset in assets],
        )
        for first, last in day_ranges(list(inputs))
    ]


def is_running(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Whether a run of the job waits or goes on."""
    return bool(instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED), limit=1))


def is_made_now(instance: dg.DagsterInstance, job_name: str, assets: Iterable[str]) -> bool:
    """Whether a run of the job, or any other that makes one of these assets, waits or goes on."""
    keys = {dg.AssetKey(asset) for asset in assets}
    runs = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
    return any(run.job_name == job_name or keys.intersection(run.asset_selection or ()) for run in runs)


def n_failed(instance: dg.DagsterInstance, job_name: str, inputs: str) -> int:
    """How many runs of the job with these inputs have failed, counted up to MAX_FAILURES."""
    failed = dg.RunsFilter(job_name=job_name, statuses=[dg.DagsterRunStatus.FAILURE], tags={INPUTS_TAG: inputs})
    return len(instance.get_runs(failed, limit=MAX_FAILURES))


def asked_again_tags(inputs: str) -> dict[str, str]:
    """Tags of a run that a sensor asks for again when it fails, up to MAX_FAILURES: the daemon leaves that to it."""
    return {INPUTS_TAG: inputs, **NEVER_STARTED_AGAIN}


def needs_a_person(job_name: str) -> dg.SkipReason:
    """Why a sensor asks no more for a job."""
    return dg.SkipReason(
        f"{job_name} failed {MAX_FAILURES} times on the same input; look at its last run, then rerun it"
    )
