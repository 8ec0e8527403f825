"""The commands that a user types, on a home that two weeks of the demo went through."""

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import polars as pl
import pytest

from evalpipe.home import Home
from evalpipe.issues.events import event
from evalpipe.issues.replay import replay
from evalpipe.review.desk.tokens import reviewer_of
from evalpipe.tables import ANNOTATIONS, EVALUATORS, ISSUE_EVENTS, ISSUES
from evalpipe_tests.cli.test_bad_input import evalpipe
from evalpipe_tests.issues.made import SLOW, issues_named, later


@pytest.mark.parametrize(
    "command", [["queue", "list"], ["issues", "list"], ["evaluators", "list"]], ids=lambda command: " ".join(command)
)
def test_what_lists_gives_a_table_to_people_and_json_to_programs(walked, command: list[str]):
    done = evalpipe(walked[0], *command, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    table = evalpipe(walked[0], *command)
    assert table.returncode == 0, table.stderr
    identifier = next(name for name in ("trace_id", "evaluator_id", "issue_id") if name in rows[0])
    assert all(row[identifier] in table.stdout for row in rows if row[identifier])


@pytest.mark.parametrize(
    "command", [["queue", "yield"], ["annotations", "agreement"], ["issues", "proposals"]], ids=str
)
def test_what_reviewing_found_is_shown_to_people_and_programs(walked, command: list[str]):
    assert isinstance(json.loads(evalpipe(walked[0], *command, "--json").stdout), list)
    assert evalpipe(walked[0], *command).returncode == 0


def test_what_was_annotated_since_the_queue_was_built_is_not_exported_again(home_copy: Home, tmp_path: Path):
    queue = json.loads(evalpipe(home_copy, "queue", "list", "--json").stdout)
    assert {row["status"] for row in queue} == {"reviewed"}  # the scripted reviewer has read the whole queue
    evalpipe(home_copy, "queue", "export", "--out", tmp_path / "queue.csv")
    assert pl.read_csv(tmp_path / "queue.csv", infer_schema=False).is_empty()


def test_evaluators_list_gives_held_out_figures_with_their_interval(walked):
    rows = json.loads(evalpipe(walked[0], "evaluators", "list", "--json").stdout)
    trusted = [row for row in rows if row["status"] == "active"]
    assert trusted
    assert all(row["mcc_lower"] <= row["mcc"] <= row["mcc_upper"] for row in trusted)


def test_the_gate_answers_with_its_exit_code_and_leaves_files_for_ci(home_copy: Home, walked, tmp_path: Path):
    home, said = home_copy, walked[1]
    files = {name: tmp_path / name for name in ("gate.xml", "gate.md", "gate.json")}
    arguments = ["--junit", files["gate.xml"], "--markdown", files["gate.md"], "--json", files["gate.json"]]
    done = evalpipe(home, "gate", "--cases", said.bad_cases, *arguments)
    assert done.returncode == 1, done.stderr
    assert ET.parse(files["gate.xml"]).getroot().tag == "testsuites"
    assert json.loads(files["gate.json"].read_text())["decision"] == "block"
    assert "repeated" in files["gate.md"].read_text()
    assert evalpipe(home, "gate", "--cases", said.good_cases).returncode == 0


def test_the_gate_judges_a_release_by_its_traffic(home_copy: Home):
    done = evalpipe(home_copy, "gate", "--release", "1.0.0")
    assert done.returncode in (0, 1), done.stderr
    assert "1.0.0" in done.stdout or "ship" in done.stdout


def test_a_queue_is_exported_filled_in_and_imported_again(home_copy: Home, tmp_path: Path):
    shutil.rmtree(home_copy.root / "lake" / "annotations")  # as if nobody had read anything yet
    sheet = tmp_path / "queue.csv"
    assert evalpipe(home_copy, "queue", "export", "--out", sheet).returncode == 0
    rows = pl.read_csv(sheet, infer_schema=False)
    filled = rows.head(3).with_columns(verdict=pl.lit("bad"), failure_mode=pl.lit("answers too late"))
    filled.write_csv(sheet)
    done = evalpipe(home_copy, "annotations", "import", sheet, "--annotator", "ana")
    assert done.returncode == 0, done.stderr
    assert home_copy.lake.read(ANNOTATIONS)["annotator"].to_list() == ["ana"] * 3
    assert evalpipe(home_copy, "run").returncode == 0
    assert "answers too late" in home_copy.lake.read(ISSUES)["name"].to_list()


def test_an_issue_is_resolved_and_reopened_by_people_whose_names_are_kept(home_copy: Home):
    issue = home_copy.lake.read(ISSUES, pl.col("state") == "active").sort("issue_id")["issue_id"][0]
    assert evalpipe(home_copy, "issues", "resolve", issue, "--as", "ana", "--why", "fixed in 1.3").returncode == 0
    assert evalpipe(home_copy, "issues", "resolve", issue, "--as", "ana").returncode == 2
    assert evalpipe(home_copy, "run").returncode == 0
    assert home_copy.lake.read(ISSUES, pl.col("issue_id") == issue)["state"].to_list() == ["resolved"]
    assert evalpipe(home_copy, "issues", "reopen", issue, "--as", "bob").returncode == 0
    events = home_copy.lake.read(ISSUE_EVENTS, pl.col("issue_id") == issue).sort("at")
    assert events["author"].to_list()[-2:] == ["ana", "bob"]


def test_a_person_says_that_an_issue_is_fixed_how_bad_it_is_and_takes_it_back(empty_home: Home):
    events = issues_named("slow")
    promoted = event(replay(events)[SLOW], "promoted", author="pipeline", now=later(9), evidence={"n_failures": 3})
    empty_home.lake.append_new(ISSUE_EVENTS, pl.concat([events, promoted]))
    assert evalpipe(empty_home, "issues", "severity", "slow", "critical", "--as", "ana").returncode == 0
    assert evalpipe(empty_home, "issues", "fixed", "slow", "--in", "1.4.0", "--as", "ana").returncode == 0
    issue = replay(empty_home.lake.read(ISSUE_EVENTS))[SLOW]
    assert (issue.state, issue.severity, issue.fixed_in) == ("fix_claimed", "critical", "1.4.0")
    assert "said to be fixed in release 1.4.0" in evalpipe(empty_home, "issues", "show", "slow").stdout
    assert evalpipe(empty_home, "issues", "not-fixed", "slow", "--as", "bob").returncode == 0
    assert evalpipe(empty_home, "issues", "not-fixed", "slow", "--as", "bob").returncode == 2
    assert "critical, major, minor" in evalpipe(empty_home, "issues", "severity", "slow", "dire").stderr


def test_what_a_person_splits_off_an_issue_is_one_of_its_own_and_a_merge_gives_it_back(home_copy: Home):
    names = json.loads(evalpipe(home_copy, "issues", "list", "--json").stdout)
    one, other = names[0]["issue_id"], names[1]["issue_id"]
    mode = names[1]["name"]
    evalpipe(home_copy, "issues", "merge", other, one, "--as", "ana")
    split = evalpipe(home_copy, "issues", "split", one, mode, "--as", "ana")
    assert f"split into {other}" in split.stdout
    assert evalpipe(home_copy, "issues", "show", other, "--json").returncode == 0


def test_two_issues_are_kept_apart_by_a_person_and_why_is_kept(home_copy: Home):
    names = json.loads(evalpipe(home_copy, "issues", "list", "--json").stdout)
    one, other = names[0]["issue_id"], names[1]["issue_id"]
    evalpipe(home_copy, "issues", "keep-apart", one, other, "--why", "two teams", "--as", "ana")
    last = json.loads(evalpipe(home_copy, "issues", "show", one, "--json").stdout)[-1]
    assert (last["kind"], last["author"]) == ("kept_apart", "ana")
    assert json.loads(last["evidence"]) == {"from": other, "why": "two teams"}


def test_a_reviewer_is_invited_once_and_signs_in_until_revoked(home_copy: Home):
    link = evalpipe(home_copy, "reviewers", "invite", "eli", "--url", "https://review.example/").stdout.strip()
    address, _, token = link.partition("#")
    assert address == "https://review.example/review/sign-in"
    assert reviewer_of(home_copy.review_tokens, token) == "eli"
    listed = json.loads(evalpipe(home_copy, "reviewers", "list", "--json").stdout)
    assert {row["name"]: row["can_sign_in"] for row in listed} == {"dana": False, "eli": True}
    evalpipe(home_copy, "reviewers", "revoke", "eli")
    assert reviewer_of(home_copy.review_tokens, token) is None


def test_only_a_known_reviewer_is_invited(home_copy: Home):
    refused = evalpipe(home_copy, "reviewers", "invite", "mallory")
    assert refused.returncode == 2
    assert "there are: dana, eli" in refused.stderr


def test_cases_are_exported_for_ci_to_replay(walked, tmp_path: Path):
    file = tmp_path / "cases.jsonl"
    assert evalpipe(walked[0], "cases", "export", "--out", file).returncode == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows
    assert all({"id", "input", "issues"} <= set(row) for row in rows)


def test_an_artifact_is_shown_in_words_and_as_json(walked, tmp_path: Path):
    [evaluator, *_] = json.loads(evalpipe(walked[0], "evaluators", "list", "--json").stdout)
    shown = evalpipe(walked[0], "evaluators", "show", evaluator["evaluator_id"])
    assert "held-out MCC" in shown.stdout
    as_json = evalpipe(walked[0], "evaluators", "show", evaluator["evaluator_id"], "--json")
    assert json.loads(as_json.stdout)["schema_version"] == "evalpipe.evaluator/1"
    history = evalpipe(walked[0], "evaluators", "history", evaluator["evaluator_id"], "--json")
    rows = json.loads(history.stdout)
    assert (rows[0]["what"], {row["what"] for row in rows} >= {"made", "measured"}) == ("made", True)
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


def test_a_suite_in_a_file_decides_as_the_home_does(walked, tmp_path: Path):
    home, said = walked
    assert evalpipe(home, "evaluators", "export", tmp_path / "build").returncode == 0
    nowhere = Home.open(tmp_path / "nowhere")
    for cases, code in ((said.good_cases, 0), (said.bad_cases, 1)):
        asked = ("gate", "--suite", tmp_path / "build" / "suite.json", "--cases", cases)
        assert evalpipe(nowhere, *asked).returncode == code
    assert not nowhere.root.exists()
    refused = evalpipe(home, "evaluators", "export", "ev_123")
    assert (refused.returncode, "evaluators show ev_123 --json" in refused.stderr) == (2, True)


def test_coverage_says_what_each_issue_lacks_the_most_harmful_first(walked):
    said = json.loads(evalpipe(walked[0], "coverage", "--json").stdout)
    harms = [issue["harm"] for issue in said["issues"]]
    assert (said["n_active"], harms) == (len(harms), sorted(harms, reverse=True))
    assert all(issue["lacks"] for issue in said["issues"] if not issue["is_covered"])
    assert f"{said['n_covered']} of {said['n_active']} issues are covered" in evalpipe(walked[0], "coverage").stdout


def test_one_evaluator_judges_cases_and_says_why(walked):
    home, said = walked
    rows = json.loads(evalpipe(home, "evaluators", "list", "--json").stdout)
    loop = next(row for row in rows if row["status"] == "active")
    done = evalpipe(home, "evaluators", "run", loop["evaluator_id"], "--cases", said.bad_cases, "--json")
    verdicts = json.loads(done.stdout)
    assert {verdict["outcome"] for verdict in verdicts} <= {"pass", "fail", "fault"}
    assert all(verdict["explanation"] for verdict in verdicts if verdict["outcome"] == "fail")


def test_maintenance_keeps_everything_and_leaves_nothing_stale(home_copy: Home):
    assert evalpipe(home_copy, "maintain", "--json").returncode == 0
    assert evalpipe(home_copy, "run").stdout.strip() == "nothing was stale"


def test_a_demo_refuses_a_home_that_is_in_use(home_copy: Home):
    done = evalpipe(home_copy, "demo")
    assert done.returncode == 2
    assert "is not empty" in done.stderr


def test_help_is_there_for_every_command(tmp_path: Path):
    done = evalpipe(tmp_path, "--help")
    for command in ("demo", "up", "ingest", "run", "queue", "annotations", "issues", "generate", "evaluators", "gate"):
        assert command in done.stdout


def test_the_evaluator_of_an_ignored_issue_is_retired_and_its_history_stays(home_copy: Home):
    made = home_copy.lake.read(EVALUATORS).sort("issue_id", "version").row(0, named=True)
    assert json.loads(evalpipe(home_copy, "evaluators", "prune", "--json").stdout) == []
    assert evalpipe(home_copy, "issues", "ignore", made["issue_id"], "--as", "ana").returncode == 0
    assert evalpipe(home_copy, "run").returncode == 0
    retired = json.loads(evalpipe(home_copy, "evaluators", "prune", "--json").stdout)
    assert [row["evaluator_id"] for row in retired] == [made["evaluator_id"]]
    assert json.loads(evalpipe(home_copy, "evaluators", "prune", "--json").stdout) == []
    versions = home_copy.lake.read(EVALUATORS, pl.col("evaluator_id") == made["evaluator_id"]).sort("version")
    assert versions["status"][-1] == "retired"
    assert versions["artifact"][0] == made["artifact"]
