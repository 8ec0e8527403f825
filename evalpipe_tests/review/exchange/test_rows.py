import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.review.exchange.rows import Row, read_rows

GOOD = {"trace_id": "a", "verdict": "good"}
BAD = {"trace_id": "b", "verdict": "bad"}
TASK = {"data": {"trace_id": "c"}, "annotations": [{"result": []}, {"result": []}]}
SCORE = {"name": "verdict", "dataType": "CATEGORICAL", "traceId": "d", "stringValue": "bad"}


def rows_of(folder: Path, content: Any, name: str = "a.json") -> list[Row]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=1).encode())
    return read_rows(path, required=("trace_id", "verdict"))


def test_a_json_array_is_read_by_the_number_of_each_record(tmp_path: Path):
    rows = rows_of(tmp_path, [GOOD, "oops", BAD])
    assert [row.location for row in rows] == ["record 1", "record 2", "record 3"]
    assert [row.problem for row in rows] == [None, "not a JSON object", None]
    assert rows[2].fields == BAD


def test_a_page_of_an_api_is_read_as_the_array_in_it(tmp_path: Path):
    (row,) = rows_of(tmp_path, {"data": [SCORE], "meta": {"page": 1}})
    assert (row.location, row.fields["trace_id"], row.fields["verdict"]) == ("score 1", "d", "bad")


def test_one_object_over_several_lines_is_one_record(tmp_path: Path):
    assert [(row.location, row.fields) for row in rows_of(tmp_path, GOOD)] == [("record 1", GOOD)]


def test_one_object_on_one_line_is_json_lines(tmp_path: Path):
    assert [row.location for row in rows_of(tmp_path, b"\n" + json.dumps(GOOD).encode())] == ["2"]


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.json", "a.jsonl"])
def test_what_a_file_is_called_does_not_matter(tmp_path: Path, name: str):
    assert [row.fields for row in rows_of(tmp_path, [GOOD], name)] == [GOOD]


def test_each_record_is_known_by_its_own_keys_and_keeps_its_place(tmp_path: Path):
    rows = rows_of(tmp_path, [SCORE, GOOD, TASK, SCORE])
    assert [row.location for row in rows] == [
        "score 1",
        "record 2",
        "task 3, annotation 1",
        "task 3, annotation 2",
        "score 4",
    ]


def test_a_record_of_a_tool_in_json_lines_is_placed_by_its_line(tmp_path: Path):
    lines = "".join(json.dumps(record) + "\n" for record in (TASK, SCORE)).encode()
    assert [row.location for row in rows_of(tmp_path, lines)] == ["1, annotation 1", "1, annotation 2", "2"]


def test_an_array_of_other_things_is_refused_by_what_could_be_read(tmp_path: Path):
    with pytest.raises(InputError, match=r"a\.json: .*trace_id, verdict.*Label Studio, Argilla, Langfuse, Phoenix"):
        rows_of(tmp_path, [{"label": "good"}, 3])


@pytest.mark.parametrize("broken", ['[\n{"trace_id": "a"},\n{"trace', '{"data": [\n{"trace_id": "a"},\n{"trace'])
def test_a_broken_file_of_one_json_value_is_one_mistake(tmp_path: Path, broken: str):
    with pytest.raises(InputError, match=r"a\.json: neither JSON \(.*line 3.*\) nor one JSON object a line"):
        rows_of(tmp_path, broken.encode())


def test_json_that_is_deep_is_refused_not_crashed_on(tmp_path: Path):
    assert [row.problem for row in rows_of(tmp_path, b"[" * 100_000)] == ["not JSON"]


def test_an_empty_array_has_no_rows(tmp_path: Path):
    assert rows_of(tmp_path, []) == []


def test_half_a_surrogate_pair_costs_its_own_record(tmp_path: Path):
    rows = rows_of(tmp_path, [{"trace_id": "\ud800"}, GOOD])
    assert [row.problem for row in rows] == ["not JSON", None]
    assert json.loads(rows[0].content) == {"trace_id": "\ud800"}


def test_a_line_break_within_a_cell_stays_as_it_is(tmp_path: Path):
    (row,) = rows_of(tmp_path, b'trace_id,verdict,comment\r\na,good,"one\rtwo\r\nthree"\r\n', "a.csv")
    assert row.fields["comment"] == "one\rtwo\r\nthree"


KEYS = (
    "data annotations result from_name value choices text completed_by was_cancelled annotation_id annotator lead_time "
    "fields responses metadata verdict failure_mode user_id name dataType source stringValue subject kind id traceId "
    "annotator_kind trace_id span_id label explanation reviewer"
)
names = st.sampled_from(KEYS.split())
plain = st.none() | st.booleans() | st.integers() | st.sampled_from(["verdict", "CORRECTION", "trace", "", "[", "🙂"])
anything = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6))
shapes = st.sampled_from(
    [
        {"data": {}, "annotations": []},
        {"annotation_id": 1, "annotator": 1, "lead_time": 1},
        {"fields": {}, "responses": {}},
        {"name": "verdict", "dataType": ""},
        {"name": "verdict", "annotator_kind": "HUMAN"},
        {},
    ]
)
records = st.builds(lambda shape, more: shape | more, shapes, st.dictionaries(names, anything))


@settings(max_examples=200, deadline=None)
@given(st.lists(records | anything, max_size=4))
def test_whatever_the_records_of_a_file_hold_reading_them_ends_in_rows_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: list
):
    try:
        rows = rows_of(tmp_path_factory.mktemp("any"), content)
    except InputError:
        return
    for row in rows:
        assert all(value is None or value == value.strip() != "" for value in row.fields.values())
        json.loads(row.content)
