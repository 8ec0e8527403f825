"""Counts of verdicts by hour and release, and the weekly rates that they add up to."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from evalpipe.evaluators.rates import N_WEEKS, count_frame, rate_frame
from evalpipe.tables import EVALUATOR_QUALITY, ISSUE_RATES, VERDICT_COUNTS, VERDICTS

MONDAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def verdicts(*rows: tuple[str, str, float], version: int = 1) -> pl.DataFrame:
    """(trace_id, outcome, inclusion_probability)"""
    columns = ["trace_id", "outcome", "inclusion_probability"]
    fixed = {"evaluator_id": "ev_1", "issue_id": "iss_1", "day": MONDAY}
    return VERDICTS.conform(
        pl.DataFrame(rows, schema=columns, orient="row").with_columns(
            *(pl.lit(value).alias(name) for name, value in fixed.items()), version=pl.lit(version)
        )
    )


def traces(*rows: tuple[str, datetime, str | None]) -> pl.DataFrame:
    """(trace_id, start, release)"""
    frame = pl.DataFrame(rows, schema=["trace_id", "start", "service_version"], orient="row")
    return frame.with_columns(
        start_unix_ns=pl.col("start").dt.epoch("ns"), service_name=pl.lit("shop"), session_id=pl.lit(None, pl.String)
    )


def test_verdicts_are_counted_by_hour_and_release():
    started = traces(
        ("a", NOON + timedelta(minutes=50), "1.0"),
        ("b", NOON + timedelta(minutes=5), "1.0"),
        ("c", NOON + timedelta(minutes=59, seconds=59), "1.1"),
        ("d", NOON + timedelta(hours=1), "1.1"),
    )
    said = verdicts(("a", "fail", 1), ("b", "pass", 1), ("c", "pass", 1), ("d", "fail", 1))
    found = count_frame(said, started)
    assert found.select("hour", "service_version", "n_judged", "n_flagged").rows() == [
        (12, "1.0", 2, 1),
        (12, "1.1", 1, 0),
        (13, "1.1", 1, 1),
    ]
    assert found["first_start_unix_ns"][0] == int((NOON + timedelta(minutes=5)).timestamp()) * 10**9


def test_a_trace_counts_for_as_many_as_it_stands_for():
    # Weights 2, 2 and 10; of the flagged 2 and 10: sums 14 and 12, sums of squares 108 and 104.
    started = traces(*((name, NOON, "1.0") for name in "abc"))
    found = count_frame(verdicts(("a", "fail", 0.5), ("b", "pass", 0.5), ("c", "fail", 0.1)), started)
    names = ("judged_weight", "flagged_weight", "judged_weight_sq", "flagged_weight_sq")
    assert found.select(names).row(0) == pytest.approx((14, 12, 108, 104))


def test_a_session_counts_once_where_it_was_first_judged_and_where_it_first_failed():
    started = traces(
        ("a", NOON, "1.0"),
        ("b", NOON + timedelta(minutes=50), "1.0"),
        ("c", NOON + timedelta(minutes=70), "1.0"),
        ("d", NOON + timedelta(minutes=75), "1.0"),
    ).with_columns(session_id=pl.Series(["s", "s", "s", None]))
    found = count_frame(verdicts(("a", "pass", 1), ("b", "fail", 1), ("c", "fail", 1), ("d", "fail", 1)), started)
    names = ("hour", "n_judged", "n_flagged", "n_judged_sessions", "n_flagged_sessions")
    assert found.select(names).rows() == [(12, 2, 1, 1, 1), (13, 2, 2, 1, 1)]


def test_a_fault_is_counted_apart():
    found = count_frame(verdicts(("a", "fault", 1), ("b", "pass", 1)), traces(("a", NOON, "1"), ("b", NOON, "1")))
    assert found.select("n_judged", "n_flagged", "n_faults", "judged_weight").row(0) == (1, 0, 1, 1.0)


def test_versions_are_counted_each_and_a_nameless_release_is_one():
    said = pl.concat([verdicts(("a", "fail", 1)), verdicts(("a", "pass", 1), version=2)])
    found = count_frame(said, traces(("a", NOON, None)))
    assert found.select("version", "service_version", "n_flagged").rows() == [(1, "", 1), (2, "", 0)]


def test_a_trace_that_is_gone_counts_nowhere():
    assert count_frame(verdicts(("a", "fail", 1)), traces(("b", NOON, "1"))).is_empty()
    assert count_frame(VERDICTS.empty(), traces(("b", NOON, "1"))).equals(VERDICT_COUNTS.empty())


def counts(*rows: tuple[int, date, int, int]) -> pl.DataFrame:
    """(version, day, judged, flagged)"""
    fixed = {
        "evaluator_id": "ev_1",
        "issue_id": "iss_1",
        "hour": 12,
        "service_name": "shop",
        "service_version": "1.0",
        "first_start_unix_ns": 0,
        "n_faults": 0,
    }
    frame = pl.DataFrame(rows, schema=["version", "day", "n_judged", "n_flagged"], orient="row")
    return VERDICT_COUNTS.conform(
        frame.with_columns(
            *(pl.lit(value).alias(name) for name, value in fixed.items()),
            *(pl.col(f"n_{kind}").alias(f"{kind}_weight{sq}") for kind in ("judged", "flagged") for sq in ("", "_sq")),
            *(pl.col(f"n_{kind}").alias(f"n_{kind}_sessions") for kind in ("judged", "flagged")),
        )
    )


def quality(*rows: tuple[int, datetime, int, int, int, int], split: str = "held_out") -> pl.DataFrame:
    """(version, measured_at, tp, fp, tn, fn)"""
    columns = ["version", "measured_at", "tp", "fp", "tn", "fn"]
    known = {c.name: None for c in EVALUATOR_QUALITY.columns if c.is_nullable}
    texts = {c.name: "" for c in EVALUATOR_QUALITY.columns if c.dtype == pl.String and not c.is_nullable}
    numbers = {c.name: 0 for c in EVALUATOR_QUALITY.columns if c.dtype in (pl.Int64, pl.Float64) and not c.is_nullable}
    fixed = known | texts | numbers | {"evaluator_id": "ev_1", "issue_id": "iss_1", "split": split}
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return EVALUATOR_QUALITY.conform(
        frame.with_columns(pl.lit(value).alias(name) for name, value in fixed.items() if name not in columns)
    )


def test_a_week_is_corrected_by_what_its_evaluator_last_was_worth():
    # 30 + 90 of 1,000 flagged: 12 %. Latest: tpr 18/20, fpr 4/80: (0.12 - 0.05) / (0.9 - 0.05).
    judged = counts((1, MONDAY, 400, 30), (1, MONDAY + timedelta(days=6), 600, 90))
    measured = quality((1, NOON, 10, 0, 10, 0), (1, NOON + timedelta(days=1), 18, 4, 76, 2))
    found = rate_frame(judged, measured, 0.95)
    assert found.select("first_day", "n_judged", "n_flagged", "flagged_share").row(0) == (MONDAY, 1_000, 120, 0.12)
    assert found.select("tpr", "fpr", "prevalence").row(0) == pytest.approx((0.9, 0.05, 0.07 / 0.85))
    row = found.row(0, named=True)
    assert row["prevalence_lower"] < row["prevalence"] < row["prevalence_upper"]


def test_weeks_begin_on_monday():
    found = rate_frame(counts((1, date(2026, 3, 8), 10, 1), (1, date(2026, 3, 9), 10, 1)), quality(), 0.95)
    assert found["first_day"].to_list() == [MONDAY, MONDAY + timedelta(weeks=1)]


@pytest.mark.parametrize(("n_newer", "version"), [(50, 2), (49, 1)])
def test_a_week_is_told_by_the_newest_version_that_saw_most_of_it(n_newer: int, version: int):
    found = rate_frame(counts((1, MONDAY, 100, 10), (2, MONDAY, n_newer, 10)), quality(), 0.95)
    assert found.select("version", "n_judged").row(0) == (version, 100 if version == 1 else n_newer)


def test_an_evaluator_that_was_never_measured_has_a_flagged_share_alone():
    of_another_version = quality((2, NOON, 18, 4, 76, 2))
    unseen_is_missing = quality((1, NOON, 18, 4, 76, 2), split="in_sample")
    for measured in (quality(), of_another_version, unseen_is_missing):
        found = rate_frame(counts((1, MONDAY, 1_000, 120)), measured, 0.95)
        assert found.select("flagged_share", "tpr", "fpr", "prevalence").row(0) == (0.12, None, None, None)


def test_labels_of_one_kind_tell_no_prevalence():
    found = rate_frame(counts((1, MONDAY, 1_000, 120)), quality((1, NOON, 18, 0, 0, 2)), 0.95)
    assert found.select("tpr", "fpr", "prevalence").row(0) == (0.9, None, None)


def test_half_a_year_is_told():
    days = [MONDAY - timedelta(weeks=n) for n in range(N_WEEKS + 5)]
    found = rate_frame(counts(*((1, day, 10, 1) for day in days)), quality(), 0.95)
    assert found.height == N_WEEKS
    assert found["first_day"].max() == MONDAY


def test_a_week_in_which_all_were_faults_is_not_told():
    assert rate_frame(counts((1, MONDAY, 0, 0)), quality(), 0.95).equals(ISSUE_RATES.empty())
    assert rate_frame(VERDICT_COUNTS.empty(), quality(), 0.95).equals(ISSUE_RATES.empty())
