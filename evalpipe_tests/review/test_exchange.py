import csv
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.review.annotations import read_annotations
from evalpipe.review.exchange import LABEL_STUDIO_CONFIG, export_annotations, export_queue, queue_rows
from evalpipe.review.queues import Reviewer, candidate_frame
from evalpipe.review.rows import guarded, unguarded
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
    with pytest.raises(InputError, match="csv, jsonl, labelstudio, argilla"):
        export_queue(rows_of(traces(1)), "xlsx")
    with pytest.raises(InputError, match="csv, jsonl"):
        export_annotations(annotations(), "xlsx")


printable = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
words = printable.map(str.strip).filter(lambda text: any(sign.isalnum() for sign in text))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), words | st.none(), st.none() | words, st.integers(-600, 0)), min_size=1, max_size=5
    ),
    st.sampled_from(["csv", "jsonl"]),
)
def test_annotations_that_go_out_come_back_the_same(tmp_path_factory: pytest.TempPathFactory, said: list, format):
    rows = annotations(
        *(
            annotation(i, "bad" if mode else "good", mode, comment=comment, correction="-1", minute=minute, cycle=CYCLE)
            for i, mode, comment, minute in said
        )
    )
    path = tmp_path_factory.mktemp("out") / f"a.{format}"
    path.write_text(export_annotations(rows, format), encoding="utf-8")
    first = read_annotations(path, known_traces=set, now=NOON).rows
    columns = ["trace_id", "verdict", "failure_mode", "correction", "comment", "annotator", "annotated_at", "cycle"]
    assert set(first.select(columns).rows()) == set(rows.select(columns).rows())
    path.write_text(export_annotations(first, format), encoding="utf-8")
    again = read_annotations(path, known_traces=set, now=NOON).rows
    assert again["annotation_id"].to_list() == first.sort("annotated_at", "annotation_id")["annotation_id"].to_list()


@given(st.text(st.characters(codec="utf-8"), max_size=6) | st.text("'=-+@ab", max_size=6))
def test_what_is_guarded_is_no_formula_and_comes_back(text: str):
    (cell,) = pl.select(guarded(pl.lit(text))).to_series()
    assert cell[:1] not in ("=", "+", "-", "@", "\t", "\r")
    assert unguarded(cell) == text
