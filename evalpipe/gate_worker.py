"""A process that judges for the webhook: python -m evalpipe.gate_worker HOME. It is started by web/hook_workers.py.

One job at a time, a line of JSON on standard input, is answered by a line on standard output. Everything slow is
imported and tried before it says that it is ready. It ends at once when its standard input does.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import dagster as dg

    from evalpipe.home import Home

REQUEST_TAG = "evalpipe/gate_request"
"""Run tag: the request of the webhook that is judged."""

COMMIT_TAG = "evalpipe/commit"
"""Run tag: the commit of the application."""

_ASSET = "gate_runs"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}  # the event log has it all


def main(root: str) -> None:
    """Answer until standard input ends."""
    # systemd signals every process of a service, and it is the parent that ends this one. Handlers, because what is
    # blocked or ignored stays so in children, and Dagster ends its own with SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up among the answers
    tasks: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, tasks), daemon=True).start()

    from evalpipe.dagster_home import instance_of
    from evalpipe.home import Home

    home = Home.open(root)
    with instance_of(home, with_output=False) as instance:
        from evalpipe.definitions import defs

        job = defs.resolve_job_def("gate_job")
        with suppress(Exception):  # what is wrong with this home is said to who asks
            _warm_up(home)
        _say(answers, {"kind": "ready"})
        for task in _tasks(tasks):
            act = partial(_look, home, instance) if task["do"] == "look" else partial(judged, home, instance, job)
            _say(answers, _replying(partial(act, task)))


def judged(
    home: "Home", instance: "dg.DagsterInstance", job: "dg.JobDefinition", task: dict[str, Any]
) -> dict[str, Any]:
    """Run the gate as a Dagster job in this process. What the reply says:

    decided: `gate_id`, `exit_code` and `decision`, JSON as text. refused: `message`, why this cannot be judged. broken:
    `message`, for what is not the question's fault. Each with its `run_id`.
    """
    from evalpipe.dagster_home import PROCESS_TAG
    from evalpipe.defs.retries import NEVER_STARTED_AGAIN
    from evalpipe.errors import EvalpipeError
    from evalpipe.materialise import LOCATION

    question = task["question"]
    commit = question.get("commit")
    run = job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        run_config=_QUIET | {"ops": {_ASSET: {"config": question}}},
        tags={
            PROCESS_TAG: str(os.getpid()),
            REQUEST_TAG: task["id"],
            **({COMMIT_TAG: commit} if commit else {}),
            **LOCATION,
            **NEVER_STARTED_AGAIN,
        },
    )
    about = {"run_id": run.run_id}
    if run.success:
        metadata = run.asset_materializations_for_node(_ASSET)[0].metadata
        return about | _decided(home, str(metadata["gate_id"].value))
    for event in run.all_node_events:
        if not event.is_step_failure:
            continue
        failure = event.step_failure_data
        said = failure.user_failure_data
        if said is not None and "gate_id" in said.metadata:
            return about | _decided(home, str(said.metadata["gate_id"].value))
        # Dagster wraps what an asset raises, and what we raise may have a cause: ours is what has words for people.
        chain, error = [], failure.error
        while error is not None:
            chain.append(error)
            error = error.cause
        if chain:
            told = next((one for one in chain if _is_a(one.cls_name or "", EvalpipeError)), chain[-1])
            return about | _not_decided(told.cls_name or "", told.message.strip())
    return about | {"kind": "broken", "message": f"the run failed and does not say why; see run {run.run_id}"}


def _decided(home: "Home", gate_id: str) -> dict[str, Any]:
    import orjson

    from evalpipe.gate.on_lake import folder_of
    from evalpipe.gate.render.forms import KEPT

    text = (folder_of(home.artifacts, gate_id) / KEPT["json"]).read_text(encoding="utf-8")
    return {"kind": "decided", "gate_id": gate_id, "exit_code": orjson.loads(text)["exit_code"], "decision": text}


def _not_decided(class_name: str, message: str) -> dict[str, Any]:
    from evalpipe import errors

    is_refused = _is_a(class_name, errors.InputError) or _is_a(class_name, errors.StateError)
    is_our_fault = class_name in ("LakeConflictError", "JournalError", "SettingsError", "ArtifactError")
    # Its class comes first in what Dagster keeps of an error.
    words = message.removeprefix(f"evalpipe.errors.{class_name}: ")
    return {"kind": "refused" if is_refused and not is_our_fault else "broken", "message": words}


def _is_a(class_name: str, parent: type[Exception]) -> bool:
    """Whether one of our errors is called so and is such a one; Dagster keeps of an error the name alone."""
    from evalpipe import errors

    kind = getattr(errors, class_name, None)
    return isinstance(kind, type) and issubclass(kind, parent)


def _replying(act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return act()
    except Exception as error:
        traceback.print_exc()
        return _not_decided(type(error).__name__, str(error) or type(error).__name__)


def _look(home: "Home", instance: "dg.DagsterInstance", task: dict[str, Any]) -> dict[str, Any]:
    """Make traces of all that has arrived. seen: `n`, how many of those asked for there are."""
    from evalpipe.gate.on_lake import n_arrived
    from evalpipe.gate.request import GateRequest
    from evalpipe.materialise import take_in

    take_in(home, instance, datetime.now(UTC))
    asked = GateRequest(release=task["question"].get("release"), gate_ref=task["question"].get("gate_ref"))
    return {"kind": "seen", "n": n_arrived(home.lake, asked)}


def _warm_up(home: "Home") -> None:
    """Judge one case with the suite as it stands, and keep nothing: its code is loaded, its patterns are compiled."""
    import tempfile

    from evalpipe.gate.cases import read_cases
    from evalpipe.gate.judge import Asked, judge_cases
    from evalpipe.gate.on_lake import suite_of
    from evalpipe.gate.render.forms import KEPT, rendered

    rules = [member for member in suite_of(home.lake, home.settings) if member.run.kind != "judge"]  # those cost money
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.jsonl"
        path.write_text('{"input": "May I have a refund?", "output": "Yes, it is on its way."}\n')
        outcome = judge_cases(
            read_cases(path), rules, asked=Asked("cases"), settings=home.settings, now=datetime.now(UTC)
        )
    for form in KEPT:
        rendered(form, outcome, home.settings, cases_file=path.name)


def _read(lines: BinaryIO, tasks: "SimpleQueue[bytes]") -> None:
    for line in lines:
        tasks.put(line)
    # The parent is gone, or wants an end. A gate that was under way is written whole or not at all.
    os._exit(0)


def _tasks(lines: "SimpleQueue[bytes]") -> Iterator[dict[str, Any]]:
    import orjson

    while True:
        yield orjson.loads(lines.get())


def _say(answers: BinaryIO, reply: dict[str, Any]) -> None:
    import orjson

    answers.write(orjson.dumps(reply) + b"\n")
    answers.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the thread that reads would keep an orderly end waiting
