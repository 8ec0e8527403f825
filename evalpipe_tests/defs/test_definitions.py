"""The code location as Dagster sees it: it loads, its graph reads as the four steps, everything says what it is."""

import dagster as dg
import pytest

from evalpipe.definitions import defs
from evalpipe.plan import CODE_VERSIONS

GRAPH = defs.resolve_asset_graph()
ASSETS = sorted(GRAPH.materializable_asset_keys)


def test_the_code_location_loads():
    dg.Definitions.validate_loadable(defs)


def test_the_graph_has_the_four_steps_and_upkeep_as_groups():
    assert {GRAPH.get(key).group_name for key in ASSETS} == {"observe", "annotate", "generate", "iterate", "upkeep"}


@pytest.mark.parametrize("key", ASSETS, ids=lambda key: key.to_user_string())
def test_every_asset_says_what_it_is_and_whose(key: dg.AssetKey):
    node = GRAPH.get(key)
    assert node.description
    assert node.owners
    assert node.kinds
    assert node.code_version


def test_the_order_of_evalpipe_run_is_an_order_of_the_graph():
    order = {name: place for place, name in enumerate(CODE_VERSIONS)}
    for key in ASSETS:
        for parent in GRAPH.get(key).parent_keys:
            if {key.to_user_string(), parent.to_user_string()} <= set(order):
                assert order[parent.to_user_string()] < order[key.to_user_string()]
    assert {key.to_user_string() for key in ASSETS} - set(order) == {
        "evaluator_pruning",
        "gate_runs",
        "lake_upkeep",
    }  # asked for, never stale


def test_sensors_and_schedules_run_without_being_switched_on():
    assert {s.name for s in defs.sensors or []} == {
        "landing_sensor",
        "annotation_sensor",
        "judging_sensor",
        "lifecycle_sensor",
        "alert_sensor",
        "failure_sensor",
        "automation",
    }
    assert all(s.default_status == dg.DefaultSensorStatus.RUNNING for s in defs.sensors or [])
    assert all(s.default_status == dg.DefaultScheduleStatus.RUNNING for s in defs.schedules or [])
