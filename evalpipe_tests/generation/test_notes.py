"""What reviewers wrote reaches who writes a judge."""

from datetime import UTC, datetime
from typing import Any

import polars as pl

from evalpipe.generation.notes import notes_of
from evalpipe.tables import ANNOTATIONS
from evalpipe_tests.generation.planted import ISSUE, planted

MADE = planted("rude", 1, 1, seed=1)
LABELS = MADE.labels.sort("is_failure", descending=True)
FAILED, GOOD = LABELS["trace_id"]
OWNERS = pl.DataFrame({"mode_key": ["rude", "too slow"], "issue_id": [ISSUE, "iss_other"]})


def annotation(trace_id: str, number: int, **said: Any) -> dict[str, Any]:
    row = {"verdict": "bad", "failure_mode": "rude", "annotator": f"reader {number}", "label_source": "human"}
    return row | {
        "annotation_id": f"{number:016x}",
        "trace_id": trace_id,
        "annotated_at": datetime(2026, 1, number, tzinfo=UTC),
        **said,
    }


def notes(*rows: dict[str, Any]) -> dict[str, str]:
    return notes_of(LABELS, ANNOTATIONS.conform(pl.DataFrame(list(rows), infer_schema_length=None)), OWNERS)


def test_comment_passage_and_correction_are_quoted():
    said = annotation(FAILED, 1, comment="He mocks her.", evidence="learn to read", correction="Say it kindly.")
    assert notes(said) == {FAILED: "He mocks her.\nPassage: learn to read\nIt should have been: Say it kindly."}


def test_several_readers_are_quoted_in_the_order_of_time():
    assert notes(annotation(FAILED, 2, comment="second"), annotation(FAILED, 1, comment="first"))[FAILED] == (
        "first\nsecond"
    )


def test_what_else_went_wrong_in_a_failure_is_not_quoted():
    assert notes(annotation(FAILED, 1, failure_mode="too slow", comment="it took a minute")) == {}


def test_of_a_trace_without_the_failure_all_is_quoted():
    good = annotation(GOOD, 1, verdict="good", failure_mode=None, comment="firm, and polite")
    assert notes(good) == {GOOD: "firm, and polite"}


def test_what_a_model_said_or_nobody_wrote_is_no_note():
    by_model = annotation(FAILED, 1, comment="rude", label_source="model")
    assert notes(by_model, annotation(FAILED, 2, comment="  ")) == {}
