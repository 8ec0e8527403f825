"""When an evaluator is worth generating."""

from datetime import timedelta

import polars as pl
import pytest

from evalpipe.generation.triggers import Attempt, issues_due, labels_fingerprint, waiting
from evalpipe.settings import GenerationSettings
from evalpipe.tables import EVALUATOR_HEALTH, EVALUATORS, ISSUES, LABELS
from evalpipe_tests.generation.planted import NOW

SETTINGS = GenerationSettings()


def labels(n_failures: int, n_others: int = 20, issue: str = "iss_a") -> pl.DataFrame:
    n = n_failures + n_others
    return LABELS.conform(
        pl.DataFrame(
            {
                "trace_id": [f"{i:032x}" for i in range(n)],
                "issue_id": issue,
                "day": NOW.date(),
                "session_id": [f"s{i}" for i in range(n)],
                "service_name": "support",
                "is_failure": [i < n_failures for i in range(n)],
                "weight": 1.0,
                "n_annotators": 1,
                "is_disputed": False,
                "labelled_at": NOW,
                "sources": [["human"]] * n,
            }
        )
    )


def issues(state: str = "active", issue: str = "iss_a") -> pl.DataFrame:
    return ISSUES.conform(
        pl.DataFrame(
            {
                "issue_id": [issue],
                "name": ["x"],
                "state": [state],
                "flags": [[]],
                "services": [["support"]],
                "n_failures": [1],
                "first_seen_at": [NOW],
                "last_seen_at": [NOW],
                "updated_at": [NOW],
            },
            schema_overrides={"flags": pl.List(pl.String)},
        )
    )


def evaluator(n_positives: int, status: str = "active", version: int = 1) -> pl.DataFrame:
    return EVALUATORS.conform(
        pl.DataFrame(
            {
                "evaluator_id": "ev_a",
                "version": version,
                "issue_id": "iss_a",
                "failure_mode": "x",
                "kind": "rule",
                "status": status,
                "artifact": "{}",
                "artifact_sha256": "0",
                "n_positives": n_positives,
                "n_negatives": 20,
                "labels_fingerprint": 1,
                "created_at": NOW - timedelta(days=1),
                "reason": "",
            }
        )
    )


def due(
    found: pl.DataFrame,
    evaluators: pl.DataFrame | None = None,
    attempted: dict[str, Attempt] | None = None,
    state: str = "active",
) -> list[str]:
    made = EVALUATORS.empty() if evaluators is None else evaluators
    return [d.reason for d in issues_due(found, issues(state), made, attempted or {}, SETTINGS)]


def test_an_issue_without_an_evaluator_is_due_once_it_has_enough_labels():
    assert due(labels(9)) == []
    assert due(labels(10)) == ["10 failures and 20 other labels, and no evaluator yet"]


@pytest.mark.parametrize("state", ["candidate", "resolved", "ignored", "merged"])
def test_only_active_issues_are_due(state: str):
    assert due(labels(30), state=state) == []


@pytest.mark.parametrize(
    ("made_from", "now", "is_due"),
    [
        (10, 14, False),  # four are fewer than min_new_labels
        (10, 15, True),
        (15, 10, True),  # five were taken back
        (50, 59, False),  # nine are less than a fifth of fifty
        (50, 60, True),
    ],
)
def test_an_issue_with_an_evaluator_is_due_when_its_failures_changed_enough(made_from: int, now: int, is_due: bool):
    assert bool(due(labels(now), evaluator(made_from))) == is_due


def test_a_retired_evaluator_is_none():
    assert due(labels(12), evaluator(12, status="retired"))


def test_the_newest_version_is_what_counts():
    both = pl.concat([evaluator(20, version=2), evaluator(10, version=1)])
    assert due(labels(20), both) == []


def test_nothing_is_tried_twice_on_the_same_labels():
    found = labels(30)
    assert due(found, attempted={"iss_a": Attempt(labels_fingerprint(found))}) == []
    assert due(found, evaluator(10), {"iss_a": Attempt(labels_fingerprint(found))}) == []


def test_after_a_try_that_led_to_nothing_the_failures_must_have_grown_since_that_try():
    assert due(labels(18), evaluator(10), {"iss_a": Attempt(1, n_positives=15)}) == []
    assert due(labels(20), evaluator(10), {"iss_a": Attempt(1, n_positives=15)}) == [
        "5 more failures since the last try (15 then, 20 now)"
    ]


def test_the_fingerprint_does_not_depend_on_the_order_of_rows_but_on_what_they_say():
    found = labels(12)
    changed = found.with_columns(is_failure=pl.Series([False, *found["is_failure"].to_list()[1:]]))
    assert labels_fingerprint(found) == labels_fingerprint(found.reverse())
    assert labels_fingerprint(found) != labels_fingerprint(changed)


def test_what_an_issue_waits_for_is_said():
    assert waiting(labels(6, 7), issues(), SETTINGS) == [("iss_a", "4 more failures, 3 more good traces")]
    assert waiting(labels(10), issues(), SETTINGS) == []
    assert waiting(LABELS.empty(), issues(), SETTINGS) == [("iss_a", "10 more failures, 10 more good traces")]


def test_what_a_model_kept_from_ending_is_tried_again_a_few_times_and_then_left_to_people():
    found = labels(12)
    tried = [Attempt(labels_fingerprint(found), 12, n_interrupted=n) for n in range(4)]
    assert [due(found, evaluator(12), {"iss_a": attempt}) for attempt in tried] == [
        [],
        ["the model failed at the last try"],
        ["the model failed at the last try"],
        [],
    ]


def health(version: int, is_demoted: bool = True) -> pl.DataFrame:
    row = {"evaluator_id": "ev_a", "version": version, "issue_id": "iss_a", "mcc_held_out": 0.84, "mcc_recent": 0.31}
    counts = {"n_recent": 28, "n_recent_failures": 9, "n_prequential": 0, "confidence": 0.9}
    said = {"finding": "drifted", "is_demoted": is_demoted, "has_traffic_shifted": True, "reason": ""}
    return EVALUATOR_HEALTH.conform(pl.DataFrame([row | counts | said]))


def test_a_version_that_fell_is_due_though_its_failures_did_not_grow():
    found, made = labels(12), evaluator(12, version=2)

    def reasons(of: pl.DataFrame, attempted: dict[str, Attempt] | None = None) -> list[str]:
        return [d.reason for d in issues_due(found, issues(), made, attempted or {}, SETTINGS, of)]

    assert reasons(health(2)) == ["its agreement fell from 0.84 to 0.31 on 28 new labels"]
    assert reasons(health(2, is_demoted=False)) == []
    assert reasons(health(1)) == []  # a newer version has replaced the one that fell
    assert reasons(health(2), {"iss_a": Attempt(labels_fingerprint(found), 12)}) == []  # once for these labels


def test_an_issue_whose_fix_is_being_verified_still_needs_an_evaluator():
    assert len(due(labels(10), state="verifying")) == 1
    assert due(labels(10), state="resolved") == []
