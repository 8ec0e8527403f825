"""A cycle that nobody attends: sensors and conditions ask in turn until all are at rest, and ask for nothing twice."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import polars as pl

from evalpipe.definitions import defs
from evalpipe.defs.jobs import ANNOTATED, FOLLOWING, JUDGED, OBSERVED
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.sensors import annotation_sensor, judging_sensor, landing_sensor, lifecycle_sensor
from evalpipe.gate.on_lake import gate
from evalpipe.gate.request import GateRequest
from evalpipe.home import Home
from evalpipe.plan import anything_stale
from evalpipe.review.on_lake import deliver
from evalpipe.tables import ISSUES, LABELS, TRACES
from evalpipe_tests.cli.test_bad_input import otlp_line

_SENSORS = (landing_sensor, annotation_sensor, judging_sensor, lifecycle_sensor)
_MAX_ROUNDS = 12
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


class Asked(NamedTuple):
    """One run that was asked for: by a sensor, with its key, or by a condition, without one."""

    by: str
    job: str
    key: str | None
    assets: tuple[str, ...]


def left_alone(home: Home, instance: dg.DagsterInstance) -> list[Asked]:
    """Every run that is asked for, in order, each one executed, until two rounds in a row ask for none."""
    resource = HomeResource(root=str(home.root), at=NOW.isoformat())
    config = {"resources": {"home": {"config": {"root": resource.root, "at": resource.at}}}}
    cursors: dict[str, str | None] = {}
    asked: list[Asked] = []
    following = dg.AssetSelection.assets(*FOLLOWING)  # those that have a condition
    seen, n_quiet = dg.evaluate_automation_conditions(defs, instance, following), 0
    for _ in range(_MAX_ROUNDS):
        n_before = len(asked)
        for sensor in _SENSORS:
            context = dg.build_sensor_context(
                instance=instance, cursor=cursors.get(sensor.name), resources={"home": resource}
            )
            ticked = sensor.evaluate_tick(context)
            cursors[sensor.name] = ticked.cursor
            for added in ticked.dynamic_partitions_requests or ():
                instance.add_dynamic_partitions(added.partitions_def_name, list(added.partition_keys))
            for request in ticked.run_requests or ():
                keys = request.asset_selection
                job = defs.resolve_job_def(str(request.job_name))
                job.execute_in_process(
                    run_config=config,
                    instance=instance,
                    tags=dict(request.tags),
                    partition_key=request.partition_key,
                    asset_selection=keys,
                )
                names = tuple(key.to_user_string() for key in keys or ())
                asked.append(Asked(sensor.name, str(request.job_name), request.run_key, names))
        seen = dg.evaluate_automation_conditions(defs, instance, following, cursor=seen.cursor)
        keys = [result.key for result in seen.results if not result.true_subset.is_empty]
        if keys:
            job = defs.resolve_implicit_global_asset_job_def()
            job.execute_in_process(run_config=config, instance=instance, asset_selection=keys)
            asked.append(Asked("automation", "", None, tuple(sorted(key.to_user_string() for key in keys))))
        n_quiet = n_quiet + 1 if len(asked) == n_before else 0
        if n_quiet == 2:
            return asked
    raise AssertionError(f"not at rest after {_MAX_ROUNDS} rounds: {asked[-8:]}")


def test_new_traffic_new_annotations_and_a_gate_are_followed_to_the_end_and_nothing_is_asked_for_twice(
    home_copy: Home, walked, tmp_path: Path
):
    noon = int(datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()) * 10**9
    file = tmp_path / "more.jsonl"
    file.write_text(otlp_line(startTimeUnixNano=str(noon), endTimeUnixNano=str(noon + 1)) + "\n")
    home_copy.landing.ingest([file], now=datetime(2026, 3, 19, tzinfo=UTC))
    unread = home_copy.lake.read(TRACES).join(home_copy.lake.read(LABELS), on="trace_id", how="anti").sort("trace_id")
    said = [
        {"trace_id": trace_id, "verdict": "bad", "failure_mode": "quite new", "annotator": "ana"}
        for trace_id in unread["trace_id"].head(3)
    ]
    annotations = tmp_path / "annotations.jsonl"
    annotations.write_text("".join(json.dumps(row) + "\n" for row in said))
    deliver(annotations, home_copy.inbox)
    with dg.DagsterInstance.ephemeral() as instance:
        asked = left_alone(home_copy, instance)
        keys = [run.key for run in asked if run.key is not None]
        assert len(keys) == len(set(keys))
        assert [run.job for run in asked if run.by == "landing_sensor"] == ["observe_job"]
        watched = (*OBSERVED, *ANNOTATED, *JUDGED, *FOLLOWING)
        assert not anything_stale(home_copy, NOW, watched)
        assert home_copy.lake.read(ISSUES, pl.col("name") == "quite new")["state"].to_list() == ["active"]

        # A gate in CI writes tables and no event of Dagster's; what follows from it is asked for by the sensor.
        request = GateRequest(cases=walked[1].good_cases)
        gate(home_copy.lake, home_copy.artifacts, request, settings=home_copy.settings, now=NOW)
        later = left_alone(home_copy, instance)
        assert "lifecycle_sensor" in {run.by for run in later}
        assert not set(keys) & {run.key for run in later}
        assert not anything_stale(home_copy, NOW, watched)
