"""The cases that CI replays."""

from datetime import UTC, date, datetime

import polars as pl

from evalpipe.gate.cases import read_cases
from evalpipe.gate.replay import cases_of
from evalpipe.tables import ANNOTATIONS, ISSUES, LABELS, VERDICTS
from evalpipe_tests.evaluators.made import trace_id, traces, transcript
from evalpipe_tests.gate.made import case_file

NOW = datetime(2026, 3, 2, tzinfo=UTC)
ONE_TURN = transcript(("user", "Where is it?"), ("assistant", "Gone."))
TWO_TURNS = transcript(
    ("user", "Hello"), ("assistant", "Hi"), ("user", "Refund it"), ("call", "refund", "{}"), ("assistant", "Done")
)


def labels(*rows: tuple[int, str, bool]) -> pl.DataFrame:
    same = {"day": date(2026, 3, 2), "service_name": "shop", "weight": 1.0, "n_annotators": 1, "is_disputed": False}
    return LABELS.conform(
        pl.DataFrame(
            [
                {
                    "trace_id": trace_id(n),
                    "issue_id": i,
                    "is_failure": f,
                    "labelled_at": NOW,
                    "sources": ["human"],
                    **same,
                }
                for n, i, f in rows
            ]
        )
    )


def issues(**states: str) -> pl.DataFrame:
    times = dict.fromkeys(("first_seen_at", "last_seen_at", "updated_at"), NOW)
    rows = [
        {
            "issue_id": i,
            "name": f"mode {i}",
            "state": s,
            "flags": ["new"],
            "services": ["shop"],
            "n_failures": 1,
            **times,
        }
        for i, s in states.items()
    ]
    return ISSUES.conform(pl.DataFrame(rows))


def correction(number: int, text: str, at: datetime = NOW) -> pl.DataFrame:
    row = {"annotation_id": f"{number}{text}", "trace_id": trace_id(number), "verdict": "bad", "annotator": "ann"}
    return ANNOTATIONS.conform(pl.DataFrame([row | {"correction": text, "annotated_at": at, "label_source": "human"}]))


def test_failures_come_with_the_correction_as_expected_output():
    rows = cases_of(
        traces(ONE_TURN),
        labels((0, "a", True)),
        issues(a="active"),
        pl.concat([correction(0, "It left Bern."), correction(0, "Bad.", datetime(2026, 3, 1, tzinfo=UTC))]),
    )
    assert rows == [
        {
            "id": trace_id(0),
            "input": "Where is it?",
            "expected_output": "It left Bern.",  # the later of two
            "issues": [{"issue_id": "a", "failure_mode": "mode a", "is_failure": True, "kind": "failure"}],
            "metadata": {"service": "shop", "session_id": "session-0", "original_version": None},
        }
    ]


def asked(number: int, answer: str = "Gone.") -> list[dict]:
    return transcript(("user", f"Where is {number}?"), ("assistant", answer))


def kinds(rows: list[dict], issue_id: str = "a") -> dict[str, str]:
    return {row["id"]: issue["kind"] for row in rows for issue in row["issues"] if issue["issue_id"] == issue_id}


def verdict(number: int, score: float, version: int = 1, issue_id: str = "a") -> pl.DataFrame:
    row = {"evaluator_id": f"ev_{issue_id}", "version": version, "trace_id": trace_id(number), "issue_id": issue_id}
    row |= {"outcome": "fail" if score >= 0.5 else "pass", "score": score, "day": date(2026, 3, 2)}
    return VERDICTS.conform(pl.DataFrame([row | {"inclusion_probability": 1.0}]))


def test_each_issue_has_as_many_near_misses_and_controls_as_failures():
    made = traces(*[asked(n) for n in range(8)])
    rows = cases_of(
        made,
        labels((0, "a", True), (1, "a", True), *((n, "a", False) for n in range(2, 8))),
        issues(a="active"),
        ANNOTATIONS.empty(),
        pl.concat([verdict(5, 0.4), verdict(6, 0.9)]),
    )
    said = kinds(rows)
    assert sorted(said.values()) == ["control"] * 2 + ["failure"] * 2 + ["near_miss"] * 2
    assert {said[trace_id(0)], said[trace_id(1)]} == {"failure"}
    assert {said[trace_id(5)], said[trace_id(6)]} == {"near_miss"}
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)


def test_the_newest_evaluators_score_says_what_nearly_failed():
    rows = cases_of(
        traces(*[asked(n) for n in range(3)]),
        labels((0, "a", True), (1, "a", False), (2, "a", False)),
        issues(a="active"),
        ANNOTATIONS.empty(),
        pl.concat([verdict(1, 0.9, version=1), verdict(1, 0.1, version=2), verdict(2, 0.2, version=1)]),
    )
    assert kinds(rows) == {trace_id(0): "failure", trace_id(2): "near_miss", trace_id(1): "control"}


def test_without_a_score_words_and_calls_that_tell_failures_apart_say_it():
    # Of the failure's terms "where is 0 sorry" and "call track:err" the others have: 1 all of "where is", which tell
    # nothing as all have them; 2 the word "sorry"; 3 the word and the call. 3 is the nearest.
    def steps(number: int, answer: str, *calls: tuple[str, str, str]) -> list[dict]:
        return transcript(("user", f"Where is {number}?"), *calls, ("assistant", answer))

    failed_call = ("error", "track", "timeout")
    rows = cases_of(
        traces(
            steps(0, "Sorry", failed_call), steps(1, "In Bern"), steps(2, "Sorry"), steps(3, "Sorry", failed_call)
        ),
        labels((0, "a", True), (1, "a", False), (2, "a", False), (3, "a", False)),
        issues(a="active"),
        ANNOTATIONS.empty(),
    )  # fmt: skip
    said = kinds(rows)
    assert (said[trace_id(0)], said[trace_id(3)]) == ("failure", "near_miss")
    assert sorted(said.values()) == ["control", "failure", "near_miss"]


def test_a_trace_that_has_nothing_of_the_failures_is_no_near_miss():
    rows = cases_of(
        traces(transcript(("user", "one"), ("assistant", "two")), transcript(("user", "three"), ("assistant", "four"))),
        labels((0, "a", True), (1, "a", False)), issues(a="active"), ANNOTATIONS.empty(),
    )  # fmt: skip
    assert kinds(rows) == {trace_id(0): "failure", trace_id(1): "control"}


def test_a_limit_takes_corrected_failures_first_and_bounds_each_kind():
    rows = cases_of(
        traces(*[asked(n) for n in range(9)]),
        labels(*((n, "a", True) for n in range(3)), *((n, "a", False) for n in range(3, 9))),
        issues(a="active"),
        correction(2, "It left Bern."),
        verdict(4, 0.3),
        limit=1,
    )
    said = kinds(rows)
    assert (said[trace_id(2)], said[trace_id(4)]) == ("failure", "near_miss")
    assert len(said) == 3


def test_the_same_input_is_one_case_for_all_issues_and_fails_where_any_answer_did():
    same = traces(ONE_TURN, ONE_TURN, ONE_TURN, asked(3))
    rows = cases_of(
        same,
        labels((0, "a", False), (1, "a", True), (2, "b", True), (3, "b", False)),
        issues(a="active", b="active"),
        correction(2, "It left Bern."),
    )
    assert [row["id"] for row in rows] == [trace_id(2), trace_id(3)]  # the corrected one stands for the three
    assert kinds(rows, "a") == {trace_id(2): "failure"}
    assert kinds(rows, "b") == {trace_id(2): "failure", trace_id(3): "control"}


def test_the_same_question_after_another_conversation_is_another_input():
    again = transcript(("user", "Hello"), ("assistant", "Hi"), ("user", "Where is it?"), ("assistant", "Gone."))
    other = [{"role": "system", "content": "Be kind.", "tool": None, "is_error": None}, *ONE_TURN]
    rows = cases_of(
        traces(ONE_TURN, again, other),
        labels((0, "a", True), (1, "a", True), (2, "a", True)), issues(a="active"), ANNOTATIONS.empty(),
    )  # fmt: skip
    assert len(rows) == 2  # a system message is the release's, not the user's


def test_disputed_labels_are_no_evidence():
    disputed = labels((0, "a", True)).with_columns(is_disputed=True)
    assert cases_of(traces(ONE_TURN), disputed, issues(a="active"), ANNOTATIONS.empty()) == []


def test_an_issue_that_is_asked_for_comes_alone_whatever_its_state():
    made, all_issues = traces(asked(0), asked(1)), issues(a="active", b="ignored")
    said = labels((0, "a", True), (1, "b", True))
    rows = cases_of(made, said, all_issues, ANNOTATIONS.empty(), issue_ids=["b"])
    assert [row["id"] for row in rows] == [trace_id(1)]


def test_a_trace_that_shows_two_issues_is_one_case():
    rows = cases_of(
        traces(ONE_TURN), labels((0, "a", True), (0, "b", False), (0, "c", True)),
        issues(a="active", b="active", c="resolved"), ANNOTATIONS.empty(),
    )  # fmt: skip
    assert len(rows) == 1
    assert [issue["issue_id"] for issue in rows[0]["issues"]] == ["a", "c"]  # b has no failure to be a control for


def test_ignored_and_merged_issues_are_not_replayed():
    rows = cases_of(traces(ONE_TURN), labels((0, "a", True)), issues(a="ignored"), ANNOTATIONS.empty())
    assert rows == []


def test_a_conversation_comes_up_to_the_users_last_turn_and_reads_back_as_a_case(tmp_path):
    row = cases_of(traces(TWO_TURNS), labels((0, "a", True)), issues(a="active"), ANNOTATIONS.empty())[0]
    assert row["input"] == "Refund it"
    assert [message["content"] for message in row["messages"]] == ["Hello", "Hi", "Refund it"]
    answered = read_cases(case_file(tmp_path, row | {"output": "Refunded."}), is_strict=True)
    said = [message["content"] for message in answered.traces["transcript"][0]]
    assert said == ["Hello", "Hi", "Refund it", "Refunded."]
    assert answered.traces["service_name"][0] == "shop"
    assert answered.about["issue_ids"].to_list() == [["a"]]


def test_a_trace_in_which_no_user_speaks_cannot_be_replayed():
    silent = traces(transcript(("assistant", "Hi")))
    assert cases_of(silent, labels((0, "a", True)), issues(a="active"), ANNOTATIONS.empty()) == []
