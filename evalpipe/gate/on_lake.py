"""The gate over the lake: the suite as it stands, cases from a file or a release, the decision kept for ever."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from evalpipe.errors import InputError, StateError
from evalpipe.evaluators.on_lake import features_of, labelled_traces, standing
from evalpipe.files import write_whole
from evalpipe.gate.bundle import bundle_json
from evalpipe.gate.cases import case_rejections, cases_of_traffic, read_cases
from evalpipe.gate.export import Exported, export_events
from evalpipe.gate.judge import Asked, GateOutcome, History, judge_cases
from evalpipe.gate.members import Member, members_of
from evalpipe.gate.render.forms import KEPT, rendered
from evalpipe.gate.replay import cases_of
from evalpipe.gate.request import GateRequest, settled
from evalpipe.ids import is_safe_name
from evalpipe.lake.store import Lake
from evalpipe.redaction.redactor import redactor_at
from evalpipe.settings import GateSettings, Settings
from evalpipe.tables import (
    ANNOTATIONS,
    CLOSED,
    EVALUATOR_HEALTH,
    EVALUATOR_QUALITY,
    EVALUATORS,
    GATE_CASES,
    GATE_RESULTS,
    GATE_RUNS,
    ISSUES,
    LABELS,
    REJECTIONS,
    SPANS,
    TRACES,
    VERDICTS,
)
from evalpipe.traces.prices import load_prices
from evalpipe.traces.spans import Reading


def gate(lake: Lake, artifacts: Path, request: GateRequest, *, settings: Settings, now: datetime) -> GateOutcome:
    """Judge what the request names with the suite as it stands; keep the decision.

    The decision is in `gate_runs`, `gate_results` and `gate_cases`, and in files under `artifacts`/gates/ID; refused
    cases are in `rejections`. The same question has the same gate_id and is kept once. Raises InputError for unusable
    cases, StateError for a release never seen or an empty suite; nothing is written then.
    """
    settings = settled(settings, request)
    rejections = REJECTIONS.empty()
    if request.cases is not None:
        reading = _reading(settings)
        cases, features = read_cases(request.cases, is_strict=request.is_strict, reading=reading), None
        # Evaluators learned from redacted texts, and what a page or a judge is shown is as private as traffic.
        cases = cases._replace(traces=reading.redactor.traces(cases.traces))
        rejections = reading.redactor.rejections(case_rejections(cases, source=request.cases.name, now=now))
    else:
        cases = cases_of_traffic(traces_of(lake, request, settings.gate))
        features = features_of(lake, cases.traces)
    outcome = judge_cases(
        cases,
        suite_of(lake, settings),
        asked=Asked("release" if request.cases is None else "cases", request.release, request.by, request.commit),
        features=features,
        history=History(lake.read(GATE_RUNS), lake.read(GATE_RESULTS), lake.scan(GATE_CASES)),
        settings=settings,
        now=now,
    )
    lake.append_new(REJECTIONS, rejections)
    # The run comes last: a gate that is in gate_runs is whole.
    lake.append_new(GATE_CASES, outcome.cases)
    lake.append_new(GATE_RESULTS, outcome.results)
    _write_files(artifacts, outcome, settings, request)
    lake.append_new(GATE_RUNS, outcome.run)
    return outcome


def suite_of(lake: Lake, settings: Settings) -> tuple[Member, ...]:
    """The suite as it stands. Raises StateError where there is none."""
    suite = standing(lake.read(EVALUATORS), lake.read(EVALUATOR_QUALITY), settings.quality, lake.read(EVALUATOR_HEALTH))
    if suite.is_empty():
        raise StateError(
            "there is no evaluator yet, so nothing can be gated. Annotate the queue (evalpipe queue export), then "
            "evalpipe annotations import FILE and evalpipe run"
        )
    return members_of(suite, lake.read(ISSUES))


def exported_suite(lake: Lake, settings: Settings, now: datetime) -> str:
    """The suite as it stands, as one file that travels: see bundle.py. Raises StateError where there is none."""
    return bundle_json(suite_of(lake, settings), lake.read(GATE_RUNS), lake.read(GATE_RESULTS), settings, now)


def traces_of(lake: Lake, request: GateRequest, settings: GateSettings) -> pl.DataFrame:
    """The TRACES that the request names by release, by reference or by both, the newest `max_traces` of them.

    Raises StateError when there are none, saying which there are.
    """
    keys = lake.scan(TRACES).filter(_is_asked_for(request)).select("day", "trace_id", "start_unix_ns")
    newest = keys.collect().sort("start_unix_ns", "trace_id").tail(settings.max_traces)
    if newest.is_empty():
        raise StateError(_nothing_of(lake, request))
    days, ids = (newest[name].unique().implode() for name in ("day", "trace_id"))
    return lake.read(TRACES, pl.col("day").is_in(days), pl.col("trace_id").is_in(ids))


def n_arrived(lake: Lake, request: GateRequest) -> int:
    """How many of the traces that the request names could be judged now."""
    return int(lake.scan(TRACES).filter(_is_asked_for(request)).select(pl.len()).collect().item())


def _is_asked_for(request: GateRequest) -> pl.Expr:
    """Of TRACES: those that the request names. One that may still grow is there when its root has come."""
    named = {"service_version": request.release, "gate_ref": request.gate_ref}
    is_named = pl.all_horizontal(pl.col(name) == value for name, value in named.items() if value is not None)
    return is_named & (CLOSED | ~pl.col("defects").list.contains("missing_root"))


def _nothing_of(lake: Lake, request: GateRequest) -> str:
    if request.gate_ref is not None:
        return (
            f"no trace has the resource attribute evalpipe.gate.id={request.gate_ref}. Set it where the application is "
            f"replayed (OTEL_RESOURCE_ATTRIBUTES=evalpipe.gate.id={request.gate_ref}), then evalpipe run, or wait for "
            "the traces: evalpipe gate --wait"
        )
    known = lake.scan(TRACES).select(pl.col("service_version").drop_nulls().unique()).collect()
    versions = ", ".join(sorted(known["service_version"])) or "none"
    return (
        f"release {request.release} was never seen; versions seen: {versions}. "
        "Check service.version of the exporter, and run evalpipe run after ingesting its traffic"
    )


def regression_cases(lake: Lake, issue_ids: Sequence[str] = (), *, limit: int | None = None) -> list[dict[str, Any]]:
    """The inputs that CI replays against a new release, of these issues or of all that are open or solved.

    See replay.cases_of. Raises StateError for an unknown issue, and where no failure is annotated.
    """
    labels, issues = lake.read(LABELS), lake.read(ISSUES)
    if unknown := sorted(set(issue_ids) - set(issues["issue_id"])):
        raise StateError(f"there is no issue {', '.join(unknown)}. Run: evalpipe issues list")
    traces = labelled_traces(lake, labels)
    of_traces = pl.col("trace_id").is_in(traces["trace_id"].implode())
    verdicts = lake.read(VERDICTS, pl.col("day").is_in(labels["day"].unique().implode()), of_traces)
    cases = cases_of(traces, labels, issues, lake.read(ANNOTATIONS), verdicts, issue_ids=issue_ids, limit=limit)
    if not cases:
        of_these = f" of {', '.join(issue_ids)}" if issue_ids else ""
        raise StateError(
            f"no failure{of_these} is annotated, so there is nothing to replay. Run: evalpipe queue export"
        )
    return cases


def _reading(settings: Settings) -> Reading:
    """How traces of a file are read: as those that land."""
    redactor = redactor_at(settings.home.absolute(), settings.redaction)
    return Reading(settings.observe, load_prices(settings.observe.prices), redactor)


def folder_of(artifacts: Path, gate_id: str) -> Path:
    """Where the files of a gate are. Raises InputError for an id that can name no folder."""
    if not is_safe_name(gate_id):
        raise InputError(f"gate id {gate_id!r} cannot name a folder")
    return artifacts / "gates" / gate_id


def _write_files(artifacts: Path, outcome: GateOutcome, settings: Settings, request: GateRequest) -> None:
    """Every form of a decision, into its folder."""
    folder, path = folder_of(artifacts, outcome.gate_id), request.cases
    # As a repository names it: a path outside it is of this machine alone.
    cases_file = None if path is None else path.name if path.is_absolute() else path.as_posix()
    for form, name in KEPT.items():
        write_whole(folder / name, rendered(form, outcome, settings, cases_file=cases_file))


def export(lake: Lake, outcome: GateOutcome, settings: Settings) -> Exported | None:
    """Send the verdicts as events to `settings.gate.otlp_endpoint`; None without one. Raises nothing."""
    endpoint = settings.gate.otlp_endpoint
    return export_events(outcome, endpoint, root_spans=_root_spans(lake, outcome) if endpoint else None)


def _root_spans(lake: Lake, outcome: GateOutcome) -> dict[str, str]:
    """By trace its root span, to which its events belong; a case of a file has none."""
    if outcome.run["source"][0] != "release":
        return {}
    ids, days = outcome.traces["trace_id"], outcome.traces["day"].unique()
    is_root = pl.col("day").is_in(days.implode()) & pl.col("parent_span_id").is_null()
    is_root &= pl.col("trace_id").is_in(ids.implode())
    roots = lake.scan(SPANS).filter(is_root).select("trace_id", "span_id", "start_unix_ns").collect()
    first = roots.sort("start_unix_ns", descending=True)
    return dict(first.select("trace_id", "span_id").iter_rows())
