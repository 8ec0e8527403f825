import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evalpipe.review.annotations import ANSWER_COLUMNS
from evalpipe.review.exchange.label_studio import LABEL_STUDIO_CONFIG
from evalpipe_tests.review.exchange.read import BAD, GOOD, golden, read, who_said_what

TRACE = {"trace_id": f"{1:032x}", "reviewer": "ada", "cycle": "2026-W10"}
GOOD_CHOICE = {"from_name": "verdict", "type": "choices", "value": {"choices": ["good"]}}


def task(*annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {"id": 7, "data": TRACE | data, "annotations": list(annotations)}


def said(*results: dict[str, Any], **more: Any) -> dict[str, Any]:
    stamp = {"completed_by": 3, "created_at": "2026-03-02T10:00:00Z", "updated_at": "2026-03-02T11:00:00Z"}
    return {"result": list(results), **stamp, **more}


@pytest.mark.parametrize("name", ["label_studio.json", "label_studio_min.json", "label_studio.csv"])
def test_each_export_of_a_real_project_says_the_same(name: str):
    """Tasks 3 (skipped) and 4 (not read) are unanswered; JSON_MIN and CSV leave the skipped one out."""
    taken = golden(name)
    assert who_said_what(taken) == [(1, *BAD, "label-studio 1"), (2, *GOOD, "label-studio 1")]
    assert taken.rejections.is_empty()
    assert taken.n_unanswered == (2 if name == "label_studio.json" else 1)
    assert taken.rows["cycle"].unique().to_list() == ["2026-W10"]


def test_every_answer_has_a_control_in_the_labelling_interface():
    assert set(re.findall(r'name="(\w+)" toName', LABEL_STUDIO_CONFIG)) >= set(ANSWER_COLUMNS)


def test_a_user_is_known_by_address_where_the_export_has_it(tmp_path: Path):
    taken = read(tmp_path, [task(said(GOOD_CHOICE, completed_by={"id": 3, "email": "ben@example.org"}))])
    assert taken.rows["annotator"].to_list() == ["ben@example.org"]
    assert taken.rows["annotated_at"].to_list() == [datetime(2026, 3, 2, 11, tzinfo=UTC)]


def test_who_somebody_else_was_and_when_they_said_it_comes_from_the_hidden_controls(tmp_path: Path):
    hidden = {"said_by": "carol", "said_at": "2026-03-01T09:00:00Z", "said_as": "programmatic", "said_in": "2026-W09"}
    results = [{"from_name": name, "type": "textarea", "value": {"text": [text]}} for name, text in hidden.items()]
    taken = read(tmp_path, [task(said(GOOD_CHOICE, *results))])
    assert taken.rows.select("annotator", "annotated_at", "label_source", "cycle").row(0) == (
        "carol",
        datetime(2026, 3, 1, 9, tzinfo=UTC),
        "programmatic",
        "2026-W09",
    )


def test_several_annotations_of_a_task_are_refused_each_by_its_place(tmp_path: Path):
    both = {**GOOD_CHOICE, "value": {"choices": ["good", "bad"]}}
    comment = {"from_name": "comment", "type": "textarea", "value": {"text": ["hm"]}}
    taken = read(tmp_path, [task(said(GOOD_CHOICE), said(both), said(comment), said())])
    assert taken.rejections["location"].to_list() == ["task 1, annotation 2", "task 1, annotation 3"]
    first, second = taken.rejections["reason"]
    assert "is none of good, bad" in first
    assert "no verdict" in second
    assert taken.n_unanswered == 1


def test_a_prediction_is_no_annotation(tmp_path: Path):
    taken = read(tmp_path, [task() | {"predictions": [{"result": [GOOD_CHOICE]}]}])
    assert (taken.rows.height, taken.n_unanswered) == (0, 1)
