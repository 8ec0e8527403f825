"""What CI replays against a new release: inputs that showed an issue, and healthy controls, as cases without an output.

Reading the answered cases back is in cases.py.
"""

from typing import Any

import polars as pl

from evalpipe.ids import content_hash
from evalpipe.review.annotations import effective_annotations
from evalpipe.tables import TRACKED


def cases_of(
    traces: pl.DataFrame, labels: pl.DataFrame, issues: pl.DataFrame, annotations: pl.DataFrame
) -> list[dict[str, Any]]:
    """Regression cases, one dict per JSON line, by id: every annotated failure of an active issue or a resolved one
    (so that a return is caught), and for each issue as many traces that people called free of it.

    `id` is the trace; `input` is the user's last turn and `messages` the conversation up to and with it. To gate a
    release, answer each case with it and add `output` (and `tool_calls`). `expected_output` is the reviewers' latest
    correction and `original_output` what was answered then; `issues` says which issues the trace shows or is a
    control for. TRACES, LABELS, ISSUES and ANNOTATIONS go in; a label whose trace is not in `traces` is left out.
    """
    open_issues = issues.filter(pl.col("state").is_in([*TRACKED, "resolved"])).select("issue_id", "name")
    known = labels.join(open_issues, on="issue_id").join(traces.select("trace_id"), on="trace_id", how="semi")
    # By hash, so that the controls are an even draw and the same ones every time.
    draw = pl.col("trace_id").map_elements(content_hash, return_dtype=pl.String)
    n_failures = pl.col("is_failure").sum().over("issue_id")
    chosen = (
        known.with_columns(n_failures=n_failures)
        .with_columns(place=draw.rank("ordinal").over("issue_id", "is_failure"))
        .filter(pl.col("is_failure") | (pl.col("place") <= pl.col("n_failures")))
        .sort("trace_id", "issue_id")
        .group_by("trace_id", maintain_order=True)
        .agg(issues=pl.struct("issue_id", failure_mode="name", is_failure="is_failure"))
    )
    corrections = (
        effective_annotations(annotations)
        .filter(pl.col("correction").str.contains(r"\S"))
        .group_by("trace_id", maintain_order=True)
        .agg(expected_output=pl.col("correction").last())
    )
    rows = (
        chosen.join(traces.drop("day"), on="trace_id", maintain_order="left")
        .join(corrections, on="trace_id", how="left", maintain_order="left")
        .iter_rows(named=True)
    )
    return [case for row in rows if (case := _case(row)) is not None]


def _case(row: dict[str, Any]) -> dict[str, Any] | None:
    """A trace as a case; None for one in which no user said anything, which cannot be replayed."""
    transcript = row["transcript"] or []
    turns = [index for index, message in enumerate(transcript) if message["role"] == "user"]
    last_input = transcript[turns[-1]]["content"] if turns else row["request"]
    if not last_input:
        return None
    conversation = [
        {key: value for key, value in message.items() if value is not None}
        for message in transcript[: turns[-1] + 1 if turns else 0]
    ]
    case = {
        "id": row["trace_id"],
        "input": last_input,
        "messages": conversation if len(conversation) > 1 else None,
        "expected_output": row["expected_output"],
        "original_output": row["response"],
        "issues": row["issues"],
        "metadata": {
            "service": row["service_name"],
            "session_id": row["session_id"],
            "original_version": row["service_version"],
        },
    }
    return {key: value for key, value in case.items() if value is not None}
