"""The cases that CI replays."""

from datetime import UTC, date, datetime

import polars as pl

from evalpipe.gate.cases import read_cases
from evalpipe.gate.replay import cases_of
from evalpipe.tables import ANNOTATIONS, ISSUES, LABELS
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
            "issues": [{"issue_id": "a", "failure_mode": "mode a", "is_failure": True}],
            "metadata": {"service": "shop", "session_id": "session-0", "original_version": None},
        }
    ]


def test_each_issue_has_as_many_controls_as_failures():
    made = traces(*[ONE_TURN] * 8)
    rows = cases_of(
        made,
        labels((0, "a", True), (1, "a", True), *((n, "a", False) for n in range(2, 8))),
        issues(a="active"),
        ANNOTATIONS.empty(),
    )
    said = [row["issues"][0]["is_failure"] for row in rows]
    assert (said.count(True), said.count(False)) == (2, 2)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)


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
    answered = read_cases(case_file(tmp_path, row | {"output": "Refunded."})).traces
    assert [message["content"] for message in answered["transcript"][0]] == ["Hello", "Hi", "Refund it", "Refunded."]
    assert answered["service_name"][0] == "shop"


def test_a_trace_in_which_no_user_speaks_cannot_be_replayed():
    silent = traces(transcript(("assistant", "Hi")))
    assert cases_of(silent, labels((0, "a", True)), issues(a="active"), ANNOTATIONS.empty()) == []
