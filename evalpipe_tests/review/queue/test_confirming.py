from collections import Counter

import polars as pl
import pytest

from evalpipe.review.queue.confirming import WANTED, confirming_arm, wanted_frame
from evalpipe.settings import ReviewSettings
from evalpipe.tables import CANDIDATES, VERIFICATIONS

SETTINGS = ReviewSettings()
FIXED, OTHER, SOLVED = "iss_fixed", "iss_other", "iss_solved"


def asked(issue_id: str, state: str = "verifying", n_needed: int = 74, n_read: int = 0) -> pl.DataFrame:
    row = {
        **{name: 0 for name, dtype in VERIFICATIONS.schema.items() if dtype.is_numeric()},
        "issue_id": issue_id,
        "state": state,
        "releases": ["1.1", "1.2"],
        "n_passes_needed": n_needed,
        "n_passes_read": n_read,
        "finding": "reading",
        "reason": "",
    }
    return VERIFICATIONS.conform(pl.DataFrame([row]))


def judged(issue_id: str, n: int, hits: set[int], version: int = 1) -> pl.DataFrame:
    rows = [
        {"issue_id": issue_id, "version": version, "trace_id": f"t{i:04}", "outcome": "fail" if i in hits else "pass"}
        for i in range(n)
    ]
    return pl.DataFrame(rows, schema_overrides={"version": pl.Int32})


def released(n: int, version: str | None = "1.1") -> pl.DataFrame:
    ids = [f"t{i:04}" for i in range(n)]
    return pl.DataFrame(
        {"trace_id": ids, "service_version": [version] * n}, schema_overrides={"service_version": pl.String}
    )


def wanted(
    *parts: pl.DataFrame, verdicts: pl.DataFrame, releases: pl.DataFrame, cycle: str = "2026-W10"
) -> pl.DataFrame:
    return wanted_frame(pl.concat(parts), verdicts, releases, cycle, SETTINGS)


def test_all_hits_and_as_many_random_passes_as_are_missing_are_asked_for():
    rows = wanted(asked(FIXED, n_needed=74, n_read=54), verdicts=judged(FIXED, 500, {3, 4}), releases=released(500))
    assert rows.schema == WANTED
    assert rows.height == 2 + 20
    assert set(rows.head(2)["trace_id"]) | {"t0003", "t0004"} <= set(rows["trace_id"])
    chances = Counter(rows["inclusion_probability"])
    assert chances == {1.0: 2, 20 / 498: 20}


def test_traces_of_older_releases_and_faults_prove_nothing():
    faults = judged(FIXED, 50, set()).with_columns(outcome=pl.lit("fault"))
    assert wanted(asked(FIXED), verdicts=faults, releases=released(50)).is_empty()
    assert wanted(asked(FIXED), verdicts=judged(FIXED, 50, {1}), releases=released(50, "1.0")).is_empty()


def test_the_newest_version_of_an_evaluator_says_what_is_a_hit():
    both = pl.concat([judged(FIXED, 10, {1}, version=1), judged(FIXED, 10, {2}, version=2)])
    rows = wanted(asked(FIXED, n_needed=0), verdicts=both, releases=released(10))
    assert rows["trace_id"].to_list() == ["t0002"]


def test_of_a_solved_issue_a_few_hits_are_asked_for_and_no_passes():
    rows = wanted(asked(SOLVED, "resolved"), verdicts=judged(SOLVED, 100, set(range(40))), releases=released(100, None))
    assert rows.height == 5


def test_issues_take_turns_so_that_none_waits_for_another():
    verdicts = pl.concat([judged(FIXED, 100, set()), judged(OTHER, 100, set())])
    rows = wanted(asked(FIXED), asked(OTHER), verdicts=verdicts, releases=released(100))
    pool = released(100).select("trace_id", "service_version")
    arm = confirming_arm(pool, rows, CANDIDATES.empty(), 100, 0.4)
    assert arm.height == 40
    draws = {
        issue: wanted(asked(issue), verdicts=judged(issue, 100, set()), releases=released(100))
        for issue in (FIXED, OTHER)
    }
    assert all(set(arm["trace_id"]) & set(draw["trace_id"]) for draw in draws.values())


def test_the_passes_are_an_even_draw_that_is_drawn_again_alike():
    counts: Counter[str] = Counter()
    for n in range(200):
        rows = wanted(
            asked(FIXED, n_needed=10), verdicts=judged(FIXED, 40, set()), releases=released(40), cycle=f"2026-W{n}"
        )
        again = wanted(
            asked(FIXED, n_needed=10), verdicts=judged(FIXED, 40, set()), releases=released(40), cycle=f"2026-W{n}"
        )
        assert rows.equals(again)
        counts.update(rows["trace_id"])
    # Each of 40 is drawn 200 * 10 / 40 = 50 times; the standard deviation is sqrt(200 * 0.25 * 0.75) = 6.1.
    assert min(counts.values()) > 50 - 5 * 6.1
    assert max(counts.values()) < 50 + 5 * 6.1


def test_what_was_read_of_an_earlier_build_stays_in_the_arm_although_less_is_asked_for():
    rows = wanted(asked(FIXED, n_needed=20), verdicts=judged(FIXED, 60, set()), releases=released(60))
    pool = released(60)
    read = rows.head(12).select("trace_id", "inclusion_probability", arm=pl.lit("verification"))
    fewer = wanted(asked(FIXED, n_needed=20, n_read=12), verdicts=judged(FIXED, 60, set()), releases=released(60))
    arm = confirming_arm(pool, fewer, read, 50, 0.4)
    assert set(read["trace_id"]) <= set(arm["trace_id"])
    assert arm.height <= 20


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_arm_takes_no_more_than_its_share(share: float):
    rows = wanted(asked(FIXED), verdicts=judged(FIXED, 500, set(range(200))), releases=released(500))
    arm = confirming_arm(released(500), rows, CANDIDATES.empty(), 50, share)
    assert arm.height == int(50 * share)


def test_the_reader_is_not_told_what_the_evaluator_said():
    rows = wanted(asked(FIXED), verdicts=judged(FIXED, 50, {1, 2}), releases=released(50))
    arm = confirming_arm(released(50), rows, CANDIDATES.empty(), 50, 1.0)
    assert arm["reasons"].list.join("").n_unique() == 1
    assert arm["queue"].unique().to_list() == ["verification"]
