from pathlib import Path
from uuid import UUID

from evalpipe.review.exchange.argilla import annotation_text
from evalpipe_tests.review.exchange.read import BAD, GOOD, golden, read, who_said_what
from evalpipe_tests.review.made import CYCLE, annotation

ANA, BEN = str(UUID(int=0xA)), str(UUID(int=0xB))


def test_each_users_responses_are_an_annotation():
    taken = golden("argilla.json")
    assert who_said_what(taken) == [(1, *BAD, ANA), (1, *GOOD, BEN), (2, *GOOD, ANA)]
    assert (taken.rejections.height, taken.n_unanswered) == (0, 1)


def test_a_response_of_somebody_else_to_an_exported_annotation_is_theirs(tmp_path: Path):
    row = annotation(0, "bad", "slow", correction=None, comment=None, evidence=None, cycle=CYCLE)
    written = annotation_text([row | {"annotated_at": "2026-03-02T10:00:00Z"}])
    assert who_said_what(read(tmp_path, written)) == [(1, "bad", "slow", None, None, "ada")]
    more = written.replace('"verdict": [', f'"verdict": [{{"value": "good", "user_id": "{BEN}"}},')
    assert who_said_what(read(tmp_path, more)) == [(1, "bad", "slow", None, None, "ada"), (1, *GOOD, BEN)]


def test_responses_are_refused_each_by_its_place(tmp_path: Path):
    answers = [{"value": "fine", "user_id": ANA}, {"value": "good", "user_id": BEN}]
    metadata = {"trace_id": f"{1:032x}"}
    taken = read(tmp_path, [{"fields": {}, "metadata": metadata, "responses": {"verdict": answers}}])
    assert taken.rejections["location"].to_list() == ["record 1, response 1"]
    assert who_said_what(taken) == [(1, *GOOD, BEN)]
