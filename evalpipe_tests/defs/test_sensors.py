"""Sensors against a real home: they ask for what is stale, once, and say why when they ask for nothing."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from evalpipe.definitions import defs
from evalpipe.defs.jobs import ANNOTATED
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.sensors import annotation_sensor, judging_sensor, landing_sensor, lifecycle_sensor
from evalpipe.home import Home
from evalpipe.review.on_lake import deliver
from evalpipe.tables import ANNOTATIONS, EVALUATORS, GATE_RUNS, ISSUES, LABELS, TRACES, VERDICT_COUNTS, VERDICTS
from evalpipe_tests.cli.test_bad_input import otlp_line


def tick(sensor: dg.SensorDefinition, home: Home) -> list[dg.RunRequest] | str:
    """The runs that the sensor asks for, or why it asks for none."""
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"home": HomeResource(root=str(home.root))})
        result = sensor(context)
    if isinstance(result, dg.SkipReason):
        return result.skip_message or ""
    assert isinstance(result, dg.SensorResult)
    return list(result.run_requests or [])


def land(home: Home, tmp_path: Path, *lines: str) -> None:
    file = tmp_path / "more.jsonl"
    file.write_text("".join(line + "\n" for line in lines))
    home.landing.ingest([file], now=datetime(2026, 3, 20, tzinfo=UTC))


def test_nothing_new_is_a_skip_with_its_reason(walked):
    assert tick(landing_sensor, walked[0]) == "every landed segment is in spans and traces"
    assert "enough labels" in str(tick(annotation_sensor, walked[0]))
    assert "was judged" in str(tick(judging_sensor, walked[0]))


def test_new_segments_ask_for_the_days_they_touch_and_the_days_beside_them(home_copy: Home, tmp_path: Path):
    noon = int(datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()) * 10**9
    land(home_copy, tmp_path, otlp_line(startTimeUnixNano=str(noon), endTimeUnixNano=str(noon + 1)))
    (observe,) = tick(landing_sensor, home_copy)
    assert observe.job_name == "observe_job"
    assert observe.tags["dagster/asset_partition_range_start"] == "2026-03-03"
    assert observe.tags["dagster/asset_partition_range_end"] == "2026-03-05"


def test_the_same_segments_ask_with_the_same_run_key_so_that_dagster_runs_them_once(home_copy: Home, tmp_path: Path):
    noon = int(datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()) * 10**9
    land(home_copy, tmp_path, otlp_line(startTimeUnixNano=str(noon), endTimeUnixNano=str(noon + 1)))
    first, second = (tick(landing_sensor, home_copy) for _ in range(2))
    assert [request.run_key for request in first] == [request.run_key for request in second]


def test_a_run_that_ended_between_spans_and_traces_is_asked_for_again(home_copy: Home, tmp_path: Path):
    from evalpipe.dagster_home import instance_of
    from evalpipe.materialise import materialise_stale

    noon = int(datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()) * 10**9
    land(home_copy, tmp_path, otlp_line(startTimeUnixNano=str(noon), endTimeUnixNano=str(noon + 1)))
    (before,) = tick(landing_sensor, home_copy)
    with instance_of(home_copy) as instance:
        materialise_stale(home_copy, instance, ["raw_otlp", "spans"])
    (after,) = tick(landing_sensor, home_copy)
    assert after.run_key != before.run_key  # Dagster starts a run key once
    assert after.tags["dagster/asset_partition_range_start"] == "2026-03-03"


def test_nothing_is_asked_for_while_a_run_goes_on(home_copy: Home, tmp_path: Path):
    noon = int(datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()) * 10**9
    land(home_copy, tmp_path, otlp_line(startTimeUnixNano=str(noon), endTimeUnixNano=str(noon + 1)))
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"home": HomeResource(root=str(home_copy.root))})
        run = instance.create_run_for_job(defs.resolve_job_def("observe_job"))
        skipped = landing_sensor(context)
        assert isinstance(skipped, dg.SkipReason)
        assert "observe_job is running" in str(skipped.skip_message)
        instance.report_run_canceled(run)
        assert isinstance(landing_sensor(context), dg.SensorResult)


def test_what_failed_three_times_on_the_same_input_waits_for_a_person(home_copy: Home, tmp_path: Path):
    noon = int(datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp()) * 10**9
    land(home_copy, tmp_path, otlp_line(startTimeUnixNano=str(noon), endTimeUnixNano=str(noon + 1)))
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"home": HomeResource(root=str(home_copy.root))})
        run_keys = set()
        for _ in range(3):
            result = landing_sensor(context)
            assert isinstance(result, dg.SensorResult)
            (request,) = result.run_requests or []
            run_keys.add(request.run_key)
            run = instance.create_run_for_job(defs.resolve_job_def("observe_job"), tags=dict(request.tags))
            instance.report_run_failed(run)
        assert len(run_keys) == 3
        skipped = landing_sensor(context)
    assert isinstance(skipped, dg.SkipReason)
    assert "observe_job failed 3 times on the same input" in str(skipped.skip_message)


def test_a_judged_day_whose_counting_was_cut_off_is_counted_and_not_judged_again(home_copy: Home):
    day = home_copy.lake.read(VERDICTS)["day"].max()
    counted = home_copy.lake.read(VERDICT_COUNTS, pl.col("day") == day)
    home_copy.lake.replace(VERDICT_COUNTS, counted, partition=day, made_from=1)
    (request,) = tick(judging_sensor, home_copy)
    assert request.job_name == "verdicts_job"
    assert request.asset_selection == [dg.AssetKey("verdict_counts")]
    assert request.tags["dagster/asset_partition_range_start"] == str(day)
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"home": HomeResource(root=str(home_copy.root))})
        instance.create_run_for_job(defs.resolve_job_def("verdicts_job"))
        skipped = judging_sensor(context)
    assert isinstance(skipped, dg.SkipReason)
    assert "it counts what it has judged" in str(skipped.skip_message)


def annotate(home: Home, tmp_path: Path, failure_mode: str, trace_ids: list[str]) -> None:
    rows = [{"trace_id": t, "verdict": "bad", "failure_mode": failure_mode, "annotator": "ana"} for t in trace_ids]
    file = tmp_path / "more-annotations.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    deliver(file, home.inbox)


def test_a_file_in_the_inbox_asks_for_the_annotations_job(home_copy: Home, tmp_path: Path):
    annotate(home_copy, tmp_path, "rude", home_copy.lake.read(TRACES)["trace_id"].head(2).to_list())
    assert [request.job_name for request in tick(annotation_sensor, home_copy)] == ["annotations_job"]


def test_new_failures_of_one_issue_regenerate_that_issue_alone(home_copy: Home, tmp_path: Path):
    from evalpipe.dagster_home import instance_of
    from evalpipe.materialise import materialise_stale

    made = home_copy.lake.read(EVALUATORS).sort("n_positives", "evaluator_id")["issue_id"][-1]
    name = home_copy.lake.read(ISSUES, pl.col("issue_id") == made)["name"][0]
    annotated = home_copy.lake.read(ANNOTATIONS)["trace_id"].unique()
    fresh = home_copy.lake.read(TRACES, ~pl.col("trace_id").is_in(annotated.implode())).sort("trace_id")
    n_failures = home_copy.lake.read(LABELS, pl.col("issue_id") == made, pl.col("is_failure")).height
    n_enough = max(5, n_failures // 5 + 1)  # GenerationSettings.min_new_labels, and a fifth more
    annotate(home_copy, tmp_path, name, fresh["trace_id"].head(n_enough).to_list())
    with instance_of(home_copy) as instance:
        materialise_stale(home_copy, instance, ANNOTATED)
    requests = tick(annotation_sensor, home_copy)
    assert [(request.job_name, request.partition_key) for request in requests] == [("generate_job", made)]


def test_an_unreadable_ledger_is_an_error_not_an_empty_landing(home_copy: Home, monkeypatch: pytest.MonkeyPatch):
    def broken(_: object) -> pl.DataFrame:
        raise OSError("disk gone")

    monkeypatch.setattr("evalpipe.otlp.landing.Landing.days", broken)
    with pytest.raises(OSError, match="disk gone"):
        tick(landing_sensor, home_copy)


def test_a_gate_of_ci_is_followed_a_tick_later_while_no_run_makes_it_and_three_times_at_most(home_copy: Home):
    run = home_copy.lake.read(GATE_RUNS).head(1)
    home_copy.lake.append_new(GATE_RUNS, run.with_columns(gate_id=pl.lit("g_of_ci")))
    at = datetime(2026, 3, 20, tzinfo=UTC).isoformat()
    resources = {"home": HomeResource(root=str(home_copy.root), at=at)}
    with dg.DagsterInstance.ephemeral() as instance:

        def ticked(cursor: str | None) -> Any:
            context = dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources)
            return lifecycle_sensor.evaluate_tick(context)

        first = ticked(None)
        assert "still as they are at the next tick" in str(first.skip_message)
        keys = set()
        for _ in range(3):
            (request,) = ticked(first.cursor).run_requests or ()
            assert (request.job_name, request.tags["dagster/max_retries"]) == ("coverage_job", "0")
            assert dg.AssetKey("issue_transitions") in (request.asset_selection or ())
            keys.add(request.run_key)
            made = instance.create_run_for_job(defs.resolve_job_def("coverage_job"), tags=dict(request.tags))
            assert "a run makes them" in str(ticked(first.cursor).skip_message)
            instance.report_run_failed(made)
        assert len(keys) == 3
        assert "coverage_job failed 3 times" in str(ticked(first.cursor).skip_message)
