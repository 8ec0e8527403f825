"""The gate over the lake: the suite as it stands, cases from a file or a release, the decision kept for ever."""

import json
from datetime import datetime
from pathlib import Path

import polars as pl

from evalpipe.errors import InputError, StateError
from evalpipe.evaluators.on_lake import features_of, labelled_traces, standing
from evalpipe.files import write_whole
from evalpipe.gate.cases import read_cases
from evalpipe.gate.judge import GateOutcome, judge_cases
from evalpipe.gate.render import decision_json, junit_xml, markdown
from evalpipe.gate.replay import cases_of
from evalpipe.ids import is_safe_name
from evalpipe.lake.store import Lake
from evalpipe.settings import Settings
from evalpipe.tables import (
    ANNOTATIONS,
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    GATE_RESULTS,
    GATE_RUNS,
    ISSUES,
    LABELS,
    TRACES,
)


def gate(
    lake: Lake,
    artifacts: Path,
    *,
    cases: Path | None,
    release: str | None,
    settings: Settings,
    now: datetime,
) -> GateOutcome:
    """Judge the cases of a file, or the traces of a release, with the suite as it stands; keep the decision.

    Exactly one of `cases` and `release` is given. The decision is in `gate_runs` and `gate_results`, and as
    decision.json, junit.xml and summary.md under `artifacts`/gates/ID. The same question has the same gate_id and
    is kept once. Raises InputError for unusable cases, StateError for a release never seen or an empty suite.
    """
    if (cases is None) == (release is None):
        raise InputError("the gate judges either --cases FILE or --release VERSION: give exactly one of them")
    traces = read_cases(cases) if cases is not None else release_traces(lake, str(release))
    suite = standing(lake.read(EVALUATORS), lake.read(EVALUATOR_QUALITY), settings.quality, lake.read(EVALUATOR_HEALTH))
    if suite.is_empty():
        raise StateError(
            "there is no evaluator yet, so nothing can be gated. Annotate the queue (evalpipe queue export), then "
            "evalpipe annotations import FILE and evalpipe run"
        )
    outcome = judge_cases(
        traces,
        suite,
        lake.read(ISSUES),
        features=features_of(lake, traces) if release is not None else None,
        earlier_runs=lake.read(GATE_RUNS),
        earlier_results=lake.read(GATE_RESULTS),
        source="cases" if cases is not None else "release",
        release=release,
        settings=settings,
        now=now,
    )
    lake.append_new(GATE_RESULTS, outcome.results)
    lake.append_new(GATE_RUNS, outcome.run)
    _write_files(artifacts, outcome)
    return outcome


def release_traces(lake: Lake, release: str) -> pl.DataFrame:
    """The TRACES that a service version emitted. Raises StateError when there are none, naming those there are."""
    traces = lake.read(TRACES, pl.col("service_version") == release)
    if traces.is_empty():
        known = lake.scan(TRACES).select(pl.col("service_version").drop_nulls().unique()).collect()
        versions = ", ".join(sorted(known["service_version"])) or "none"
        raise StateError(
            f"release {release} was never seen; versions seen: {versions}. "
            "Check service.version of the exporter, and run evalpipe run after ingesting its traffic"
        )
    return traces


def regression_cases(lake: Lake) -> str:
    """The inputs that CI replays against a new release, as JSON lines. Raises StateError while nothing is annotated."""
    labels = lake.read(LABELS)
    if labels.is_empty():
        raise StateError("nothing is annotated, so there is nothing to replay. Run: evalpipe queue export")
    rows = cases_of(labelled_traces(lake, labels), labels, lake.read(ISSUES), lake.read(ANNOTATIONS))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_files(artifacts: Path, outcome: GateOutcome) -> None:
    gate_id = outcome.run["gate_id"][0]
    if not is_safe_name(gate_id):
        raise InputError(f"gate id {gate_id!r} cannot name a folder")
    folder = artifacts / "gates" / gate_id
    texts = {"decision.json": decision_json(outcome), "junit.xml": junit_xml(outcome), "summary.md": markdown(outcome)}
    for name, text in texts.items():
        write_whole(folder / name, text)
