"""`evalpipe backtest` at the command line: an answer for programs with a page, one line for a range without traffic."""

import json
from pathlib import Path

from evalpipe.home import Home
from evalpipe_tests.backtest.made import write
from evalpipe_tests.cli.test_bad_input import evalpipe, refused


def test_the_answer_for_programs_names_the_page_that_was_written(tmp_path: Path):
    home = Home.open(tmp_path / "home")
    write(home.lake)
    done = evalpipe(home, "backtest", "--from", "2026-03-16", "--to", "2026-03-29", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["first_day"], said["last_day"]) == ("2026-03-16", "2026-03-29")
    assert {row["issue_name"]: row["is_false_alarm"] for row in said["rows"]} == {
        "sorry": False,
        "rude": False,
        "odd": True,
    }
    assert said["backtest_id"] in Path(said["page"]).read_text(encoding="utf-8")


def test_a_range_without_traffic_is_refused(tmp_path: Path):
    done = evalpipe(tmp_path / "home", "backtest", "--from", "2026-03-16", "--to", "2026-03-29")
    assert "no trace lies between 2026-03-16 and 2026-03-29" in refused(done)
