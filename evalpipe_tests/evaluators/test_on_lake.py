"""Evaluators over real tables: who is trusted, and what is said of a day when its traces or its evaluators change."""

import polars as pl

from evalpipe.evaluators.on_lake import loaded, trusted, verdicts_on
from evalpipe.home import Home
from evalpipe.tables import TRACES, VERDICTS


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
