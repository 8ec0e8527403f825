from pathlib import Path

import pytest

from evalpipe_tests.bench_gate.__main__ import main


def test_a_quick_run_measures_every_part_and_writes_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("BENCH_PEERS", raising=False)
    report = tmp_path / "gate.md"

    assert main(["--quick", "--out", str(report)]) == 0

    text = report.read_text()
    for said in ("CLI gate, 20 cases, 3 evaluators", "peak memory", "releases blocked, no change", "brought to 30 %"):
        assert said in text
    assert "| evalpipe | 20 |" in text
    assert "not installed in BENCH_PEERS" in text
