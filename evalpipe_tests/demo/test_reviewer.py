import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from evalpipe.demo.plan import DemoPlan, FailureMode
from evalpipe.demo.reviewer import review, write_annotations
from evalpipe.ids import issue_id
from evalpipe.tables import CANDIDATES

PLAN = DemoPlan(date(2026, 10, 19))
WEEK_END = datetime(2026, 10, 26, tzinfo=UTC)
MODES = [*FailureMode, None]
TRUTH: dict[str, str | None] = {f"{n:032x}": MODES[n % len(MODES)] for n in range(4_000)}


def queue_of(trace_ids: list[str], **columns: object) -> pl.DataFrame:
    rows = [
        {
            "cycle": "2026-W43",
            "trace_id": trace_id,
            "reviewer": "reviewer",
            "day": date(2026, 10, 20),
            "session_id": None,
            "service_name": "shop-assistant",
            "queue": "hedging",
            "rank": rank,
            "priority": 1.0,
            "reasons": ["hedges"],
            "pattern_id": "p",
            "pattern_frequency": 1,
            "arm": "anomaly",
            "inclusion_probability": 1.0,
            "status": "queued",
            **columns,
        }
        for rank, trace_id in enumerate(trace_ids, start=1)
    ]
    return CANDIDATES.conform(pl.DataFrame(rows, schema=CANDIDATES.schema))


def reviewed(queue: pl.DataFrame, *, seed: int = 1, capacity: int = 100) -> list[dict]:
    return review(queue, TRUTH, week_end=WEEK_END, plan=PLAN, seed=seed, capacity=capacity)


def test_the_reviewer_judges_what_the_queue_shows_and_nothing_else() -> None:
    shown = list(TRUTH)[100:130]
    assert [row["trace_id"] for row in reviewed(queue_of(shown))] == shown


def test_an_empty_queue_gives_no_annotation() -> None:
    assert reviewed(CANDIDATES.empty()) == []


def test_the_reviewer_reads_by_rank_and_stops_at_capacity() -> None:
    queue = queue_of(list(TRUTH)[:300]).sample(fraction=1, shuffle=True, seed=4)
    rows = reviewed(queue, capacity=100)
    assert [row["trace_id"] for row in rows] == list(TRUTH)[:100]
    # 100 traces at 72 seconds are two hours.
    assert datetime.fromisoformat(rows[-1]["annotated_at"]) == datetime(2026, 10, 26, 2, tzinfo=UTC)


def test_what_was_reviewed_before_is_not_read_again() -> None:
    assert reviewed(queue_of(list(TRUTH)[:10], status="reviewed")) == []


def test_a_trace_that_the_demo_did_not_make_is_left_unread() -> None:
    assert reviewed(queue_of(["f" * 32])) == []


def test_a_longer_queue_changes_no_judgement() -> None:
    short = reviewed(queue_of(list(TRUTH)[:20]))
    assert reviewed(queue_of(list(TRUTH)[:60]))[:20] == short


def test_about_three_in_a_hundred_judgements_are_slips() -> None:
    rows = reviewed(queue_of(list(TRUTH)), capacity=len(TRUTH))
    n_wrong = sum(_issue(row["failure_mode"]) != _issue(TRUTH[row["trace_id"]]) for row in rows)
    # Binomial(4000, 0.03): 120 expected, standard deviation 10.8
    assert 85 <= n_wrong <= 155
    assert rows != reviewed(queue_of(list(TRUTH)), seed=2, capacity=len(TRUTH))


def test_one_failure_mode_in_many_spellings_is_one_issue() -> None:
    rows = reviewed(queue_of(list(TRUTH)), capacity=len(TRUTH))
    spellings = {row["failure_mode"] for row in rows if row["failure_mode"]}
    assert len(spellings) > 3 * len(FailureMode)
    assert {issue_id(spelling) for spelling in spellings} == {issue_id(mode) for mode in FailureMode}


def test_failures_are_bad_or_partial_and_good_traces_have_no_failure_mode() -> None:
    rows = reviewed(queue_of(list(TRUTH)), capacity=len(TRUTH))
    assert {row["verdict"] for row in rows} == {"good", "bad", "partial"}
    for row in rows:
        assert (row["verdict"] == "good") == (row["failure_mode"] is None) == (row["correction"] is None)
        assert row["label_source"] == "human"


def test_annotations_are_written_one_a_line(tmp_path: Path) -> None:
    rows = reviewed(queue_of(list(TRUTH)[:30]))
    path = write_annotations(rows, tmp_path / "inbox" / "week.jsonl")
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows


def _issue(mode: str | None) -> str | None:
    return None if mode is None else issue_id(mode)
