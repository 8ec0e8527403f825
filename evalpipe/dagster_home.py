"""Dagster's own storage under a home, and the processes that work on it. Dagster is imported only when used."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evalpipe.files import alone, write_whole
from evalpipe.home import Home
from evalpipe.supervise import Command

if TYPE_CHECKING:
    from dagster import DagsterInstance

_INSTANCE = """\
# Written by evalpipe. The same as dagster.yaml in the project root, for a home anywhere.
telemetry: {{enabled: false}}
nux: {{enabled: false}}
storage: {{sqlite: {{base_dir: "{base}"}}}}
local_artifact_storage:
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config: {{base_dir: "{base}"}}
{compute_logs}
run_queue: {{dequeue_interval_seconds: 1}}
concurrency:
  runs:
    max_concurrent_runs: 2
    tag_concurrency_limits: [{{key: {issue_tag}, value: {{applyLimitPerUniqueValue: true}}, limit: 1}}]
  pools: {{default_limit: 1, granularity: op}}
run_monitoring: {{enabled: true, max_runtime_seconds: 7200, free_slots_after_run_end_seconds: 60}}
run_retries: {{enabled: true, max_retries: 2, retry_on_asset_or_op_failure: false}}
"""

_OUTPUT = """\
compute_logs:
  module: dagster.core.storage.local_compute_log_manager
  class: LocalComputeLogManager
  config: {{base_dir: "{base}/compute_logs"}}"""

_NO_OUTPUT = """\
compute_logs:
  module: dagster.core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager"""

_WITHOUT_OUTPUT = "dagster-without-output.yaml"

_WORKSPACE = """\
load_from:
  - python_module:
      module_name: evalpipe.definitions
      location_name: evalpipe
"""


ISSUE_TAG = "evalpipe/issue"
"""Run tag: the issue that a run generates for. Of two such runs the second waits in the queue, not in a slot."""

PROCESS_TAG = "evalpipe/process"
"""Run tag: the process that runs it itself, without a daemon that would notice its end."""


@contextmanager
def instance_of(home: Home, *, with_output: bool = True) -> Iterator["DagsterInstance"]:
    """Dagster's instance on this home, so that the UI shows what was run here.

    `with_output` keeps what steps print beside their events; each run starts four processes for it.

    Runs of processes that were killed are closed first: the slots that they hold in a pool would block every later
    run of the same asset for ever, and they would look as if they went on.
    """
    os.environ.update(_environment(home))
    from dagster import DagsterInstance

    folder = _prepared(home)
    with alone(folder / ".making.lock"):  # two that make Dagster's tables at once leave them unusable for ever
        made = DagsterInstance.from_config(str(folder), "dagster.yaml" if with_output else _WITHOUT_OUTPUT)
    with made as instance:
        _close_abandoned_runs(instance, folder)
        with _lock_of(folder, str(os.getpid())).open("w") as own:
            fcntl.flock(own, fcntl.LOCK_SH)  # held until this process ends, however it ends
            yield instance


def _close_abandoned_runs(instance: "DagsterInstance", folder: Path) -> None:
    from dagster import DagsterRunStatus, RunsFilter

    unfinished = RunsFilter(statuses=[DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
    for run in instance.get_runs(unfinished):
        process = run.tags.get(PROCESS_TAG)
        if process is not None and not _is_alive(folder, process):
            instance.report_run_failed(run, f"process {process} was killed; evalpipe run goes on where it stopped")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _is_alive(folder: Path, process: str) -> bool:
    """Whether a process holds its lock. This process does not yet: what bears its number was left by another."""
    lock = _lock_of(folder, process)
    if not process.isdigit() or not lock.exists():
        return False
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    lock.unlink(missing_ok=True)
    return False


def _lock_of(folder: Path, process: str) -> Path:
    (folder / "processes").mkdir(exist_ok=True)
    return folder / "processes" / f"{process}.lock"


def dagster_command(home: Home, host: str, port: int) -> Command:
    """The Dagster webserver and daemon on this home, as one process."""
    workspace = _prepared(home) / "workspace.yaml"
    if not (home.dagster / "history" / "runs.db").exists():
        with instance_of(home):  # they would make their tables both at once
            pass
    arguments = [sys.executable, "-m", "dagster", "dev", "-w", str(workspace), "-h", host, "-p", str(port)]
    return Command(arguments, _environment(home))


def _environment(home: Home) -> dict[str, str]:
    return {
        "DAGSTER_HOME": str(home.dagster),
        "EVALPIPE_HOME": str(home.root),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PYTHONWARNINGS": "ignore",
    }


def _prepared(home: Home) -> Path:
    folder = home.dagster
    folder.mkdir(parents=True, exist_ok=True)
    for name, output in (("dagster.yaml", _OUTPUT), (_WITHOUT_OUTPUT, _NO_OUTPUT)):
        text = _INSTANCE.format(base=folder, issue_tag=ISSUE_TAG, compute_logs=output.format(base=folder))
        # Whole, because a worker that starts may be reading it.
        write_whole(folder / name, text)
    (folder / "workspace.yaml").write_text(_WORKSPACE, encoding="utf-8")
    return folder
