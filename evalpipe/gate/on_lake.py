"""The gate over the lake: the suite as it stands, cases from a file or a release, the decision kept for ever."""

import json
from datetime import datetime
from pathlib import Path

import polars as pl

from evalpipe.errors import InputError, StateError
from evalpipe.evaluators.on_lake import features_of, labelled_traces, standing
from evalpipe.files import write_whole
from evalpipe.gate.cases import cases_of_traffic, read_cases
from evalpipe.gate.export import Exported, export_events
from evalpipe.gate.judge import Asked, GateOutcome, History, judge_cases
from evalpipe.gate.members import Member, members_of
from evalpipe.gate.render.decision import decision_json
from evalpipe.gate.render.junit import junit_xml
from evalpipe.gate.render.links import Links
from evalpipe.gate.render.markdown import markdown
from evalpipe.gate.render.page import gate_page
from evalpipe.gate.render.sarif import sarif
from evalpipe.gate.replay import cases_of
from evalpipe.gate.request import GateRequest
from evalpipe.ids import is_safe_name
from evalpipe.lake.store import Lake
from evalpipe.settings import Settings
from evalpipe.tables import (
    ANNOTATIONS,
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    GATE_CASES,
    GATE_RESULTS,
    GATE_RUNS,
    ISSUES,
    LABELS,
    SPANS,
    TRACES,
)


def gate(lake: Lake, artifacts: Path, request: GateRequest, *, settings: Settings, now: datetime) -> GateOutcome:
    """Judge what the request names with the suite as it stands; keep the decision.

    The decision is in `gate_runs`, `gate_results` and `gate_cases`, and in files under `artifacts`/gates/ID. The same
    question has the same gate_id and is kept once. Raises InputError for unusable cases, StateError for a release never
    seen or an empty suite; nothing is written then.
    """
    settings = settled(settings, request)
    if request.cases is not None:
        cases, features = read_cases(request.cases, is_strict=request.is_strict), None
    else:
        cases = cases_of_traffic(traces_of(lake, request))
        features = features_of(lake, cases.traces)
    history = History(lake.read(GATE_RUNS), lake.read(GATE_RESULTS), lake.scan(GATE_CASES))
    outcome = judge_cases(
        cases,
        suite_of(lake, settings),
        asked=Asked("release" if request.cases is None else "cases", request.release, request.by, request.commit),
        features=features,
        history=history,
        settings=settings,
        now=now,
    )
    # The run comes last: a gate that is in gate_runs is whole.
    lake.append_new(GATE_CASES, outcome.cases)
    lake.append_new(GATE_RESULTS, outcome.results)
    write_files(artifacts, outcome, history, settings, cases_file=cases_file_of(request))
    lake.append_new(GATE_RUNS, outcome.run)
    return outcome


def settled(settings: Settings, request: GateRequest) -> Settings:
    """The settings with what the request says otherwise."""
    asked = {"policy": request.policy, "on_abstain": request.on_abstain}
    said = {name: value for name, value in asked.items() if value is not None}
    return settings.model_copy(update={"gate": settings.gate.model_copy(update=said)})


def suite_of(lake: Lake, settings: Settings) -> tuple[Member, ...]:
    """The suite as it stands. Raises StateError where there is none."""
    suite = standing(lake.read(EVALUATORS), lake.read(EVALUATOR_QUALITY), settings.quality, lake.read(EVALUATOR_HEALTH))
    if suite.is_empty():
        raise StateError(
            "there is no evaluator yet, so nothing can be gated. Annotate the queue (evalpipe queue export), then "
            "evalpipe annotations import FILE and evalpipe run"
        )
    return members_of(suite, lake.read(ISSUES))


def traces_of(lake: Lake, request: GateRequest) -> pl.DataFrame:
    """The TRACES that the request names by release or reference. Raises StateError when there are none."""
    if request.gate_ref is None:
        return release_traces(lake, str(request.release))
    traces = lake.read(TRACES, pl.col("gate_ref") == request.gate_ref)
    if traces.is_empty():
        raise StateError(
            f"no trace has the resource attribute evalpipe.gate.id={request.gate_ref}. Set it where the application is "
            "replayed (OTEL_RESOURCE_ATTRIBUTES=evalpipe.gate.id=...), and run evalpipe run, or gate with --wait"
        )
    return traces


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


def folder_of(artifacts: Path, gate_id: str) -> Path:
    """Where the files of a gate are. Raises InputError for an id that can name no folder."""
    if not is_safe_name(gate_id):
        raise InputError(f"gate id {gate_id!r} cannot name a folder")
    return artifacts / "gates" / gate_id


def cases_file_of(request: GateRequest) -> str | None:
    """The file of cases as a repository names it: its path, or its name where the path is not a relative one."""
    if request.cases is None:
        return None
    return request.cases.name if request.cases.is_absolute() else request.cases.as_posix()


def links_of(settings: Settings) -> Links:
    return Links(settings.alerts.base_url)


def write_files(
    artifacts: Path, outcome: GateOutcome, history: History, settings: Settings, *, cases_file: str | None = None
) -> Path:
    """Every form of a decision, into its folder, which is returned."""
    folder, links = folder_of(artifacts, outcome.gate_id), links_of(settings)
    confidence = settings.gate.confidence
    texts = {
        "decision.json": decision_json(outcome),
        "junit.xml": junit_xml(outcome),
        "summary.md": markdown(outcome, links=links),
        "sarif.json": sarif(outcome, cases_file=cases_file, links=links),
        "gate.html": gate_page(outcome, runs=history.runs, results=history.results, links=links, confidence=confidence),
    }
    for name, text in texts.items():
        write_whole(folder / name, text)
    return folder


def export(lake: Lake, outcome: GateOutcome, settings: Settings) -> Exported | None:
    """Send the verdicts as events to `settings.gate.otlp_endpoint`; None without one. Raises nothing.

    The event of a trace belongs to its root span.
    """
    if settings.gate.otlp_endpoint is None:
        return None
    root_spans: dict[str, str] = {}
    if outcome.run["source"][0] == "release":
        ids, days = outcome.traces["trace_id"], outcome.traces["day"].unique()
        is_root = pl.col("day").is_in(days.implode()) & pl.col("parent_span_id").is_null()
        roots = lake.scan(SPANS).filter(is_root).select("trace_id", "span_id", "start_unix_ns").collect()
        first = roots.filter(pl.col("trace_id").is_in(ids.implode())).sort("start_unix_ns", descending=True)
        root_spans = dict(first.select("trace_id", "span_id").iter_rows())
    return export_events(outcome, settings.gate.otlp_endpoint, root_spans=root_spans)
