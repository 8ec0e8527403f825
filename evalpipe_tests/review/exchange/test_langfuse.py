import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evalpipe_tests.review.exchange.read import BAD, GOOD, golden, read, who_said_what

COLUMNS = (
    "id traceId sessionId datasetRunId timestamp source name dataType value stringValue comment metadata "
    "observationId traceName userId traceTags environment authorUserName"
)
ROW = {
    "id": "s1",
    "traceId": f"{1:032x}",
    "timestamp": "2026-03-02T10:00:00.000Z",
    "source": "ANNOTATION",
    "dataType": "CATEGORICAL",
    "value": 0,
    "authorUserName": "Ana",
    "metadata": {},
}
ROWS = [
    ROW | {"name": "verdict", "stringValue": "bad", "comment": 'said "twice"\nby the shop'},
    ROW | {"name": "failure_mode", "stringValue": "made up a price"},
    ROW | {"name": "output", "dataType": "CORRECTION", "stringValue": "12 EUR"},
]


def test_a_page_of_the_v3_api_is_read():
    """Trace 3 was judged by a model; trace 2 by Ana, on an observation. Helpfulness is no answer."""
    taken = golden("langfuse_v3.json")
    assert "verdict bad without a failure_mode" in taken.rejections["reason"].item()
    assert taken.rejections["location"].to_list() == ["score 6"]
    assert who_said_what(taken) == [(1, *BAD, "clx0ana"), (2, *GOOD, "clx0ana")]
    assert taken.rows["annotated_at"].to_list()[0] == datetime(2026, 3, 2, 10, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize("is_quoted", [False, True])
def test_the_csv_of_the_scores_table_is_read_as_its_json_is(tmp_path: Path, is_quoted: bool):
    """By the columns of getDatabaseReadStream.ts; older versions wrote each string as JSON into its cell."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS.split())
    for row in ROWS:
        cells = [row.get(column, "") for column in COLUMNS.split()]
        writer.writerow(cell if isinstance(cell, str) and not is_quoted else json.dumps(cell) for cell in cells)
    for content in (ROWS, text.getvalue()):
        assert who_said_what(read(tmp_path, content)) == [(1, *BAD, "Ana")]


def test_a_score_of_a_session_names_no_trace(tmp_path: Path):
    score = ROW | {"name": "verdict", "stringValue": "good", "traceId": None, "sessionId": "chat-7"}
    taken = read(tmp_path, [score])
    assert taken.rejections.select("location", "reason").row(0) == (
        "score 1",
        "no trace_id; repair it in inbox/rejected",
    )
