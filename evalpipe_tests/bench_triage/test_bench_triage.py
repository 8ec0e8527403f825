from pathlib import Path

from evalpipe_tests.bench_triage.__main__ import main


def test_a_quick_run_measures_every_part_and_writes_the_report(tmp_path: Path):
    report = tmp_path / "triage.md"

    assert main(["--quick", "--out", str(report)]) == 0

    text = report.read_text()
    for said in ("of the queue, first week", "planted modes met", "`ignored_tool_error`", "traces/s", "peak memory"):
        assert said in text
    for order in ("the queue", "highest anomaly score", "most tokens", "isolation forest on counts"):
        assert f"| {order} |" in text
