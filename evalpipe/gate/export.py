"""A gate's verdicts as gen_ai.evaluation.result events, sent over OTLP/HTTP to any backend.

Whatever goes wrong here is told and changes no decision. The files of a gate are in render/.

Source: the event gen_ai.evaluation.result of github.com/open-telemetry/semantic-conventions-genai,
model/gen-ai/events.yaml (development). It is a log record with an event name; its parent is the span that was
evaluated. Of traffic that is the root span of the trace.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord

EVENT = "gen_ai.evaluation.result"
_PATH = "/v1/logs"
_BATCH = 512  # records of a request, as the SDK's own batches
_MAX_EXPLANATION_CHARS = 2_000
_MAX_PROBLEM_CHARS = 500
_FAULT = "evaluator_fault"  # of error.type, which has few values
_TRACE_ID = re.compile("[0-9a-f]{32}")
_SPAN_ID = re.compile("[0-9a-f]{16}")
_INSTALL = "Install it: pip install 'evalpipe[export]'"


class Exported(NamedTuple):
    """How many events a backend took, of how many; `problem` says why not all."""

    n_sent: int
    n_events: int
    problem: str | None = None

    @property
    def in_words(self) -> str:
        told = f"{self.n_sent:,} of {self.n_events:,} evaluation events were sent"
        return told if self.problem is None else f"{told}: {self.problem}"


def export_events(
    outcome: GateOutcome,
    endpoint: str | None,
    *,
    root_spans: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
) -> Exported | None:
    """Send an event for each case and evaluator that judged it; nothing, and None, without an endpoint.

    Raises nothing: what went wrong is in the answer.

    `endpoint` is a base address, such as http://localhost:4318, or the whole one of /v1/logs. `root_spans` is, by
    trace, its root span. A request that fails for the moment is tried again by the exporter within `timeout_s`; after
    one that failed for good no more are sent. OTEL_EXPORTER_OTLP_HEADERS and OTEL_EXPORTER_OTLP_CERTIFICATE hold as
    they do for the SDK.
    """
    if endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs.export import LogRecordExportResult
    except ImportError:
        missing = f"the OTLP exporter is not installed. {_INSTALL}"
        return Exported(0, outcome.verdicts.height, missing)
    n_events, n_sent = outcome.verdicts.height, 0
    problem: str | None = None
    with _heard("opentelemetry") as heard:
        exporter = None
        try:
            exporter = OTLPLogExporter(endpoint=_logs_url(endpoint), timeout=timeout_s)
            for records in _batches(_records(outcome, root_spans or {})):
                if exporter.export(records) is not LogRecordExportResult.SUCCESS:
                    problem = " ".join(heard[-2:])[:_MAX_PROBLEM_CHARS] or "the backend did not take them"
                    break
                n_sent += len(records)
        except Exception as error:  # whatever a transport raises: a backend must never change a decision
            problem = f"{type(error).__name__}: {error}"
        finally:
            if exporter is not None:
                exporter.shutdown()
    return Exported(n_sent, n_events, problem)


def _logs_url(endpoint: str) -> str:
    base = endpoint.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


def _batches(records: Iterator["ReadableLogRecord"]) -> Iterator[list["ReadableLogRecord"]]:
    batch: list[ReadableLogRecord] = []
    for record in records:
        batch.append(record)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _records(outcome: GateOutcome, root_spans: Mapping[str, str]) -> Iterator["ReadableLogRecord"]:
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    run = outcome.run.row(0, named=True)
    at = int(run["decided_at"].timestamp()) * 1_000_000_000 + run["decided_at"].microsecond * 1_000
    scope = InstrumentationScope("evalpipe.gate")
    resources = {
        row["trace_id"]: (row["service_name"], row["service_version"] or run["release"])
        for row in outcome.traces.select("trace_id", "service_name", "service_version").iter_rows(named=True)
    }
    made: dict[tuple[str, str | None], Resource] = {}
    results = {result.run.evaluator_id: result for result in outcome.decision.results}
    for row in outcome.verdicts.iter_rows(named=True):
        service = resources[row["trace_id"]]
        if service not in made:
            name, version = service
            made[service] = Resource({"service.name": name} | ({"service.version": version} if version else {}))
        is_trace = run["source"] == "release" and _TRACE_ID.fullmatch(row["trace_id"]) is not None
        span = root_spans.get(row["trace_id"], "")
        # 0 is what the SDK has for an id that is not known, and the exporter leaves it out.
        belongs_to = SpanContext(
            trace_id=int(row["trace_id"], 16) if is_trace else 0,
            span_id=int(span, 16) if is_trace and _SPAN_ID.fullmatch(span) else 0,
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED if is_trace else TraceFlags.DEFAULT),
        )
        yield ReadableLogRecord(
            LogRecord(
                timestamp=at,
                observed_timestamp=at,
                context=set_span_in_context(NonRecordingSpan(belongs_to)),
                severity_number=SeverityNumber.INFO,
                event_name=EVENT,
                attributes=_attributes(row, results[row["evaluator_id"]], run),
            ),
            made[service],
            scope,
        )


def _attributes(row: Mapping[str, Any], result: EvaluatorResult, run: Mapping[str, Any]) -> dict[str, Any]:
    """The conventions' names, and evalpipe's own beside them. A score of 1 is surely a failure."""
    is_fault = row["outcome"] == "fault"
    said = {
        "gen_ai.evaluation.name": result.run.failure_mode,
        "gen_ai.evaluation.score.value": row["score"],
        "gen_ai.evaluation.score.label": None if is_fault else row["outcome"],
        "gen_ai.evaluation.explanation": (row["explanation"] or "")[:_MAX_EXPLANATION_CHARS] or None,
        "error.type": _FAULT if is_fault else None,
        "evalpipe.evaluator.id": row["evaluator_id"],
        "evalpipe.evaluator.version": row["version"],
        "evalpipe.evaluator.role": result.role,
        "evalpipe.issue.id": result.run.issue_id,
        "evalpipe.case.id": row["trace_id"],
        "evalpipe.gate.id": run["gate_id"],
        "evalpipe.gate.release": run["release"],
    }
    # A lone surrogate is no UTF-8, and would cost the whole request.
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in said.items()
        if value is not None
    }


@contextmanager
def _heard(name: str) -> Iterator[list[str]]:
    """What a library logs meanwhile: the exporter says in no other way why it failed."""
    told: list[str] = []

    class _Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger, listener = logging.getLogger(name), _Listener(logging.WARNING)
    propagates = logger.propagate
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield told
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagates
