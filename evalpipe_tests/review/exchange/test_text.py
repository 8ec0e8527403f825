import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.review.annotations import VERDICTS, read_annotations, settle
from evalpipe.review.exchange.rows import guarded, unguarded
from evalpipe.review.exchange.text import (
    ANNOTATION_FORMATS,
    LABEL_STUDIO_CONFIG,
    export_annotations,
    export_queue,
    queue_rows,
)
from evalpipe.review.queue.queues import candidate_frame
from evalpipe.review.queue.reviewers import Reviewer
from evalpipe.settings import ReviewSettings
from evalpipe_tests.review.made import CYCLE, NOON, annotation, annotations, made_id, signals, traces

NOBODY = pl.DataFrame(schema={"trace_id": pl.String, "reviewer": pl.String})


def rows_of(shape: pl.DataFrame, reviewed: pl.DataFrame = NOBODY) -> pl.DataFrame:
    reviewers = [Reviewer("ada", 50)]
    candidates = candidate_frame(CYCLE, signals([0.9] * shape.height), shape, reviewed, reviewers, ReviewSettings())
    return queue_rows(candidates, shape)


def test_a_queue_has_what_is_still_to_read_in_reading_order():
    reviewed = pl.DataFrame({"trace_id": [made_id(0)], "reviewer": ["ada"]})
    rows = rows_of(traces(5), reviewed)
    assert made_id(0) not in rows["trace_id"].to_list()
    assert rows["rank"].is_sorted()
    assert rows.height == 4


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_queue_that_was_filled_in_is_imported_as_it_is(tmp_path: Path, format):
    text = export_queue(rows_of(traces(3)), format)
    if format == "csv":
        filled = list(csv.DictReader(io.StringIO(text)))
    else:
        filled = [json.loads(line) for line in text.splitlines()]
    filled[0] |= {"verdict": "bad", "failure_mode": "=rude"}
    filled[1] |= {"verdict": "good"}
    path = tmp_path / f"queue.{format}"
    if format == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(filled[0]))
            writer.writeheader()
            writer.writerows(filled)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in filled))
    taken = read_annotations(path, known_traces=set, now=NOON)
    assert taken.rejections.is_empty()
    assert taken.n_unanswered == 1
    assert taken.rows.select("trace_id", "verdict", "failure_mode", "annotator", "cycle").rows() == [
        (filled[0]["trace_id"], "bad", "=rude", "ada", CYCLE),
        (filled[1]["trace_id"], "good", None, "ada", CYCLE),
    ]


def test_no_cell_of_a_csv_is_a_formula():
    text = export_queue(rows_of(traces(1, request="=HYPERLINK(evil)", response="+1")), "csv")
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["request"], row["response"]) == ("'=HYPERLINK(evil)", "'+1")


def test_a_cell_fits_into_a_spreadsheet():
    text = export_queue(rows_of(traces(1, response="x" * 100_000)), "csv")
    (row,) = csv.DictReader(io.StringIO(text))
    assert len(row["response"]) <= 32_767
    assert row["response"].endswith("[cut]")


def test_json_lines_hold_the_whole_conversation():
    (line,) = export_queue(rows_of(traces(1)), "jsonl").splitlines()
    row = json.loads(line)
    assert [step["role"] for step in row["transcript"]] == ["user", "tool_call", "tool_result", "assistant"]
    assert row["verdict"] is None


def test_label_studio_tasks_fit_the_labelling_interface():
    """Paragraphs reads an array of {author, text}; each $name of the interface is a key of the task's data."""
    (task,) = json.loads(export_queue(rows_of(traces(1)), "labelstudio"))
    assert list(task) == ["data"]
    assert task["data"]["conversation"][1] == {"author": "tool_call search", "text": "{}"}
    for name in ("reasons", "conversation"):
        assert f'value="${name}"' in LABEL_STUDIO_CONFIG
        assert name in task["data"]


def test_argilla_records_have_the_parts_of_a_record():
    (record,) = json.loads(export_queue(rows_of(traces(1)), "argilla"))
    assert list(record) == ["id", "fields", "metadata", "suggestions", "responses", "vectors"]
    assert record["fields"]["conversation"][0] == {"role": "user", "content": "where is it"}
    assert record["metadata"]["trace_id"] == made_id(0)
    assert None not in record["metadata"].values()


def test_an_empty_queue_is_an_empty_file_of_its_format():
    rows = rows_of(traces(0))
    assert export_queue(rows, "csv").startswith("cycle,rank,reviewer,trace_id")
    assert export_queue(rows, "jsonl") == ""
    assert json.loads(export_queue(rows, "labelstudio")) == []


def test_another_format_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"csv, jsonl, labelstudio, argilla, langfuse$"):
        export_queue(rows_of(traces(1)), "xlsx")
    with pytest.raises(InputError, match=r"csv, jsonl, labelstudio, argilla, langfuse, phoenix$"):
        export_annotations(annotations(), "xlsx")


SAID = ["trace_id", "verdict", "failure_mode", "correction", "comment", "evidence", "annotator", "annotated_at"]
SAID += ["label_source", "cycle"]
awkward = st.sampled_from(
    ["null", "=1+1", "'=1", "-1", '"', "a\nb", "a\r\nb", "a\rb", "🙂", "1", "true", "[]", '{"a": 1}']
)
text = (st.text(st.characters(codec="utf-8"), max_size=12) | awkward).map(str.strip).map(lambda said: said or None)
words = text.filter(lambda said: said is not None and any(sign.isalnum() for sign in said))


@st.composite
def saying(draw: st.DrawFn) -> dict[str, Any]:
    verdict, minute = draw(st.sampled_from(VERDICTS)), draw(st.integers(-600, 0))
    return annotation(
        draw(st.integers(0, 3)),
        verdict,
        draw(words) if verdict in ("bad", "partial") else None,
        minute=minute,
        correction=draw(text),
        comment=draw(text),
        evidence=draw(text),
        annotator=draw(words),
        label_source=draw(st.sampled_from(["human", "programmatic", "model"])),
        cycle=CYCLE if minute % 2 else None,  # annotations that differ in the cycle alone are the same
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(saying(), min_size=1, max_size=5), st.sampled_from(ANNOTATION_FORMATS))
def test_annotations_that_go_out_come_back_the_same(tmp_path_factory: pytest.TempPathFactory, said: list, format: str):
    rows = annotations(*said)
    path = tmp_path_factory.mktemp("out") / "export"
    path.write_bytes(export_annotations(rows, format).encode())
    first = read_annotations(path, known_traces=set, now=NOON)
    assert first.rejections.is_empty()
    assert set(first.rows.select(SAID).rows()) == set(rows.select(SAID).rows())
    path.write_bytes(export_annotations(first.rows, format).encode())
    again = read_annotations(path, known_traces=set, now=NOON + timedelta(1))
    assert set(again.rows["annotation_id"]) == set(first.rows["annotation_id"])


@pytest.mark.parametrize("format", ANNOTATION_FORMATS)
def test_no_annotations_are_a_file_without_any(tmp_path: Path, format: str):
    path = tmp_path / "none"
    path.write_text(export_annotations(annotations(), format))
    if path.read_text():
        assert read_annotations(path, known_traces=set, now=NOON).n_rows == 0


def test_refused_rows_of_an_export_of_another_tool_are_repaired_flat_and_dropped_again(tmp_path: Path):
    """The path of a person: an export is dropped, its refused rows are repaired in inbox/rejected, and dropped."""
    rows = annotations(annotation(0), annotation(1, "bad", "slow"))
    file = tmp_path / "export.json"
    file.write_text(export_annotations(rows, "labelstudio").replace('"slow"', '"?"'))
    taken = read_annotations(file, known_traces=set, now=NOON)
    assert taken.rejections.select("location", "reason").rows() == [
        ("task 2", "failure_mode '?' has no words; repair it in inbox/rejected")
    ]
    settle(file, taken, tmp_path)
    refused = tmp_path / "rejected" / "export.jsonl"
    refused.write_text(refused.read_text().replace('"?"', '"slow"'))
    repaired = read_annotations(refused, known_traces=set, now=NOON)
    assert repaired.rows.select(SAID).rows() == rows.tail(1).select(SAID).rows()


@pytest.mark.parametrize("format", ["labelstudio", "argilla"])
def test_a_queue_that_comes_back_unread_is_unanswered(tmp_path: Path, format: str):
    path = tmp_path / "queue.json"
    path.write_text(export_queue(rows_of(traces(3)), format))
    taken = read_annotations(path, known_traces=set, now=NOON)
    assert (taken.n_rows, taken.n_unanswered) == (3, 3)


def test_langfuse_items_name_each_trace_once():
    lines = export_queue(pl.concat([rows_of(traces(2))] * 2), "langfuse").splitlines()
    assert sorted(map(json.loads, lines), key=lambda item: item["objectId"]) == [
        {"objectId": made_id(0), "objectType": "TRACE"},
        {"objectId": made_id(1), "objectType": "TRACE"},
    ]


def test_what_a_langfuse_score_and_a_phoenix_annotation_are_made_of():
    """By POST /api/public/scores and POST /v1/trace_annotations; both keep metadata as it is."""
    row = annotations(annotation(0, "partial", "slow", comment="9 s", cycle=CYCLE))
    known = {
        "failure_mode": "slow",
        "annotator": "ada",
        "annotated_at": "2026-03-02T12:00:00.000000Z",
        "label_source": "human",
        "cycle": CYCLE,
    }
    assert json.loads(export_annotations(row, "langfuse")) == {
        "id": row["annotation_id"].item(),
        "traceId": made_id(0),
        "name": "verdict",
        "value": "partial",
        "dataType": "CATEGORICAL",
        "comment": "9 s",
        "timestamp": "2026-03-02T12:00:00.000000Z",
        "metadata": known,
    }
    assert json.loads(export_annotations(row, "phoenix"))["data"] == [
        {
            "trace_id": made_id(0),
            "name": "verdict",
            "annotator_kind": "HUMAN",
            "result": {"label": "partial", "score": 0.5, "explanation": "9 s"},
            "metadata": known,
            "identifier": row["annotation_id"].item(),
        }
    ]


@given(st.text(st.characters(codec="utf-8"), max_size=6) | st.text("'=-+@ab", max_size=6))
def test_what_is_guarded_is_no_formula_and_comes_back(text: str):
    (cell,) = pl.select(guarded(pl.lit(text))).to_series()
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert unguarded(cell) == text
