import json
from pathlib import Path

import pytest

from evalpipe.errors import InputError
from evalpipe.lake.store import Lake
from evalpipe.otlp.landing import Landing
from evalpipe.review.annotations import read_annotations
from evalpipe.review.exchange.text import export_queue
from evalpipe.review.on_lake import take_in_annotations
from evalpipe.settings import ObserveSettings
from evalpipe.tables import SPANS, TRACES
from evalpipe_tests.review.exchange.read import BAD, GOLDEN, GOOD, NOW, who_said_what
from evalpipe_tests.review.exchange.test_text import rows_of
from evalpipe_tests.review.made import made_id, traces
from evalpipe_tests.traces.made import written as spans

USER = {"annotator_kind": "HUMAN", "user_id": "VXNlcjox"}
SPAN = {"name": "verdict", "span_id": "b" * 16, "result": {"label": "good"}, **USER}


def test_a_page_of_a_real_servers_annotations_is_read():
    """A server without sign-in knows no users: who it was is said at the import."""
    taken = read_annotations(GOLDEN / "phoenix.json", known_traces=set, now=NOW, default_annotator="ana")
    assert who_said_what(taken) == [(1, *BAD, "ana"), (2, *GOOD, "ana")]
    assert taken.rejections.is_empty()


def test_an_annotation_of_a_span_counts_for_its_trace(tmp_path: Path):
    path = tmp_path / "page.json"
    spans = [SPAN, SPAN | {"span_id": "c" * 16}, SPAN | {"name": "comment", "result": {"label": "hm"}}]
    path.write_text(json.dumps({"data": spans, "next_cursor": None}))
    taken = read_annotations(path, known_traces=set, now=NOW, traces_of_spans=lambda _: {"b" * 16: f"{1:032x}"})
    assert who_said_what(taken) == [(1, "good", None, None, "hm", "VXNlcjox")]
    assert taken.rejections["location"].to_list() == ["annotation 2"]
    assert "no span 'cccccccccccccccc' here: ingest its trace first" in taken.rejections["reason"].item()


def test_a_judge_and_a_person_without_sign_in_are_two(tmp_path: Path):
    judged = {"trace_id": made_id(0), "name": "verdict", "annotator_kind": "LLM", "result": {"label": "good"}}
    seen = judged | {"annotator_kind": "HUMAN", "result": {"label": "bad"}}
    mode = seen | {"name": "failure_mode", "result": {"label": "slow"}}
    path = tmp_path / "page.json"
    path.write_text(json.dumps({"data": [judged, seen, mode]}))
    taken = read_annotations(path, known_traces=set, now=NOW, default_annotator="ana")
    assert who_said_what(taken) == [(1, "bad", "slow", None, None, "ana"), (1, *GOOD, "phoenix llm")]
    assert sorted(taken.rows["label_source"]) == ["human", "model"]


def test_the_trace_of_a_span_is_looked_up_in_the_lake(tmp_path: Path):
    lake, landing = Lake(tmp_path / "lake"), Landing(tmp_path / "landing", ObserveSettings())
    lake.append_new(SPANS, spans({"trace_id": made_id(0), "span_id": "b" * 16}))
    lake.append_new(TRACES, traces(1))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "page.json").write_text(json.dumps({"data": [SPAN]}))
    taken = take_in_annotations(lake, landing, inbox, inbox / "page.json", NOW)
    assert who_said_what(taken) == [(1, "good", None, None, None, "VXNlcjox")]


def test_phoenix_has_no_queue_to_fill():
    with pytest.raises(InputError, match="no queue format 'phoenix'"):
        export_queue(rows_of(traces(1)), "phoenix")
