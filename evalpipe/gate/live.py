"""Cases as an application answers them, one by one: each is judged when somebody asks, and all are kept for the gate.

The gate over them is portable.py; how pytest comes to them is pytest_gate.py.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from evalpipe.errors import InputError
from evalpipe.evaluators.catalog import load
from evalpipe.evaluators.run import fields_of, run_evaluators
from evalpipe.evaluators.view import evaluator_view
from evalpipe.gate.bundle import Bundle
from evalpipe.gate.case_json import NoCaseError, case_of, trace_rows
from evalpipe.gate.case_lines import json_lines
from evalpipe.gate.decide import GatePolicy, role_of
from evalpipe.otlp.files import opened
from evalpipe.settings import Settings

_NO_ID = "case"
_MAX_NAMED = 5  # lines that a message names


class Verdict(NamedTuple):
    """What one evaluator says of one case."""

    evaluator_id: str
    failure_mode: str
    issue_id: str | None
    role: str  # blocking or monitoring
    outcome: str  # pass, fail or fault
    explanation: str | None


class Judged:
    """One answer. It is judged when its verdicts are first looked at."""

    def __init__(self, judge: Callable[[], list[Verdict]]) -> None:
        self._judge = judge

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Of every evaluator that is not skipped, by evaluator_id."""
        return self._judge()

    @property
    def failures(self) -> list[Verdict]:
        """Of the evaluators that see their failure in it."""
        return [verdict for verdict in self.verdicts if verdict.outcome == "fail"]

    @property
    def faults(self) -> list[Verdict]:
        """Of the evaluators that could not tell."""
        return [verdict for verdict in self.verdicts if verdict.outcome == "fault"]


class Judges:
    """The evaluators of a suite, ready to judge one case at a time."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        policy = GatePolicy(gate=settings.gate, quality=settings.quality)
        self._runs = {member.run.evaluator_id: member.run for member in bundle.members}
        self._roles = {name: role_of(run, policy) for name, run in self._runs.items()}
        asked = [member for member in bundle.members if self._roles[member.run.evaluator_id] != "skipped"]
        self._artifacts = [load(member.artifact, member.artifact_sha256) for member in asked]
        self._fields = fields_of(self._artifacts)
        self._llm = settings.llm

    def judged(self, document: Mapping[str, Any]) -> Judged:
        """The answer that a case is, as `read_cases` takes them. Raises InputError, saying what is wrong with it."""
        try:
            case = case_of(dict(document))
        except NoCaseError as error:
            raise InputError(
                f"the case {error}. Give input and output, or messages that end with the output."
            ) from error
        traces = trace_rows([case], [str(document.get("id") or _NO_ID)])
        return Judged(lambda: self._verdicts(traces))

    def _verdicts(self, traces: pl.DataFrame) -> list[Verdict]:
        view = evaluator_view(traces, None, fields=self._fields)
        said = run_evaluators(self._artifacts, view, llm=self._llm).sort("evaluator_id")
        return [
            Verdict(
                row["evaluator_id"],
                self._runs[row["evaluator_id"]].failure_mode,
                row["issue_id"],
                self._roles[row["evaluator_id"]],
                row["outcome"],
                row["explanation"],
            )
            for row in said.iter_rows(named=True)
        ]


def unanswered(path: Path, max_bytes: int) -> list[dict[str, Any]] | None:
    """The cases of a JSON Lines file, if none of them has an output: inputs that are still to be answered.

    None for any other file, which `read_cases` reads. Raises InputError where some of these inputs are none.
    """
    found: list[dict[str, Any]] = []
    malformed: list[str] = []
    with opened(path) as stream:
        for line, document, _ in json_lines(stream, max_bytes):
            reason = _why_unanswered(document)
            if reason is None:
                return None
            if reason:
                malformed.append(f"line {line}: {reason}")
            else:
                found.append(document)
    if not found:
        return None
    if malformed:
        more = f"; and {len(malformed) - _MAX_NAMED} more" if len(malformed) > _MAX_NAMED else ""
        raise InputError(
            f"{path}: {len(malformed)} of {len(malformed) + len(found)} cases cannot be asked: "
            f"{'; '.join(malformed[:_MAX_NAMED])}{more}. Correct or remove them."
        )
    return found


def _why_unanswered(document: Any) -> str | None:
    """None for an answered case, "" for one without its output, else why it is no case."""
    try:
        case_of(document)
    except NoCaseError as error:
        reason = str(error)
    else:
        return None
    if not isinstance(document, dict) or document.get("output") is not None:
        return reason
    try:
        case_of({**document, "output": ""})
    except NoCaseError:
        return reason
    return ""


def with_ids_apart(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cases, a further one of the same id under `ID_2`, `ID_3`: it was answered more than once."""
    taken = {document.get("id") for document in documents}
    seen: set[Any] = set()
    apart: list[dict[str, Any]] = []
    for document in documents:
        name, n = document.get("id"), 1
        while name is not None and (name in seen or (n > 1 and name in taken)):
            n += 1
            name = f"{document['id']}_{n}"
        seen.add(name)
        apart.append({**document, "id": name})
    return apart
