"""A gate as JSON, for programs."""

from typing import Any

import orjson

from evalpipe.gate.judge import GateOutcome

SCHEMA_VERSION = "evalpipe.gate/1"


def decision_json(outcome: GateOutcome) -> str:
    """The decision for programs: the columns of GATE_RUNS, `exit_code`, the reasons apart, and `results`."""
    run = outcome.run.row(0, named=True)
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        **run,
        "exit_code": outcome.decision.exit_code,
        "headline": outcome.decision.headline,
        "blocking_reasons": outcome.decision.blocking_reasons,
        "warnings": outcome.decision.warnings,
        "results": outcome.results.drop("gate_id").to_dicts(),
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE).decode()
