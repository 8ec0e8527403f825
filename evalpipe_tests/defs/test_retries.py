"""What passes by itself is tried again; what a person must change is not; a killed process is started again."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from evalpipe.dagster_home import instance_of
from evalpipe.definitions import ASSETS, defs
from evalpipe.defs import retries
from evalpipe.defs.retries import asset, is_passing
from evalpipe.errors import (
    BudgetError,
    EvalpipeError,
    InputError,
    LakeConflictError,
    ModelDownError,
    SettingsError,
    StateError,
)
from evalpipe.home import Home


def tried(*errors: Exception) -> tuple[dg.ExecuteInProcessResult, int]:
    """A run of an asset that raises these errors, one at each try, and the number of its tries."""
    left, n_tries = list(errors), 0

    @asset(name="fragile")
    def fragile() -> dg.MaterializeResult:
        nonlocal n_tries
        n_tries += 1
        if left:
            raise left.pop(0)
        return dg.MaterializeResult()

    run = dg.materialize([fragile], instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)
    return run, n_tries


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "WAITS_S", (0.0, 0.0))


def test_a_conflict_over_a_table_is_tried_again_and_the_run_succeeds():
    run, n_tries = tried(LakeConflictError("another writer got in first"), ConnectionResetError("lake"))
    assert run.success
    assert n_tries == 3


def test_what_fails_three_times_fails_the_run_with_its_own_words():
    run, n_tries = tried(*[ModelDownError("no model answers")] * 3)
    assert not run.success
    assert n_tries == 3
    (failure,) = [event for event in run.all_events if event.is_step_failure]
    error = failure.step_failure_data.error
    assert error is not None
    assert error.cause is not None
    assert "no model answers" in error.cause.message


@pytest.mark.parametrize("error", [InputError("no zone"), StateError("no such issue"), ValueError("a bug")])
def test_what_a_person_must_change_is_not_tried_again(error: Exception):
    run, n_tries = tried(error)
    assert not run.success
    assert n_tries == 1


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (LakeConflictError(), True),
        (ModelDownError(), True),
        (TimeoutError(), True),
        (OSError(5, "input/output error"), True),
        (sqlite3.OperationalError("database is locked"), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (BudgetError(), False),  # asking again would spend what was refused
        (SettingsError(), False),
        (EvalpipeError(), False),
    ],
)
def test_an_error_passes_by_itself_or_it_does_not(error: Exception, passes: bool):
    assert is_passing(error) == passes


def test_every_asset_is_declared_so_that_passing_errors_are_tried_again():
    files = [file.read_text(encoding="utf-8") for file in (Path(retries.__file__).parent / "assets").glob("*.py")]
    assert sum(text.count("@asset(") for text in files) == len(ASSETS)
    assert not [text for text in files if "@dg.asset(" in text]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """Dagster as evalpipe sets it up for a home."""
    with instance_of(Home.open(tmp_path_factory.mktemp("home"))) as instance:
        yield instance


def test_a_run_whose_process_was_killed_is_started_again_and_one_whose_step_failed_is_not(
    instance: dg.DagsterInstance,
):
    job = defs.resolve_job_def("maintenance_job")
    killed, failed = (instance.create_run_for_job(job) for _ in range(2))
    instance.report_run_failed(killed, "the process is gone")
    instance.add_run_tags(failed.run_id, {"dagster/failure_reason": "STEP_FAILURE"})
    instance.report_run_failed(failed)
    now = [instance.get_run_by_id(run.run_id) for run in (killed, failed)]
    assert [run.tags["dagster/will_retry"] for run in now if run] == ["true", "false"]


def test_of_two_runs_that_generate_for_one_issue_the_second_waits_in_the_queue(instance: dg.DagsterInstance):
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    (limit,) = queue.tag_concurrency_limits
    assert limit == {"key": "evalpipe/issue", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
