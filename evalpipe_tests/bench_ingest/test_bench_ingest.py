from pathlib import Path

from evalpipe_tests.bench_ingest.__main__ import main
from evalpipe_tests.bench_ingest.measure import Finding, markdown


def test_a_quick_run_measures_every_stage_and_writes_the_report(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("BENCH_PEERS", raising=False)
    report = tmp_path / "performance.md"

    assert main(["--quick", "--out", str(report)]) == 0

    text = report.read_text()
    for claim in (
        "wire.decode",
        "Delta table",
        "durable segments",
        "without duplicates",
        "peak memory",
        "evalpipe run",
    ):
        assert claim in text
    assert text.count("acknowledged (checked and durable)") == 2  # beside no fsync, beside gunzip alone


def test_a_ratio_is_held_against_its_bounds():
    assert Finding("a", "1", ratio=0.56, at_least=0.55).is_met is True
    assert Finding("a", "1", ratio=0.54, at_least=0.55).is_met is False
    assert Finding("a", "1", ratio=1.51, at_most=1.5).is_met is False
    assert Finding("a", "1", ratio=0.5).is_met is None


def test_the_report_is_a_markdown_table():
    finding = Finding("claim", "2 s", "1 s", 0.5, at_least=0.4)

    assert markdown([finding]).splitlines() == [
        "| claim | measured | against | ratio | target | met |",
        "|---|---|---|---|---|---|",
        "| claim | 2 s | 1 s | 0.50 | >= 0.4 | yes |",
    ]
