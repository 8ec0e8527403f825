from pathlib import Path

from evalpipe_tests.bench_lifecycle.__main__ import main

HEADINGS = ("Is it fixed?", "Has it returned?", "How common is it?", "Escalation", "Cost")


def test_a_quick_run_measures_every_part_and_writes_the_report(tmp_path: Path):
    report = tmp_path / "lifecycle.md"

    assert main(["--quick", "--out", str(report)]) == 0

    text = report.read_text()
    for heading in HEADINGS:
        assert f"\n## {heading}\n" in text
    for said in ("called solved wrongly: half fixed", "| gone | at 3 % in a release | 1 |", "issue-years", "CPU s"):
        assert said in text
