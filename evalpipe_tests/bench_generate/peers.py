"""Judges evolved by evalpipe and by two other products, from the same reviewed traces and by the same scripted model.

Each product runs in its own Python: `BENCH_PEERS` names the folder with `venv-mlflow` (mlflow, dspy, gepa, litellm) and
`venv-evidently` (evidently, litellm, pandas<3). It is told of its task in a file of JSON: issue, url, seed, and the
training rows of text, failed and note; it answers with the instruction that it found, and evalpipe's judge asks that of
the held-out traces, so that nothing but the instruction makes a difference. The model is peer_model.py's.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalpipe.evaluators.judge import judge_view
from evalpipe.generation.judging import EvolvedJudge, evolve_judge
from evalpipe.ids import content_hash
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.settings import JudgeSettings, LlmSettings
from evalpipe.traces.rendering import render
from evalpipe_tests.bench_generate.peer_model import PeerModel
from evalpipe_tests.generation.claims import ISSUE_NAME, Claims, claims
from evalpipe_tests.scripted_model import MODEL, Server, scripted_model

_MAX_CHARS = 24_000  # no planted trace is nearly so long
_LIMIT_S = 900.0


@dataclass(frozen=True)
class JudgeSizes:
    """How much is measured."""

    n_failures: int = 60
    n_others: int = 240


class Peer(NamedTuple):
    """Where a product is installed, and the script beside this file that drives it."""

    name: str
    folder: str
    script: str


class Judged(NamedTuple):
    """A judge that was evolved, on traces that played no part in it. `n_calls` is what finding it took."""

    name: str
    mcc_before: float | None
    mcc: float | None
    n_calls: int
    seconds: float
    n_test: int


PEERS = (
    Peer("Evidently, prompt optimiser, feedback strategy, MCC", "venv-evidently", "peer_evidently.py"),
    Peer("MLflow, judge alignment by GEPA", "venv-mlflow", "peer_mlflow.py"),
)


def judges(sizes: JudgeSizes, folder: Path, peers: Path | None, seed: int) -> Iterator[Judged]:
    """evalpipe's judge, the same again from its cache, then those of the peers that are installed."""
    made = claims(sizes.n_failures, sizes.n_others, seed)
    with scripted_model(PeerModel()) as server:
        llm = LlmSettings(judge_model=MODEL, api_base=server.url, cache=folder / "answers.sqlite")
        evolved, first = _evolve(made, llm, server, seed, "evalpipe")
        before = _held_out_mcc(evolved.lineage[0]["instruction"], evolved, made, llm)
        yield first._replace(mcc_before=before)
        yield _evolve(made, llm, server, seed, "evalpipe, a second time")[1]._replace(mcc_before=before)
        task = _task(made, evolved, server.url, seed)
        for peer in PEERS:
            if peers is None or not (python := peers / peer.folder / "bin" / "python").exists():
                continue
            server.reset()
            start = time.perf_counter()
            instruction = _instruction(peer, python, task, folder)
            seconds, n_calls = time.perf_counter() - start, server.n_requests
            found = _held_out_mcc(instruction, evolved, made, llm)
            yield Judged(peer.name, before, found, n_calls, seconds, first.n_test)


def _evolve(made: Claims, llm: LlmSettings, server: Server, seed: int, name: str) -> tuple[EvolvedJudge, Judged]:
    server.reset()
    start = time.perf_counter()
    evolved = evolve_judge(
        ISSUE_NAME, made.examples, made.notes, incumbent=None, llm=llm, judges=JudgeSettings(), seed=seed
    )
    seconds = time.perf_counter() - start
    is_test = np.array([flag is not None for flag in evolved.held_out])
    flags = np.array([bool(flag) for flag in evolved.held_out])[is_test]
    n_test = int(is_test.sum())
    # What it takes until the instruction is there; then come the verdicts that its figures are made of.
    n_calls = min(int(evolved.spent["search_calls"]), server.n_requests)
    found = mcc(confusion(made.examples.is_failure[is_test], flags))
    return evolved, Judged(name, None, found, n_calls, seconds, n_test)


def _held_out_mcc(instruction: str, evolved: EvolvedJudge, made: Claims, llm: LlmSettings) -> float | None:
    """Of an instruction alone, on the traces that evalpipe's evolution kept aside."""
    is_test = np.array([flag is not None for flag in evolved.held_out])
    program = {**evolved.program, "instruction": instruction, "cases": []}
    said = judge_view(program, made.examples.view.filter(is_test), llm=llm)
    return mcc(confusion(made.examples.is_failure[is_test], (said["outcome"] == "fail").to_numpy()))


def _task(made: Claims, evolved: EvolvedJudge, url: str, seed: int) -> dict[str, Any]:
    """All but the held-out traces."""
    examples = made.examples
    transcripts = examples.view["transcript"].to_list()
    rows = zip(transcripts, examples.trace_ids, examples.is_failure.tolist(), evolved.held_out, strict=True)
    train = [
        {"text": _fenced(transcript), "failed": failed, "note": made.notes[trace_id]}
        for transcript, trace_id, failed, flag in rows
        if flag is None
    ]
    return {"issue": ISSUE_NAME, "url": url, "seed": seed, "train": train}


def _fenced(transcript: Sequence[Mapping[str, Any]]) -> str:
    """As evalpipe shows it to a judge, so that the model finds the trace in every product's prompt."""
    text = render(transcript, _MAX_CHARS).text
    fence = f"trace-{content_hash([text], 16)}"
    return f"<{fence}>\n{text}\n</{fence}>"


def _instruction(peer: Peer, python: Path, task: Mapping[str, Any], folder: Path) -> str:
    own = folder / peer.folder
    own.mkdir()
    (own / "task.json").write_text(json.dumps(task), encoding="utf-8")
    done = subprocess.run(
        [python, Path(__file__).with_name(peer.script), own / "task.json"],
        cwd=own,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{peer.name} did not finish: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])["instruction"]
