import json
from pathlib import Path

import pytest

from evalpipe_tests.bench_generate.__main__ import main

HEADINGS = ("Planted modes", "The demo's traffic", "Is the claim true later?", "Judges", "Cost")


def test_a_quick_run_measures_every_part_and_writes_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("BENCH_PEERS", raising=False)
    report = tmp_path / "quality.md"

    assert main(["--quick", "--out", str(report)]) == 0

    text = report.read_text()
    for heading in HEADINGS:
        assert f"\n## {heading}\n" in text
    for said in ("| `loop` | 10 + 40 |", "TF-IDF + logistic", "shuffled labels", "| evalpipe |", "trace view"):
        assert said in text
    assert "No mode is frequent enough" not in text


def test_coverage_by_itself_is_a_json_line_a_run(capsys: pytest.CaptureFixture[str]):
    assert main(["--quick", "--only", "coverage", "--without-demo"]) == 0

    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [(line["mode"], line["size"], line["is_permuted"]) for line in lines] == [
        ("loop", "10", False),
        ("loop", "all", False),
        ("loop, noisy", "10", False),
        ("loop", "10", True),
    ]
    assert lines[0]["lower"] <= lines[0]["later_mcc"] <= lines[0]["upper"]
    assert "Is the claim true later?" in said.err
