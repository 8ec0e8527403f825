"""A gate as JSON, for programs, and the JSON Schema that is published with it (../decision.schema.json)."""

from typing import Any

import orjson
import polars as pl

from evalpipe.gate.decide import EvaluatorResult
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.failing import failing
from evalpipe.tables import GATE_RESULTS, GATE_RUNS, Table

SCHEMA_VERSION = "evalpipe.gate/1"
MAX_FAILING = 50  # of an evaluator: what a person looks through; n_fail and n_fail_elsewhere are whole
MAX_EXPLANATION_CHARS = 2_000
MAX_REFUSED = 200  # n_refused is whole

_JSON_TYPES = {
    pl.String: "string",
    pl.Int32: "integer",
    pl.Int64: "integer",
    pl.Float64: "number",
    pl.Boolean: "boolean",
}
_ANSWERS: dict[str, list[str]] = {
    "decision": ["pass", "block", "abstain"],
    "source": ["cases", "release"],
    "policy": ["default", "article"],
    "role": ["blocking", "monitoring", "skipped"],
    "outcome": ["passed", "failed", "abstained", "skipped"],
    "link": ["new regression", "known open", "returned after resolution"],
    "compared": ["paired", "unpaired"],
    "previous_outcome": ["passed", "failed"],
}
_SHARES = {"suite_pass_rate", "pass_rate", "pass_rate_lower", "pass_rate_upper", "pass_rate_asked", "p_worse"}


def decision_json(outcome: GateOutcome) -> str:
    """The decision for programs, as decision.schema.json describes it.

    The columns of GATE_RUNS, `exit_code`, the reasons apart, the first of the refused cases, and for each evaluator the
    columns of GATE_RESULTS with what of it blocks, why it was not compared, and the first of its failing cases.
    """
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        **outcome.run.row(0, named=True),
        "exit_code": outcome.decision.exit_code,
        "headline": outcome.decision.headline,
        "blocking_reasons": outcome.decision.blocking_reasons,
        "warnings": outcome.decision.warnings,
        "refused": [{"line": one.line, "reason": one.reason} for one in outcome.refused[:MAX_REFUSED]],
        "results": [
            row | _more_of(outcome, result)
            for row, result in zip(outcome.results.drop("gate_id").to_dicts(), outcome.decision.results, strict=True)
        ],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE).decode()


def _more_of(outcome: GateOutcome, result: EvaluatorResult) -> dict[str, Any]:
    run = result.run
    cases = failing(outcome, result).head(MAX_FAILING)
    explained = cases.with_columns(pl.col("explanation").str.head(MAX_EXPLANATION_CHARS))
    return {
        "issue_state": run.issue_state,
        "is_blocking": result.is_blocking,
        "n_positives": run.n_positives,
        "demotion": run.demotion,
        "fault_reason": run.fault_reason,
        "previous_outcome": run.previous_outcome,
        "not_compared": run.not_compared,
        "failing_cases": explained.drop("outcome").to_dicts(),
    }


def decision_schema() -> dict[str, Any]:
    """The JSON Schema of `decision_json`, with the meanings that the tables give."""
    run, result = _of_columns(GATE_RUNS), _of_columns(GATE_RESULTS)
    del result["gate_id"]
    texts = {"type": "array", "items": {"type": "string"}}
    run |= {
        "schema_version": {"const": SCHEMA_VERSION, "description": "changes when a field changes its meaning or goes"},
        "exit_code": {"enum": [0, 1, 2], "description": "0 pass, 1 block, 2 could not decide"},
        "headline": {"type": "string", "description": "the decision in a sentence"},
        "blocking_reasons": texts | {"description": "why it must not ship; empty unless it must not"},
        "warnings": texts | {"description": "what else there is to say; none of it blocks"},
        "refused": {
            "type": "array",
            "maxItems": MAX_REFUSED,
            "description": f"the first {MAX_REFUSED} cases that could not be read; n_refused counts all",
            "items": _object(
                {
                    "line": {"type": ["integer", "null"], "minimum": 1, "description": "of the file, from 1"},
                    "reason": {"type": "string", "description": "what is wrong with it"},
                }
            ),
        },
    }
    result |= {
        "issue_state": {"type": "string", "description": "state of its issue: active, resolved..."},
        "is_blocking": {"type": "boolean", "description": "this keeps the release from shipping"},
        "n_positives": {"type": "integer", "minimum": 0, "description": "failures that its MCC was measured on"},
        "demotion": {"type": ["string", "null"], "description": "why it does not block whatever its MCC"},
        "fault_reason": {"type": ["string", "null"], "description": "of one of the faults"},
        "previous_outcome": {
            "enum": [*_ANSWERS["previous_outcome"], None],
            "description": "in the last gate of another release; null without one",
        },
        "not_compared": {"type": ["string", "null"], "description": "why it is not compared with the last release"},
        "failing_cases": {
            "type": "array",
            "maxItems": MAX_FAILING,
            "description": f"the first {MAX_FAILING} cases that show the failure, counted ones first",
            "items": _object(
                {
                    "case_id": {"type": "string", "description": "id of the case, or the trace"},
                    "line": {"type": ["integer", "null"], "minimum": 1, "description": "of the file; null for traffic"},
                    "score": {
                        "type": ["number", "null"],
                        "minimum": 0,
                        "maximum": 1,
                        "description": "surely a failure",
                    },
                    "explanation": {
                        "type": ["string", "null"],
                        "maxLength": MAX_EXPLANATION_CHARS,
                        "description": "why the evaluator says so",
                    },
                    "is_counted": {
                        "type": "boolean",
                        "description": "false of a case of other issues, which is not in the pass rate",
                    },
                }
            ),
        },
    }
    run["results"] = {"type": "array", "description": "one of each evaluator of the suite", "items": _object(result)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "evalpipe gate decision",
        "description": "May this release ship? What evalpipe gate --json writes.",
        **_object(run),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """All of the properties are there, and no others."""
    names = sorted(properties)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": names,
        "properties": {name: properties[name] for name in names},
    }


def _of_columns(table: Table) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for column in table.columns:
        about: dict[str, Any] = {"description": column.meaning}
        null = ["null"] if column.is_nullable else []
        if column.name in _ANSWERS:
            about["enum"] = [*_ANSWERS[column.name], *([None] if column.is_nullable else [])]
        elif column.dtype == pl.List(pl.String):
            about |= {"type": ["array", *null], "items": {"type": "string"}}
        elif column.dtype == pl.Datetime("us", "UTC"):
            about |= {"type": "string", "format": "date-time"}
        else:
            about["type"] = [_JSON_TYPES[column.dtype], *null]
        if column.name in _SHARES:
            about |= {"minimum": 0, "maximum": 1}
        elif column.name.startswith("n_"):
            about["minimum"] = 0
        fields[column.name] = about
    return fields
