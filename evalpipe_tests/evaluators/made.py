"""Small traces and artifacts for the tests of this room, in as few words as possible."""

from datetime import date
from typing import Any

import polars as pl

from evalpipe.evaluators.artifact import Artifact, program_sha256
from evalpipe.evaluators.view import NUMBER_FIELDS
from evalpipe.tables import TRACES
from evalpipe.traces.view import view_frame

Message = tuple[str, ...]


def trace_id(number: int) -> str:
    return f"{number:032x}"


def transcript(*messages: Message) -> list[dict[str, Any]]:
    """("user", text), ("call", tool, arguments), ("result", tool, output) or ("error", tool, output)."""
    steps = []
    for role, *rest in messages:
        if role in ("call", "result", "error"):
            name = "tool_call" if role == "call" else "tool_result"
            steps.append({"role": name, "tool": rest[0], "content": rest[1], "is_error": role == "error"})
        else:
            steps.append({"role": role, "tool": None, "content": rest[0], "is_error": False})
    return steps


def traces(*transcripts: list[dict[str, Any]], **columns: Any) -> pl.DataFrame:
    """TRACES rows, one a transcript, with trace ids 0, 1, 2...; `columns` replaces a column in all of them."""
    rows = [
        {
            "trace_id": trace_id(i),
            "day": date(2026, 3, 2),
            "session_id": f"session-{i}",
            "service_name": "shop",
            "name": "chat",
            "transcript": steps,
            "turn_index": 0,
            "duration_ns": 1_500_000_000,
            "start_unix_ns": 0,
            "end_unix_ns": 1_500_000_000,
            "status": "ok",
            "is_complete": True,
            "defects": [],
            **dict.fromkeys(("n_spans", "n_llm_calls", "n_tool_calls", "n_tool_errors", "n_user_messages"), 0),
        }
        for i, steps in enumerate(transcripts)
    ]
    frame = pl.DataFrame(rows, schema_overrides={"transcript": TRACES.schema["transcript"]}, infer_schema_length=None)
    return TRACES.conform(frame.with_columns(**columns) if rows else TRACES.empty())


def view(*transcripts: list[dict[str, Any]], **columns: Any) -> pl.DataFrame:
    """The view of such traces; the numbers that the pipeline counts beforehand are null, which is much quicker."""
    made = view_frame(traces(*transcripts, **columns))
    counted = [name for name in NUMBER_FIELDS if name not in made.columns]
    return made.with_columns(pl.lit(None, pl.Float64).alias(name) for name in counted)


def artifact(program: dict[str, Any], kind: Any = "rule", **changes: Any) -> Artifact:
    """An artifact around a program; `changes` replaces fields."""
    fields: dict[str, Any] = {
        "evaluator_id": "ev_1",
        "version": 1,
        "issue_id": "iss_1",
        "failure_mode": "apologises without reason",
        "kind": kind,
        "services": [],
        "program": program,
        "explanation": "in words",
        "patterns": [{"predicate": "says sorry", "support": 4, "tpr": 0.75, "fpr": 0.1, "log_odds": 3.3}],
        "provenance": {"seed": 7},
        "held_out": {},
        "quality": {
            "tp": 3,
            "fp": 1,
            "tn": 9,
            "fn": 1,
            "mcc": 0.65,
            "mcc_lower": 0.3,
            "mcc_upper": 0.9,
            "confidence": 0.9,
            "in_sample_mcc": 0.8,
            "n_sessions": 14,
            "program_sha256": program_sha256(program),
        },
        "created_at": "2026-03-02T00:00:00+00:00",
    }
    return Artifact(**{**fields, **changes})


def rule_artifact(rule: dict[str, Any], **changes: Any) -> Artifact:
    return artifact({"rule": rule}, **changes)
