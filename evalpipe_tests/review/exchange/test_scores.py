from typing import Any

import pytest

from evalpipe.review.exchange.scores import Score, said_in_scores

TRACE = "a" * 32


def score(name: str, value: Any, author: str | None = "ana", **more: Any) -> Score:
    given = {"trace_id": TRACE, "comment": None, "at": None, "is_human": True, "metadata": None} | more
    return Score(name=name, value=value, author=author, **given)


def answers(*scores: Score) -> list[dict[str, Any]]:
    return [{name: said.fields[name] for name in sorted(said.fields)} for said in said_in_scores(scores)]


def test_scores_of_one_author_on_one_trace_are_one_annotation_in_any_order():
    scores = [score("failure_mode", "slow"), score("verdict", "bad"), score("evidence", "9 s", comment="too long")]
    expected = {
        "annotator": "ana",
        "comment": "too long",
        "evidence": "9 s",
        "failure_mode": "slow",
        "trace_id": TRACE,
        "verdict": "bad",
    }
    assert answers(*scores) == answers(*reversed(scores)) == [expected]


def test_what_was_remarked_beside_each_score_is_kept():
    scores = [
        score("verdict", "bad", comment="look"),
        score("failure_mode", "slow", comment="9 s"),
        score("comment", "again"),
    ]
    assert answers(*scores)[0]["comment"] == "look\n9 s\nagain"


def test_scores_of_another_author_or_trace_are_not_mixed_in():
    first, *rest = answers(
        score("verdict", "good"), score("verdict", "bad", "ben"), score("failure_mode", "slow", "ben")
    )
    assert ("failure_mode" in first, [each["failure_mode"] for each in rest]) == (False, ["slow"])
    apart = answers(score("verdict", "good"), score("failure_mode", "slow", trace_id="b" * 32))
    assert [each.get("verdict") for each in apart] == ["good", None]


def test_what_metadata_says_comes_before_what_stands_beside():
    own = {"failure_mode": "rude", "annotator": "carol"}
    (first, second) = answers(score("verdict", "bad", metadata=own), score("failure_mode", "slow"))
    assert (first["failure_mode"], first["annotator"]) == ("rude", "carol")
    assert (second["failure_mode"], "verdict" in second) == ("slow", False)  # ana's, who gave no verdict


@pytest.mark.parametrize("name", ["Failure mode", "failure-mode", " FAILURE_MODE "])
def test_a_name_is_known_however_it_is_spelled(name: str):
    assert answers(score("Verdict", "bad"), score(name, "slow"))[0]["failure_mode"] == "slow"


def test_what_a_machine_says_is_no_truth_unless_it_is_called_so():
    scores = [score("verdict", "bad", author, is_human=False, metadata=metadata) for author, metadata in (
        ("judge", None),
        ("outcome", {"label_source": "programmatic"}),
        ("broken", "{'label_source': 'human'}"),
        ("of a csv", '{"label_source": "human"}'),
    )]  # fmt: skip
    assert [each["label_source"] for each in answers(*scores)] == ["model", "programmatic", "model", "human"]


def test_scores_of_other_names_are_left_out_unless_there_are_no_others():
    assert len(answers(score("verdict", "good"), score("helpfulness", 0.9))) == 1
    (alone,) = said_in_scores([score("helpfulness", 0.9)])
    assert alone.problem == "score 'helpfulness' is none of verdict, failure_mode, correction, comment, evidence"
