"""Bad input at the command line: one clear line that says which, what and what next; exit 2; nothing else lost."""

import bz2
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from evalpipe.home import Home
from evalpipe.tables import ANNOTATIONS, REJECTIONS, TRACES

TRACE = "0af7651916cd43dd8448eb211c80319c"


def evalpipe(home: Home | Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    root = home.root if isinstance(home, Home) else home
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVALPIPE_")}
    return subprocess.run(
        [sys.executable, "-m", "evalpipe", "--home", str(root), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refusal prints."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


def otlp_line(span_id: str = "00f067aa0ba902b7", **changes: object) -> str:
    span = {
        "traceId": TRACE,
        "spanId": span_id,
        "name": "invoke_agent",
        "startTimeUnixNano": "1767225600000000000",
        "endTimeUnixNano": "1767225601000000000",
        "attributes": [{"key": "input.value", "value": {"stringValue": "hello"}}],
    } | changes
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})


def test_an_empty_home_says_how_to_begin(tmp_path: Path):
    for command in (["run"], ["queue", "list"], ["report"], ["generate"]):
        assert "evalpipe ingest FILE" in refused(evalpipe(tmp_path / "new", *command))


def test_a_file_that_is_no_otlp_is_refused_by_name(tmp_path: Path):
    file = tmp_path / "notes.txt"
    file.write_text("dear diary\n")
    assert "notes.txt" in refused(evalpipe(tmp_path / "home", "ingest", file))


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path):
    assert "gone.jsonl" in refused(evalpipe(tmp_path / "home", "ingest", tmp_path / "gone.jsonl"))


def test_an_unknown_compression_is_named_with_those_that_work(tmp_path: Path):
    file = tmp_path / "traces.jsonl.bz2"
    file.write_bytes(bz2.compress(otlp_line().encode()))
    message = refused(evalpipe(tmp_path / "home", "ingest", file))
    assert "bzip2" in message.lower()
    assert "gzip" in message
    assert "zstd" in message


def test_a_truncated_last_line_is_kept_in_rejections_and_the_lines_before_it_land(tmp_path: Path):
    file = tmp_path / "traces.jsonl"
    file.write_text(otlp_line() + "\n" + otlp_line("00f067aa0ba902b8")[:90])
    done = evalpipe(tmp_path / "home", "ingest", file)
    assert done.returncode == 2
    assert "line 2" in done.stderr
    home = Home.open(tmp_path / "home")
    assert home.landing.ledger()["n_spans"].sum() == 1
    assert home.lake.read(REJECTIONS)["location"].to_list() == ["line 2"]


def test_a_span_without_ids_goes_to_rejections_and_its_neighbours_to_spans(tmp_path: Path):
    file = tmp_path / "traces.jsonl"
    good, nameless = (json.loads(line)["resourceSpans"][0] for line in (otlp_line(), otlp_line(traceId="", spanId="")))
    file.write_text(json.dumps({"resourceSpans": [good, nameless]}) + "\n")
    evalpipe(tmp_path / "home", "ingest", file)
    only = [word for asset in ("raw_otlp", "spans", "traces") for word in ("--only", asset)]
    assert evalpipe(tmp_path / "home", "run", *only).returncode == 0
    home = Home.open(tmp_path / "home")
    assert home.lake.read(TRACES)["trace_id"].to_list() == [TRACE]
    refusal = home.lake.read(REJECTIONS, pl.col("kind") == "span").row(0, named=True)
    assert "id" in refusal["reason"]
    assert "hello" in refusal["content"]


def test_annotations_are_refused_by_line_and_reason_and_the_good_rows_stay(home_copy: Home, tmp_path: Path):
    known = home_copy.lake.read(TRACES)["trace_id"][0]
    rows = [
        {"trace_id": known, "verdict": "bad", "failure_mode": "too slow", "annotator": "ana"},
        {"trace_id": TRACE, "verdict": "good", "annotator": "ana"},
        {"trace_id": known, "verdict": "awful", "annotator": "ana"},
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{not json\n")
    n_before = home_copy.lake.read(ANNOTATIONS).height
    done = evalpipe(home_copy, "annotations", "import", file)
    assert done.returncode == 2
    for line, reason in ((2, TRACE), (3, "awful"), (4, "JSON")):
        assert any(f"line {line}:" in told and reason in told for told in done.stderr.splitlines()), done.stderr
    assert home_copy.lake.read(ANNOTATIONS).height == n_before + 1
    assert home_copy.lake.read(REJECTIONS, pl.col("kind") == "annotation").height == 3
    [refused_rows] = (home_copy.inbox / "rejected").glob("*.jsonl")
    assert [json.loads(line)["line"] for line in refused_rows.read_text().splitlines()] == [2, 3, 4]


def test_a_csv_with_a_missing_column_is_refused_by_the_column(home_copy: Home, tmp_path: Path):
    file = tmp_path / "mine.csv"
    file.write_text("trace_id,comment\n" + TRACE + ",hm\n")
    assert "verdict" in refused(evalpipe(home_copy, "annotations", "import", file))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gate"], "--cases FILE or --release VERSION"),
        (["gate", "--release", "9.9.9"], "9.9.9 was never seen; versions seen: 1.0.0"),
        (["issues", "resolve", "iss_unknown"], "evalpipe issues list"),
        (["evaluators", "show", "ev_unknown"], "evalpipe evaluators list"),
        (["queue", "list", "--cycle", "2020-W01"], "2026-W10"),
        (["run", "--only", "nonsense"], "there is no asset nonsense"),
        (["generate", "iss_unknown"], "there is no issue iss_unknown"),
        (["queue", "export", "--format", "xml"], "xml"),
    ],
)
def test_what_does_not_exist_is_said_with_what_does(walked, arguments: list[str], says: str):
    assert says in refused(evalpipe(walked[0], *arguments))


def test_a_gate_without_cases_decides_nothing(walked, tmp_path: Path):
    empty = tmp_path / "none.jsonl"
    empty.write_text("")
    assert "no cases" in refused(evalpipe(walked[0], "gate", "--cases", empty))


def test_a_setting_out_of_range_names_its_variable(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "evalpipe", "--home", str(tmp_path), "run"],
        capture_output=True,
        text=True,
        env=os.environ | {"EVALPIPE_GATE__PASS_RATE": "80"},
    )
    assert "EVALPIPE_GATE__PASS_RATE" in refused(done)
