"""A backfill that was killed goes on where it was, and ends as if it had not been."""

import shutil
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from evalpipe.cli.app import app
from evalpipe.dagster_home import instance_of
from evalpipe.errors import InputError
from evalpipe.home import Home
from evalpipe.plan import expected, stale, verdicts_missing
from evalpipe.tables import VERDICTS
from evalpipe_tests.faults.dying import NOW

FIRST, LAST = date(2026, 3, 3), date(2026, 3, 4)


def backfilled(home: Home, *issues: str) -> str:
    arguments = ["--home", str(home.root), "evaluators", "backfill", *issues, "--from", str(FIRST), "--to", str(LAST)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def times_made(home: Home, day: str) -> int:
    with instance_of(home) as instance:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("verdicts"), asset_partitions=[day])
        return len(instance.fetch_materializations(wanted, limit=100).records)


def verdicts_of(home: Home) -> pl.DataFrame:
    return home.lake.read(VERDICTS, pl.col("day").is_between(FIRST, LAST)).sort(VERDICTS.key)


def test_a_backfill_that_is_killed_makes_only_what_is_missing_when_it_is_started_again(home_copy: Home):
    before, days = verdicts_of(home_copy), ["2026-03-03", "2026-03-04"]
    assert before.height
    shutil.rmtree(Path(home_copy.lake.table_uri(VERDICTS)))
    assert verdicts_missing(home_copy, FIRST, LAST) == days
    n_before = [times_made(home_copy, day) for day in days]

    dying = [sys.executable, "-m", "evalpipe_tests.faults.dying_backfill", str(home_copy.root), str(FIRST), str(LAST)]
    assert subprocess.run([*dying, "1"], capture_output=True).returncode == -signal.SIGKILL
    assert verdicts_missing(home_copy, FIRST, LAST) == days[1:]

    assert " on 1 days: " in backfilled(home_copy)
    assert verdicts_of(home_copy).equals(before)
    # The first day was written and its run died before it could say so; the other is made once, and none twice.
    assert [times_made(home_copy, day) - n for day, n in zip(days, n_before, strict=True)] == [0, 1]
    assert backfilled(home_copy).startswith("nothing is missing")


def test_days_outside_the_window_are_backfilled_issue_by_issue_and_are_not_stale_for_it(
    home_copy: Home, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVALPIPE_MONITOR__WINDOW_DAYS", "2")
    home, before = Home.open(home_copy.root), verdicts_of(home_copy)
    issue = before["issue_id"][0]
    shutil.rmtree(Path(home.lake.table_uri(VERDICTS)))
    assert [day > str(LAST) for day in expected(home, "verdicts", NOW)] == [True, True]
    seen = expected(home, "coverage", NOW)
    n_stale = len(stale(home, "verdicts", NOW).partitions)

    backfilled(home, issue)
    assert verdicts_of(home).equals(before.filter(pl.col("issue_id") == issue))
    assert verdicts_missing(home, FIRST, LAST, [issue]) == []
    assert len(verdicts_missing(home, FIRST, LAST)) == 2
    assert len(stale(home, "verdicts", NOW).partitions) == n_stale
    assert expected(home, "coverage", NOW) != seen

    backfilled(home)
    assert verdicts_of(home).equals(before)
    assert len(stale(home, "verdicts", NOW).partitions) == n_stale


def test_a_backfill_of_an_issue_that_nobody_checks_is_refused(home_copy: Home):
    arguments = ["--home", str(home_copy.root), "evaluators", "backfill", "iss_none", "--from", "2026-03-03"]
    assert isinstance(CliRunner().invoke(app, arguments).exception, InputError)
    assert "iss_none" in str(CliRunner().invoke(app, [*arguments, "--to", "2026-03-05"]).exception)
