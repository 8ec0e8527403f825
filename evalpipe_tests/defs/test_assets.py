"""Assets through Dagster's own materialize: partitions, ranges, checks, and what they tell."""

from datetime import UTC, date, datetime

import dagster as dg
import polars as pl
import pytest

from evalpipe.definitions import ASSETS, defs
from evalpipe.defs.checks import CHECKS
from evalpipe.defs.partitions import CYCLES, DAYS, cycle_of_partition, partition_of_cycle
from evalpipe.defs.resources import HomeResource
from evalpipe.defs.schedules import annotation_cycle
from evalpipe.errors import InputError
from evalpipe.home import Home
from evalpipe.issues.events import event
from evalpipe.issues.replay import replay
from evalpipe.tables import EVALUATORS, GATE_RUNS, ISSUE_EVENTS, ISSUES, SPANS, TRACES


def materialise(home: Home, asset: str, **how: object) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [*ASSETS, *CHECKS],
        selection=dg.AssetSelection.assets(asset),
        resources={"home": HomeResource(root=str(home.root))},
        instance=dg.DagsterInstance.ephemeral(),
        raise_on_error=False,
        **how,  # type: ignore[arg-type]
    )


def test_a_range_of_days_is_one_run_with_a_materialisation_a_day(home_copy: Home):
    tags = {"dagster/asset_partition_range_start": "2026-03-03", "dagster/asset_partition_range_end": "2026-03-05"}
    run = materialise(home_copy, "traces", tags=tags)
    assert run.success
    made = run.asset_materializations_for_node("traces")
    assert [event.partition for event in made] == ["2026-03-03", "2026-03-04", "2026-03-05"]
    counts = home_copy.lake.read(TRACES).group_by(pl.col("day").cast(pl.String)).len()
    expected = dict(counts.iter_rows())
    assert {e.partition: e.metadata["dagster/row_count"].value for e in made} == {
        day: expected[day] for day in ("2026-03-03", "2026-03-04", "2026-03-05")
    }


def test_a_day_made_again_is_the_same_day(home_copy: Home):
    before = home_copy.lake.read(TRACES).sort("trace_id")
    assert materialise(home_copy, "traces", partition_key="2026-03-04").success
    assert home_copy.lake.read(TRACES).sort("trace_id").equals(before)


def test_a_duplicate_key_fails_the_run_by_its_check(home_copy: Home):
    day = date(2026, 3, 4)
    twin = home_copy.lake.read(SPANS, pl.col("day") == day).head(1)
    rows = pl.concat([home_copy.lake.read(SPANS, pl.col("day") == day), twin])
    home_copy.lake.replace(SPANS, rows, partition=day)
    run = materialise(home_copy, "spans", partition_key="2026-03-04")
    assert not run.success
    [check] = [c for c in run.get_asset_check_evaluations() if c.check_name == "key_is_unique_and_never_null"]
    assert check.metadata["n_duplicates"].value == 1


def test_checks_pass_on_what_the_pipeline_made(home_copy: Home):
    run = materialise(home_copy, "spans", partition_key="2026-03-04")
    assert {check.check_name: check.passed for check in run.get_asset_check_evaluations()} == {
        "key_is_unique_and_never_null": True,
        "few_orphans": True,
    }


@pytest.mark.parametrize(("which", "succeeds"), [("good", True), ("bad", False)])
def test_the_gate_job_succeeds_only_when_the_release_may_ship(home_copy: Home, walked, which: str, succeeds: bool):
    cases = getattr(walked[1], f"{which}_cases")
    run = defs.resolve_job_def("gate_job").execute_in_process(
        run_config=dg.RunConfig(
            ops={"gate_runs": {"config": {"cases": str(cases)}}},
            resources={"home": HomeResource(root=str(home_copy.root))},
        ),
        instance=dg.DagsterInstance.ephemeral(),
        raise_on_error=False,
    )
    assert run.success == succeeds
    kept = home_copy.lake.read(GATE_RUNS).filter(pl.col("decision") == ("pass" if succeeds else "block"))
    assert kept.height >= 1


def test_the_prune_job_tells_what_it_retired_and_why(home_copy: Home):
    last = home_copy.lake.read(EVALUATORS).sort("evaluator_id").row(-1, named=True)
    is_it = pl.col("issue_id") == last["issue_id"]
    ignored = home_copy.lake.read(ISSUES).with_columns(
        state=pl.when(is_it).then(pl.lit("ignored")).otherwise(pl.col("state"))
    )
    home_copy.lake.replace(ISSUES, ignored)
    run = materialise(home_copy, "evaluator_pruning")
    assert run.success
    [made] = run.asset_materializations_for_node("evaluator_pruning")
    assert made.metadata["n_retired"].value == 1
    assert made.metadata[f"retired: {last['evaluator_id']}"].value == "its issue was ignored"


def test_cycles_are_iso_weeks():
    assert cycle_of_partition("2026-03-02") == "2026-W10"
    assert partition_of_cycle("2026-W10") == "2026-03-02"
    assert "2026-03-09" in CYCLES.get_partition_keys()


def test_the_current_day_has_a_partition_because_traffic_is_looked_at_while_it_arrives():
    assert str(datetime.now(UTC).date()) in DAYS.get_partition_keys()


def test_monday_morning_builds_the_queue_of_the_week_that_ended():
    at = datetime(2026, 3, 9, 6, tzinfo=UTC)
    request = annotation_cycle(dg.build_schedule_context(scheduled_execution_time=at))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-03-02"


def test_a_time_without_its_zone_is_refused():
    with pytest.raises(InputError, match="no time zone"):
        HomeResource(at="2026-03-09T06:00:00").now()


def test_a_check_warns_while_an_issue_escalates_and_names_it(home_copy: Home):
    active = home_copy.lake.read(ISSUES, pl.col("state") == "active").row(0, named=True)
    before = replay(home_copy.lake.read(ISSUE_EVENTS))[active["issue_id"]]
    said = {"n_flagged": 40, "n_usual": 9.5}
    escalated = event(before, "escalated", author="pipeline", now=datetime(2026, 3, 20, tzinfo=UTC), evidence=said)
    home_copy.lake.append_new(ISSUE_EVENTS, escalated)
    run = materialise(home_copy, "issue_transitions")
    (check,) = [check for check in run.get_asset_check_evaluations() if check.check_name == "no_issue_is_alarming"]
    assert run.success
    assert (check.passed, check.severity, check.metadata["n_escalating"].value) == (
        False,
        dg.AssetCheckSeverity.WARN,
        1,
    )
    table = check.metadata["issues"]
    assert isinstance(table, dg.TableMetadataValue)
    assert table.records[0].data["name"] == active["name"]
    assert '"n_flagged": 40' in str(table.records[0].data["evidence"])
