"""Evaluators over real tables: who is trusted, and what is said of a day when its traces or its evaluators change."""

from datetime import UTC, datetime

import polars as pl

from evalpipe.evaluators.on_lake import counts_on, loaded, rates_now, trusted, verdicts_on
from evalpipe.home import Home
from evalpipe.plan import expected, stale
from evalpipe.tables import ISSUE_RATES, TRACES, VERDICT_COUNTS, VERDICTS


def test_a_day_judged_again_is_the_same_day(home_copy: Home):
    suite = loaded(trusted(home_copy.lake, home_copy.settings.quality))
    day = home_copy.lake.read(VERDICTS)["day"].max()
    before = home_copy.lake.read(VERDICTS, pl.col("day") == day).sort(VERDICTS.key)
    assert verdicts_on(home_copy.lake, day, suite, home_copy.settings).rows.sort(VERDICTS.key).equals(before)


def test_a_trace_that_changed_gets_a_new_verdict_and_no_second_one(home_copy: Home):
    suite = loaded(trusted(home_copy.lake, home_copy.settings.quality))
    failed = home_copy.lake.read(VERDICTS, pl.col("outcome") == "fail").sort(VERDICTS.key).row(0, named=True)
    day = failed["day"]
    emptied = home_copy.lake.read(TRACES, pl.col("day") == day).with_columns(
        transcript=pl.when(pl.col("trace_id") == failed["trace_id"])
        .then(pl.lit([], dtype=TRACES.schema["transcript"]))
        .otherwise("transcript")
    )
    home_copy.lake.replace(TRACES, emptied, partition=day)
    rows = verdicts_on(home_copy.lake, day, suite, home_copy.settings).rows
    same = (pl.col("trace_id") == failed["trace_id"]) & (pl.col("evaluator_id") == failed["evaluator_id"])
    assert rows.filter(same)["outcome"].to_list() == ["pass"]


def test_what_earlier_versions_said_stays(home_copy: Home):
    day = home_copy.lake.read(VERDICTS)["day"].max()
    before = home_copy.lake.read(VERDICTS, pl.col("day") == day)
    suite = loaded(trusted(home_copy.lake, home_copy.settings.quality))
    newer = [artifact.model_copy(update={"version": artifact.version + 1}) for artifact in suite]
    rows = verdicts_on(home_copy.lake, day, newer, home_copy.settings).rows
    assert rows.height == 2 * before.height
    assert before.join(rows, on=list(VERDICTS.key), how="anti").is_empty()


def test_only_evaluators_of_at_least_monitoring_quality_judge_traffic(home_copy: Home):
    suite = trusted(home_copy.lake, home_copy.settings.quality)
    assert set(suite["status"]) <= {"active", "monitoring"}
    strict = home_copy.settings.quality.model_copy(update={"monitor_mcc": 1.0, "block_mcc": 1.0})
    assert trusted(home_copy.lake, strict).height < suite.height


def test_the_counts_of_a_day_are_those_of_its_verdicts(home_copy: Home):
    lake = home_copy.lake
    said = lake.read(VERDICTS)
    counted = lake.read(VERDICT_COUNTS)
    by_day = (
        said.group_by("day", "evaluator_id", "version")
        .agg(
            n_judged=(pl.col("outcome") != "fault").sum().cast(pl.Int64),
            n_flagged=(pl.col("outcome") == "fail").sum().cast(pl.Int64),
        )
        .sort("day", "evaluator_id", "version")
    )
    keys = ["day", "evaluator_id", "version"]
    assert counted.group_by(keys).agg(pl.col("n_judged", "n_flagged").sum()).sort(keys).equals(by_day)
    day = said["day"].max()
    assert counts_on(lake, day).equals(counted.filter(pl.col("day") == day).sort(VERDICT_COUNTS.key))


def test_the_rates_of_all_weeks_follow_from_counts_and_quality(home_copy: Home):
    lake = home_copy.lake
    rates = rates_now(lake, home_copy.settings.monitor)
    assert rates.equals(lake.read(ISSUE_RATES))
    assert set(rates["issue_id"]) == set(lake.read(VERDICTS)["issue_id"])
    known = rates.drop_nulls("prevalence")
    assert not known.is_empty()
    assert known.select(pl.col("prevalence").is_between("prevalence_lower", "prevalence_upper").all()).item()


def test_a_home_without_verdicts_has_no_rates(empty_home: Home):
    assert rates_now(empty_home.lake, empty_home.settings.monitor).is_empty()


def test_counts_and_rates_follow_the_verdicts_of_a_day(home_copy: Home):
    """With a day's verdicts made again from other inputs its counts are stale, and once they are made the rates."""
    now = datetime(2026, 4, 1, tzinfo=UTC)
    day = home_copy.lake.read(VERDICTS)["day"].max()
    assert not any(stale(home_copy, asset, now).partitions for asset in ("verdict_counts", "issue_rates"))
    rows = home_copy.lake.read(VERDICTS, pl.col("day") == day)
    home_copy.lake.replace(VERDICTS, rows, partition=day, made_from=1)
    assert stale(home_copy, "verdict_counts", now).partitions == (str(day),)
    should_be = expected(home_copy, "verdict_counts", now)[str(day)]
    home_copy.lake.replace(VERDICT_COUNTS, counts_on(home_copy.lake, day), partition=day, made_from=should_be)
    assert stale(home_copy, "verdict_counts", now).partitions == ()
    assert stale(home_copy, "issue_rates", now).partitions == ("all",)
