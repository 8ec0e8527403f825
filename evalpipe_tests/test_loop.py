"""The whole loop on two weeks of real OTLP: from bytes to a gate decision, and that doing it again changes nothing."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from evalpipe.dagster_home import instance_of
from evalpipe.demo.plan import BROKEN_BY_BAD_CANDIDATE
from evalpipe.home import Home
from evalpipe.ids import issue_id
from evalpipe.materialise import materialise_stale
from evalpipe.plan import CODE_VERSIONS, stale
from evalpipe.review.on_lake import deliver
from evalpipe.tables import (
    ANNOTATIONS,
    CANDIDATES,
    COVERAGE,
    EVALUATOR_QUALITY,
    EVALUATORS,
    ISSUES,
    LABELS,
    RAW_OTLP,
    REJECTIONS,
    SETTLED,
    SPANS,
    TABLES,
    TRACES,
    VERDICTS,
)


def versions(home: Home) -> dict[str, int | None]:
    return {name: home.lake.version(table) for name, table in TABLES.items()}


def test_every_key_of_every_table_is_unique(walked):
    home, _ = walked
    for table in TABLES.values():
        keys = home.lake.scan(table).select(table.key).collect()
        assert keys.is_unique().all(), table.name


def test_every_span_that_landed_is_in_spans_and_every_trace_in_traces(walked):
    home, said = walked
    assert home.lake.read(SPANS).height == home.lake.read(RAW_OTLP)["n_spans"].sum()
    assert home.lake.read(TRACES).height == said.n_traces
    assert home.lake.read(TRACES)["is_complete"].all()
    assert home.lake.read(REJECTIONS).is_empty()


def test_only_traces_that_the_queue_showed_were_annotated(walked):
    home, _ = walked
    queued = set(home.lake.read(CANDIDATES)["trace_id"])
    assert set(home.lake.read(ANNOTATIONS)["trace_id"]) <= queued


def test_no_stage_reads_the_planted_truth(walked):
    """The truth is written only after the last stage; no table holds a planted name that no reviewer typed."""
    home, _ = walked
    typed = {mode for mode in home.lake.read(ANNOTATIONS)["failure_mode"].to_list() if mode}
    assert {issue_id(mode) for mode in typed} == set(home.lake.read(ISSUES)["issue_id"])


def test_two_weeks_give_trusted_evaluators_with_held_out_figures_and_intervals(walked):
    home, _ = walked
    held_out = home.lake.read(EVALUATOR_QUALITY, pl.col("split") == "held_out")
    assert held_out.filter(pl.col("mcc") >= 0.6).height >= 1
    assert (held_out["mcc_lower"] <= held_out["mcc"]).all()
    assert (held_out["mcc"] <= held_out["mcc_upper"]).all()
    latest = held_out.sort("measured_at").unique("evaluator_id", keep="last")
    counted = latest.select("issue_id", n=pl.sum_horizontal("tp", "fp", "tn", "fn", "n_faults").cast(pl.UInt32))
    labelled = home.lake.read(LABELS, SETTLED).group_by("issue_id").agg(n=pl.len())
    assert counted.join(labelled, on=["issue_id", "n"], how="anti").is_empty()


def test_verdicts_are_given_on_traces_that_nobody_annotated(walked):
    home, _ = walked
    judged = home.lake.read(VERDICTS).select("trace_id").unique()
    assert judged.join(home.lake.read(ANNOTATIONS), on="trace_id", how="anti").height > 0


def test_coverage_counts_the_active_issues(walked):
    home, _ = walked
    newest = home.lake.read(COVERAGE).filter(pl.col("measured_at") == pl.col("measured_at").max())
    active = home.lake.read(ISSUES, pl.col("state") == "active")
    assert set(newest["issue_id"]) == set(active["issue_id"])
    assert home.coverage_report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_good_release_ships_and_the_bad_one_is_stopped_with_its_issue_named(walked):
    _, said = walked
    assert (said.good.decision.decision, said.good.decision.exit_code) == ("pass", 0)
    assert (said.bad.decision.decision, said.bad.decision.exit_code) == ("block", 1)
    broken = issue_id(BROKEN_BY_BAD_CANDIDATE)
    assert any(broken in reason for reason in said.bad.decision.reasons)


def test_a_second_run_finds_nothing_stale_and_changes_no_table(walked):
    home, _ = walked
    before = versions(home)
    assert all(not stale(home, asset, datetime.now(UTC)).partitions for asset in CODE_VERSIONS)
    with instance_of(home) as instance:
        assert materialise_stale(home, instance) == []
    assert versions(home) == before


def test_ingesting_and_importing_the_same_files_again_changes_no_table(home_copy: Home):
    before = versions(home_copy)
    traffic = sorted((home_copy.root / "demo" / "traffic").iterdir())
    landed = home_copy.ingest(traffic, now=home_copy.landing.ledger()["landed_at"].max())
    assert (landed.n_segments, landed.n_payloads) == (0, 0)
    for file in (home_copy.root / "demo").glob("annotations-*.jsonl"):
        deliver(file, home_copy.inbox)
    with instance_of(home_copy) as instance:
        made = materialise_stale(home_copy, instance)
    assert [step.asset for step in made] == ["annotations"]  # it looked into the inbox, and found nothing new
    assert versions(home_copy) == before


def test_a_lake_rebuilt_from_the_landed_bytes_holds_the_same_traces(home_copy: Home):
    before = home_copy.lake.read(TRACES).sort("trace_id")
    shutil.rmtree(home_copy.root / "lake")
    with instance_of(home_copy) as instance:
        materialise_stale(home_copy, instance, ["raw_otlp", "spans", "traces"])
    assert home_copy.lake.read(TRACES).sort("trace_id").equals(before)


def test_a_run_killed_at_any_moment_is_completed_by_the_next(home_copy: Home, walked):
    """kill -9 while the spans are written, several times, then one whole run: as if nothing had happened."""
    expected = walked[0].lake.read(SPANS).drop("ingested_at").sort(SPANS.key)
    shutil.rmtree(home_copy.root / "lake")
    command = [sys.executable, "-m", "evalpipe", "--home", str(home_copy.root), "run", "--only", "raw_otlp"]
    for seconds in (1.5, 2.0, 2.5, 3.0):
        process = subprocess.Popen([*command, "--only", "spans"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    subprocess.run([*command, "--only", "spans"], check=True, capture_output=True)
    assert home_copy.lake.read(SPANS).drop("ingested_at").sort(SPANS.key).equals(expected)


def test_the_artifact_names_the_tables_it_was_made_from(walked):
    home, _ = walked
    for text in home.lake.read(EVALUATORS)["artifact"]:
        artifact = json.loads(text)
        assert set(artifact["provenance"]["lake_versions"]) == {
            *("labels", "traces", "trace_features"),
            *("annotations", "issue_events", "prevalence"),
        }
        path = home.artifacts / "evaluators" / artifact["issue_id"] / f"{artifact['version']}.json"
        assert Path(path).read_text(encoding="utf-8").strip() == text.strip()


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_on_disk_has_the_columns_that_the_design_gives_it(walked, name: str):
    home, _ = walked
    table = TABLES[name]
    assert home.lake.scan(table).collect_schema() == table.schema
