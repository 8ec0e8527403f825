"""Dagster's own storage under a home: the same settings as in the project root, nothing sent, dead runs closed."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import yaml

import evalpipe
from evalpipe.dagster_home import PROCESS_TAG, instance_of
from evalpipe.home import Home

ROOT = Path(evalpipe.__file__).parent.parent


def test_a_home_anywhere_has_the_settings_of_the_project_root(empty_home: Home):
    with instance_of(empty_home):
        pass
    here = (empty_home.dagster / "dagster.yaml").read_text().replace(str(empty_home.dagster), "data/dagster")
    assert yaml.safe_load(here) == yaml.safe_load((ROOT / "dagster.yaml").read_text())


def test_telemetry_is_off(empty_home: Home):
    with instance_of(empty_home) as instance:
        assert not instance.telemetry_enabled


def _run_of(instance: dg.DagsterInstance, process: str) -> str:
    run = instance.create_run_for_job(
        dg.define_asset_job("job").resolve(asset_graph=dg.Definitions(assets=[_asset]).resolve_asset_graph()),
        tags={PROCESS_TAG: process},
        status=dg.DagsterRunStatus.STARTED,
    )
    return run.run_id


@dg.asset(name="some_asset")
def _asset() -> None: ...


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_run_of_a_process_that_is_gone_is_closed_and_one_that_lives_is_left_alone(empty_home: Home):
    # A live process holds its lock: this one does so in a process of its own until its input ends.
    program = (
        "import sys; from evalpipe.home import Home; from evalpipe.dagster_home import instance_of\n"
        f"with instance_of(Home.open({str(empty_home.root)!r})): print('up', flush=True); sys.stdin.read()"
    )
    with instance_of(empty_home) as instance:
        alive = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert alive.stdout is not None
        alive.stdout.readline()
        of_the_living = _run_of(instance, str(alive.pid))
        of_the_dead = _run_of(instance, "999999999")
    with instance_of(empty_home) as instance:
        assert _status(instance, of_the_dead) == dg.DagsterRunStatus.FAILURE
        assert _status(instance, of_the_living) == dg.DagsterRunStatus.STARTED
    alive.kill()
    alive.wait()
    with instance_of(empty_home) as instance:
        assert _status(instance, of_the_living) == dg.DagsterRunStatus.FAILURE
